"""What to do, as ordered lists, before anything is done. Pure: the index has been asked already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from shapely import STRtree

from flows.cell_memory import CellMemory
from flows.html_display import plan_html
from flows.tiling import Cut
from products.antimeridian import turned_shapes
from products.area import Area
from products.covered_ground import covered_ground
from products.device_memory import tile_shape
from products.devices import Device
from products.errors import RequestError
from products.grid import PixelGrid
from products.identity import CellKey, SourceKey, scenes_cell_id
from products.period import Period
from products.pixel.harmonise import stand_in_notes
from products.raster import RasterFile
from products.scene import Scene
from products.scene_recipe import SceneRecipe

# measured by `make bench` on 2 cores: pixels of one band of one scene, masked, and reduced to features, per core and second
PIXELS_PER_CORE_SECOND = 40e6
# builds of 2 to 16 cells of 32 scenes with 96 to 256 pixels a side, processor time on 2 shared cores: what a build costs before its first pixel
# (libraries, compiled kernels, index), and a cell beside its pixels (opening its files, writing, reading back, committing)
START_SECONDS = 5.0
CELL_SECONDS = 0.6


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One cell to have: the id that what should be read gives it, whether it is `fresh`, `stale` or `missing`, and the rows it is built in at a time.

    On a GPU the host bytes hold as much pinned memory as the device has arrays.
    """

    key: CellKey
    id: UUID
    state: str
    scenes: tuple[Scene, ...]
    bytes_read: int
    host_bytes: int
    rasters: tuple[RasterFile, ...] = ()
    strip_px: int = 0
    device_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """All cells of a product over an area and a period. `orphans` are active cells that lost all their scenes; `notes` say what is odd and harmless."""

    recipe: SceneRecipe
    area: Area
    grid: PixelGrid
    periods: tuple[Period, ...]
    cells: tuple[PlannedCell, ...]
    orphans: tuple[UUID, ...]
    notes: tuple[str, ...]
    device: Device
    threads: int
    device_reason: str = ""
    price_per_core_hour: float = 0.0
    currency: str = ""

    def __repr__(self) -> str:
        return (
            f"Plan of {self.recipe.name} over {self.area.name}: {len(self.cells)} cells, {len(self.to_build)} to build"
        )

    def _repr_html_(self) -> str:
        document = self.document(self.price_per_core_hour, self.currency)
        title = f"{self.recipe.title or self.recipe.name} over {self.area.name}"
        return plan_html(title, document, self.seconds * self.threads / 3600)

    @property
    def to_build(self) -> tuple[PlannedCell, ...]:
        """The cells that are missing or stale, in tile and period order."""
        return tuple(cell for cell in self.cells if cell.state != "fresh")

    @property
    def scenes(self) -> frozenset[UUID]:
        """The scenes that the cells to build read."""
        return frozenset(scene.id for cell in self.to_build for scene in cell.scenes)

    @property
    def seconds(self) -> float:
        """Expected duration: the measured costs of starting and of each cell, and the decoded bytes at the measured rate."""
        if not self.to_build:
            return 0.0
        pixels = sum(cell.bytes_read for cell in self.to_build) / 2
        fixed = START_SECONDS + CELL_SECONDS * len(self.to_build)
        return fixed + pixels / PIXELS_PER_CORE_SECOND / max(self.threads, 1)

    def document(self, price_per_core_hour: float, currency: str) -> dict[str, Any]:
        """The plan as the contract shows it."""
        return {
            "cells": [
                {
                    "id": str(c.id),
                    "tile": c.key.tile.label,
                    "period": c.key.period.label,
                    "state": c.state,
                    "scenes": len(c.scenes),
                }
                for c in self.cells
            ],
            "scenes": len(self.scenes),
            "bytes_read": sum(cell.bytes_read for cell in self.to_build),
            "host_bytes": max((cell.host_bytes for cell in self.to_build), default=0),
            "strips": max((-(-self.grid.tile_px // cell.strip_px) for cell in self.to_build), default=0),
            "device_bytes": max((cell.device_bytes for cell in self.to_build), default=0),
            "device": self.device,
            "device_reason": self.device_reason,
            "seconds": round(self.seconds, 1),
            "price": {
                "amount": round(self.seconds * self.threads / 3600 * price_per_core_hour, 4),
                "currency": currency,
            },
            "orphans": [str(cell) for cell in self.orphans],
            "notes": list(self.notes),
        }


def make_plan(
    cut: Cut, scenes: Sequence[Scene], active: Mapping[tuple[str, str], UUID], device: Device, threads: int,
    rasters: Sequence[RasterFile] = (), budget_bytes: int | None = None, device_free_bytes: int | None = None,
    remote_threads: int = 1, models: tuple[SourceKey, ...] = (),
) -> Plan:  # fmt: skip
    """The plan of a request: every cell with the scenes that touch it, in strips where it is beyond the budget; RequestError if no cell has any.

    DeviceFull where a GPU cannot hold a row of a cell.
    """
    on_gpu = tile_shape(cut.recipe, cut.periods[0]) if device == "gpu" else None
    memory = CellMemory(cut.recipe, threads, remote_threads, budget_bytes, on_gpu, device_free_bytes)
    touching = dict(zip(cut.tiles, _by_tile(cut, scenes), strict=True))
    beneath = dict(zip(cut.tiles, _by_tile(cut, rasters), strict=True))
    cut.recipe.check_grid(cut.grid, cut.tiles, cut.area.geometry)
    cut.recipe.check_scenes(scenes)
    cells, empty = list[PlannedCell](), list[str]()
    recipe_digest = cut.recipe.digest()
    for tile in cut.tiles:
        for period, inside in cut.recipe.cells_of(touching[tile], cut.periods):
            was = active.get((tile.label, period.label))
            if inside:
                key = CellKey(cut.recipe.name, cut.recipe.version, tile, period)
                around = tuple(raster for raster in beneath[tile] if raster.holds_in(period))
                cells.append(_planned(cut, key, recipe_digest, inside, was, around, memory, models))
            else:
                empty.append(f"{period.label} {tile.label}")
    lost = active.keys() - {(cell.key.tile.label, cell.key.period.label) for cell in cells}
    orphans = [active[place] for place in sorted(lost) if place[0] in {tile.label for tile in cut.tiles}]
    if not cells and not orphans:
        raise RequestError(_nothing(cut, scenes))
    axis = cut.recipe.axis_of(cut.periods, [cell.key.period for cell in cells])
    notes = _notes(cut, scenes, empty)
    return Plan(cut.recipe, cut.area, cut.grid, axis, tuple(cells), tuple(orphans), notes, device, threads)


def _planned(
    cut: Cut, key: CellKey, recipe_digest: str, scenes: tuple[Scene, ...], was: UUID | None,
    rasters: tuple[RasterFile, ...], memory: CellMemory, models: tuple[SourceKey, ...],
) -> PlannedCell:  # fmt: skip
    recipe, n_scenes = cut.recipe, len(scenes)
    others = [*(raster.key for raster in rasters), *models]
    expected = scenes_cell_id(recipe, recipe_digest, key, scenes, others)
    state = "missing" if was is None else "fresh" if was == expected else "stale"
    read = n_scenes * 2 * (len(recipe.used_bands) + 1) * recipe.grid.tile_px**2
    rows = memory.strip_px(scenes)
    on_host, on_device = memory.peaks(scenes, rows)
    return PlannedCell(key, expected, state, scenes, read, on_host, rasters, rows, on_device)


Placed = TypeVar("Placed", Scene, RasterFile)


def _by_tile(cut: Cut, placed: Sequence[Placed]) -> list[list[Placed]]:
    """For each tile the scenes or rasters whose footprint shares ground with it and what is read around it, in the given order."""
    tree = STRtree([each.ground.geom for each in placed])
    found = []
    for tile in cut.tiles:
        ground = covered_ground(cut.grid.geobox(tile, cut.recipe.reach_px).extent)
        _, touching = tree.query([each.geom for each in turned_shapes(ground)], predicate="intersects")
        found.append([placed[number] for number in sorted(set(touching.tolist()))])
    return found


def _notes(cut: Cut, scenes: Sequence[Scene], empty: Sequence[str]) -> tuple[str, ...]:
    notes = [
        f"no scene of {source.collection} in {cut.span.label}"
        for source in cut.recipe.sources
        if source.collection not in {s.collection for s in scenes}
    ]
    if cut.recipe.harmonise and cut.recipe.harmonise.msi == "hls":
        notes += stand_in_notes(scene.platform for scene in scenes)
    if empty:
        notes.append(f"{len(empty)} cells have no scene: {', '.join(empty[:5])}{' …' if len(empty) > 5 else ''}")
    return tuple(notes)


def _nothing(cut: Cut, scenes: Sequence[Scene]) -> str:
    collections = ", ".join(source.collection for source in cut.recipe.sources)
    return (
        f"no scene of {collections} over the area {cut.area.name!r} in {cut.span.label}"
        f"{' touches its tiles' if scenes else ''}: ingest some first (neocube ingest), or ask for another period or area"
    )


def batches(cells: Sequence[PlannedCell], most: int = 8) -> list[tuple[PlannedCell, ...]]:
    """Cells in groups of at most `most`: the unit of a task."""
    return [tuple(cells[start : start + most]) for start in range(0, len(cells), most)]
