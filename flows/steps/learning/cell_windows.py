"""Features of a cell with a margin from its neighbours."""

from collections.abc import Iterator, Mapping
from uuid import UUID

import numpy as np
import xarray
from numpy.typing import NDArray

from flows.steps.cubes.cells import cell_path
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.index.catalogue import PublishedCell
from flows.steps.storage import Storage
from products.errors import RequestError
from products.grid import Tile
from products.period import Period

Floats = NDArray[np.float32]
Cells = Mapping[tuple[str, str], PublishedCell]


def neighbours(
    cells: Cells, tile: Tile, period: Period, tile_px: int, margin_px: int
) -> Iterator[tuple[int, int, PublishedCell]]:
    """The cells, the tile's own left out, that share pixels with its margin: rows and columns of tiles away, and the cell; in one order."""
    reach = -(-margin_px // tile_px)
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            place = (Tile(tile.crs, tile.row + row, tile.column + column).label, period.label)
            if (row, column) != (0, 0) and place in cells:
                yield row, column, cells[place]


def neighbour_ids(cells: Cells, tile: Tile, period: Period, tile_px: int, margin_px: int) -> list[UUID]:
    """Their ids."""
    return [cell.id for _, _, cell in neighbours(cells, tile, period, tile_px, margin_px)]


def features_with_margin(
    storage: Storage, cells: Cells, tile: Tile, period: Period, tile_px: int, margin_px: int, names: tuple[str, ...]
) -> Floats:
    """(feature, y, x) of the named features of a tile and `margin_px` around it, NaN where no cell is published."""
    side = tile_px + 2 * margin_px
    found = np.full((len(names), side, side), np.nan, np.float32)
    own = cells[tile.label, period.label]
    for row, column, cell in ((0, 0, own), *neighbours(cells, tile, period, tile_px, margin_px)):
        to_rows, from_rows = _overlap(row, tile_px, margin_px)
        to_columns, from_columns = _overlap(column, tile_px, margin_px)
        opened = opened_cell(storage, cell)
        found[:, to_rows, to_columns] = named_features(opened, names, from_rows, from_columns)
    return found


def opened_cell(storage: Storage, cell: PublishedCell) -> xarray.Dataset:
    """A published cell of this store as stored, lazy."""
    return open_snapshot(storage.url(cell_path(storage, cell.product, cell.id)), storage.options)


def feature_stack(cell: xarray.Dataset) -> xarray.DataArray:
    """(feature, y, x) of a cell: its features, or the layers of its series step after step, as `red_1`, `ndvi_1`, `red_2`, …."""
    if "features" in cell:
        return cell["features"].isel(period=0, drop=True)
    series = cell["series"]
    names = [f"{name}_{step}" for step in range(1, series.sizes["time"] + 1) for name in series["feature"].values]
    flat = series.data.reshape(-1, *series.shape[2:])
    return xarray.DataArray(flat, {"feature": names, "y": series["y"], "x": series["x"]}, ("feature", "y", "x"))


def named_features(
    cell: xarray.Dataset, names: tuple[str, ...], rows: slice = slice(None), columns: slice = slice(None)
) -> Floats:
    """(feature, y, x) of the named features of a window of a cell, in their order; RequestError if one is lacking."""
    stack = feature_stack(cell)
    held = [str(name) for name in stack["feature"].values]
    if lacking := [name for name in names if name not in held]:
        raise RequestError(
            f"the feature {lacking[0]!r} is not in a cell of its product, which has {', '.join(held)}: build the cells again"
        )
    places = [held.index(name) for name in names]
    window = stack.isel(feature=places, y=rows, x=columns)
    values: Floats = window.values
    return values


def _overlap(away: int, tile_px: int, margin_px: int) -> tuple[slice, slice]:
    """Along one axis, where the pixels of a cell so many tiles away lie in the window with its margin, and in the cell."""
    start = margin_px + away * tile_px
    low, high = max(start, 0), min(start + tile_px, tile_px + 2 * margin_px)
    return slice(low, high), slice(low - start, high - start)
