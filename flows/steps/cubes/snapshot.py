"""A cube: a plain Zarr snapshot of one product over one area and CRS, assembled from cell shards by link or copy."""

import hashlib
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import zarr
from sqlalchemy.dialects.postgresql import insert
from zarr.abc.buffer import Buffer
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from datacube_config.connection import Index
from datacube_config.schema import cube_pointer
from flows.steps.cubes.cell_quality import shares_of
from flows.steps.cubes.cell_store import create_array, write_coordinates
from flows.steps.cubes.cells import QUALITY, cell_path, writer_of
from flows.steps.cubes.geozarr import geozarr_attributes, level_geobox
from flows.steps.index.catalogue import PublishedCell
from flows.steps.storage import Storage
from products.grid import PixelGrid, Tile
from products.identity import NAMESPACE
from products.period import Period
from products.template import CellTemplate, StoredArray


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


def publish_cube(index: Index, storage: Storage, plan: CubePlan) -> str:
    """Assemble the snapshot if it is not there yet, switch the pointer to it, and return its path or s3:// URL."""
    name = plan.template
    folder = f"{name.product}-v{name.version}"
    path = storage.path("cubes", folder, plan.area, plan.grid.crs.replace(":", "_").lower(), f"{plan.digest}.zarr")
    complete = path.removesuffix(".zarr") + ".complete"
    what = f"the cube of {name.product}"
    with writer_of(index, uuid5(NAMESPACE, path)), storage.reaching(path, what):
        if not storage.exists(complete):
            storage.remove(path)
            with storage.writing(path, what):
                assemble(storage, path, plan)
                storage.flush(path)
            storage.write_bytes(complete, plan.digest.encode())
    _point(index, plan, storage.url(path))
    return path


def assemble(storage: Storage, path: str, plan: CubePlan) -> None:
    """Write the cube's metadata and link every cell's shards into it."""
    stored = plan.stored
    _write_metadata(storage, path, plan, stored)
    first_row, first_column = min(t.row for t in plan.tiles), min(t.column for t in plan.tiles)
    for tile in plan.tiles:
        for number, period in enumerate(plan.periods):
            cell = plan.cells.get((tile.label, period.label))
            if cell is not None:
                place = (number, tile.row - first_row, tile.column - first_column)
                _link(storage, cell_path(storage, cell.product, cell.id), path, stored, place)


def _write_metadata(storage: Storage, path: str, plan: CubePlan, stored: list[StoredArray]) -> None:
    """The groups of a cube, itself and its overviews 1, 2, …, each with arrays still empty and all coordinates."""
    box, levels, said = plan.grid.mosaic(plan.tiles), plan.levels, _attributes(plan)
    whole = said | _content(plan) | geozarr_attributes(box, plan.template, levels)
    objects: dict[str, Buffer] = {}
    root = zarr.create_group(MemoryStore(objects), zarr_format=3, attributes=whole)
    for level in range(levels + 1):
        geobox = level_geobox(box, level)
        part = said | geozarr_attributes(geobox, plan.template)
        group = root.create_group(str(level), attributes=part) if level else root
        for each in (each for each in stored if each.level == level):
            shape = (len(plan.periods) * each.template.n_times, *each.shape[1:-2], *geobox.shape)
            create_array(group, each.template, shape, each.shape, each.tile_px)
        write_coordinates(group, plan.template, geobox, plan.periods)
    with warnings.catch_warnings():
        # xarray.open_zarr warns where consolidated metadata are missing, zarr where they are written
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(root.store, zarr_format=3)
    storage.write_group(path, objects)


def current_cube(index: Index, product: str, version: int, area: str, crs: str) -> str | None:
    """The URL of the snapshot that the pointer names, or None."""
    table = cube_pointer
    wanted = (table.c.product == product) & (table.c.version == version) & (table.c.area == area) & (table.c.crs == crs)
    with index.engine.connect() as connection:
        return connection.scalar(table.select().with_only_columns(table.c.snapshot_url).where(wanted))


def _link(storage: Storage, cell: str, cube: str, arrays: list[StoredArray], place: tuple[int, int, int]) -> None:
    period, row, column = place
    shards = {}
    for stored in arrays:
        layers = ("0",) if stored.template.layer_dim else ()
        zeros = "/".join(("0", *layers, "0", "0"))
        there = "/".join((str(period), *layers, str(row), str(column)))
        shards[f"{cell}/{stored.path}/c/{zeros}"] = f"{cube}/{stored.path}/c/{there}"
    storage.copy_all(shards)


def _attributes(plan: CubePlan) -> dict[str, Any]:
    return {
        "Conventions": "CF-1.11",
        "title": plan.template.title or plan.template.product,
        "neocube:product": plan.template.product,
        "neocube:version": plan.template.version,
        "neocube:area": plan.area,
    }


def _content(plan: CubePlan) -> dict[str, Any]:
    """The cells of a cube and the places that have none: said once, as they may be many."""
    places = ((tile.label, period.label) for tile in plan.tiles for period in plan.periods)
    empty = [place for place in places if place not in plan.cells]
    missing = [f"{period} {tile}" for tile, period in empty if plan.wanted is None or (tile, period) in plan.wanted]
    sensors = {"neocube:sensors": found} if (found := _sensors(plan)) else {}
    return {"neocube:cells": [str(number) for number in plan.cell_ids], "neocube:missing": missing, **sensors}


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


def _point(index: Index, plan: CubePlan, url: str) -> None:
    """One row says which snapshot is the current one of a product, area and CRS."""
    key = {"product": plan.template.product, "version": plan.template.version, "area": plan.area, "crs": plan.grid.crs}
    content: dict[str, Any] = {"snapshot_url": url, "cell_ids": plan.cell_ids, "updated": datetime.now(UTC)}
    statement = insert(cube_pointer).values(**key, **content)
    with index.engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=content))
