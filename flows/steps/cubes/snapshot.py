"""A cube: a plain Zarr snapshot of one product over one area and CRS, assembled from cell shards by link or copy."""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import zarr
from sqlalchemy.dialects.postgresql import insert
from zarr.errors import ZarrUserWarning

from datacube_config.connection import Index
from datacube_config.schema import cube_pointer
from flows.steps.cubes.cell_quality import shares_of
from flows.steps.cubes.cell_store import create_array, day_number, write_coordinates
from flows.steps.cubes.cells import QUALITY, cell_path, writer_of
from flows.steps.index.catalogue import PublishedCell
from flows.steps.storage import Storage
from products.grid import PixelGrid, Tile
from products.identity import NAMESPACE
from products.period import Period
from products.template import CellTemplate


@dataclass(frozen=True, slots=True)
class CubePlan:
    """The cells of a cube by (tile, period); a place without a cell stays empty and is named in the attributes."""

    template: CellTemplate
    area: str
    grid: PixelGrid
    tiles: tuple[Tile, ...]
    periods: tuple[Period, ...]
    cells: Mapping[tuple[str, str], PublishedCell]

    @property
    def cell_ids(self) -> list[UUID]:
        """The ids of the cells, in tile and period order."""
        order = ((tile.label, period.label) for tile in self.tiles for period in self.periods)
        return [self.cells[place].id for place in order if place in self.cells]

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
    with writer_of(index, uuid5(NAMESPACE, path)):
        if not storage.exists(complete):
            storage.remove(path)
            with storage.writing(path, f"the cube of {name.product}"):
                assemble(storage, path, plan)
            storage.write_bytes(complete, plan.digest.encode())
    _point(index, plan, storage.url(path))
    return path


def assemble(storage: Storage, path: str, plan: CubePlan) -> None:
    """Write the cube's metadata and link every cell's shards into it."""
    box = plan.grid.mosaic(plan.tiles)
    group = zarr.create_group(storage.zarr_store(path), zarr_format=3, attributes=_attributes(plan))
    tile_px = plan.grid.tile_px
    for array in plan.template.arrays:
        shape = (len(plan.periods), *array.shape(tile_px)[1:-2], *box.shape)
        create_array(group, array, shape, array.shape(tile_px), tile_px)
    starts, ends = [day_number(p.start) for p in plan.periods], [day_number(p.end) for p in plan.periods]
    write_coordinates(group, plan.template, box, starts, ends)
    first_row, first_column = min(t.row for t in plan.tiles), min(t.column for t in plan.tiles)
    for tile in plan.tiles:
        for number, period in enumerate(plan.periods):
            cell = plan.cells.get((tile.label, period.label))
            if cell is not None:
                place = (number, tile.row - first_row, tile.column - first_column)
                _link(storage, cell_path(storage, cell.product, cell.id), path, plan.template, place)
    with warnings.catch_warnings():
        # xarray.open_zarr warns where consolidated metadata are missing, zarr where they are written
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(storage.zarr_store(path), zarr_format=3)


def current_cube(index: Index, product: str, version: int, area: str, crs: str) -> str | None:
    """The URL of the snapshot that the pointer names, or None."""
    table = cube_pointer
    wanted = (table.c.product == product) & (table.c.version == version) & (table.c.area == area) & (table.c.crs == crs)
    with index.engine.connect() as connection:
        return connection.scalar(table.select().with_only_columns(table.c.snapshot_url).where(wanted))


def _link(storage: Storage, cell: str, cube: str, template: CellTemplate, place: tuple[int, int, int]) -> None:
    period, row, column = place
    for array in template.arrays:
        layers = ("0",) if array.layer_dim else ()
        zeros = "/".join(("0", *layers, "0", "0"))
        there = "/".join((str(period), *layers, str(row), str(column)))
        storage.copy(f"{cell}/{array.name}/c/{zeros}", f"{cube}/{array.name}/c/{there}")


def _attributes(plan: CubePlan) -> dict[str, Any]:
    missing = [f"{p.label} {t.label}" for t in plan.tiles for p in plan.periods if (t.label, p.label) not in plan.cells]
    return {
        "Conventions": "CF-1.11",
        "title": plan.template.title or plan.template.product,
        "neocube:product": plan.template.product,
        "neocube:version": plan.template.version,
        "neocube:area": plan.area,
        "neocube:cells": [str(number) for number in plan.cell_ids],
        "neocube:missing": missing,
        **({"neocube:sensors": sensors} if (sensors := _sensors(plan)) else {}),
        "proj:code": plan.grid.crs,
    }


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
