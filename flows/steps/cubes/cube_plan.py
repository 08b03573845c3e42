"""What a cube is to be made of: its cells by tile and period, and what its snapshot says of them."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flows.steps.cubes.cell_quality import shares_of
from flows.steps.cubes.cells import QUALITY
from flows.steps.cubes.cube_pointers import CubeKey
from flows.steps.cubes.geozarr import LAYERS
from flows.steps.index.catalogue import PublishedCell
from products.grid import PixelGrid, Tile
from products.period import Period
from products.template import CellTemplate, StoredArray

MISSING, MODELS = "neocube:missing", "neocube:models"


@dataclass(frozen=True, slots=True)
class CubePlan:
    """The cells of a cube by (tile, period); a place without a cell stays empty and, if it is `wanted` (by default all are), is named in the attributes."""

    template: CellTemplate
    area: str
    grid: PixelGrid
    tiles: tuple[Tile, ...]
    periods: tuple[Period, ...]
    cells: Mapping[tuple[str, str], PublishedCell]
    wanted: Collection[tuple[str, str]] | None = None
    ground: tuple[Tile, ...] = ()

    @property
    def key(self) -> CubeKey:
        """The cube that it is a plan of."""
        return CubeKey(self.template.product, self.template.version, self.area, self.grid.crs)

    @property
    def cell_ids(self) -> list[UUID]:
        """The ids of the cells, in tile and period order."""
        order = ((tile.label, period.label) for tile in self.tiles for period in self.periods)
        return [self.cells[place].id for place in order if place in self.cells]

    @property
    def levels(self) -> int:
        """The overviews that all cells have: one that lacks for some ground would show it as empty."""
        held = set(self.cell_ids)
        return min((cell.levels for cell in self.cells.values() if cell.id in held), default=0)

    @property
    def stored(self) -> list[StoredArray]:
        """The arrays of a cell that the cube has."""
        return [each for each in self.template.stored(self.grid.tile_px) if each.level <= self.levels]

    @property
    def digest(self) -> str:
        """What makes this snapshot: its cells and its extent."""
        parts = [
            *map(str, self.cell_ids),
            *(tile.label for tile in self.tiles),
            *(period.label for period in self.periods),
        ]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def attributes_of(plan: CubePlan) -> dict[str, Any]:
    """What the group of a cube and those of its overviews say of it."""
    return {
        "Conventions": "CF-1.11",
        "title": plan.template.title or plan.template.product,
        "neocube:product": plan.template.product,
        "neocube:version": plan.template.version,
        "neocube:area": plan.area,
        **({LAYERS: said} if (said := plan.template.layer_attributes) else {}),
    }


def content_of(plan: CubePlan) -> dict[str, Any]:
    """The cells of a cube and the places that have none: said once, as they may be many."""
    places = ((tile.label, period.label) for tile in plan.tiles for period in plan.periods)
    empty = [place for place in places if place not in plan.cells]
    missing = [f"{period} {tile}" for tile, period in empty if plan.wanted is None or (tile, period) in plan.wanted]
    sensors = {"neocube:sensors": found} if (found := _sensors(plan)) else {}
    models = {MODELS: found} if (found := _models(plan)) else {}
    return {"neocube:cells": [str(number) for number in plan.cell_ids], MISSING: missing, **sensors, **models}


def missing_in(attributes: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The places, by tile and period, that the attributes of a snapshot name as missing."""
    return {(tile, period) for period, _, tile in (str(each).rpartition(" ") for each in attributes.get(MISSING, []))}


def _sensors(plan: CubePlan) -> dict[str, Any]:
    """By period, each sensor's used observations and their share, of all cells that say so."""
    said = {
        period.label: [
            plan.cells[tile.label, period.label].properties[QUALITY]
            for tile in plan.tiles
            if (tile.label, period.label) in plan.cells and QUALITY in plan.cells[tile.label, period.label].properties
        ]
        for period in plan.periods
    }
    return {label: shares_of(qualities) for label, qualities in said.items() if qualities}


def _models(plan: CubePlan) -> dict[str, list[str]]:
    """By period, the models that made its cells."""
    found: dict[str, set[str]] = {}
    for (_, label), cell in plan.cells.items():
        if "neocube:model" in cell.properties:
            found.setdefault(label, set()).add(str(cell.properties["neocube:model"]))
    return {label: sorted(models) for label, models in sorted(found.items())}
