"""The published cells that a training set is drawn from: of features, series or observations."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from datacube_config.connection import Index
from flows.steps.cubes.cells import cell_path
from flows.steps.index.catalogue import PublishedCell, nothing_published, published_cells, published_passes, time_of
from flows.steps.sampling.chunk_reading import ChunkedPixels, chunked_pixels, values_in_order
from flows.steps.storage import Storage
from products.area import Area
from products.cell_content import cell_template, stack_names, stack_of
from products.grid import PixelGrid, Tile
from products.period import Period
from products.pixel.causes import Cause
from products.scene_recipe import SceneRecipe
from products.template import ArrayTemplate, CellTemplate


@dataclass(frozen=True, slots=True)
class SampledCell:
    """A published cell with its tile and its time: a period, or a pass whose label is its id."""

    tile: Tile
    label: str
    time: Period
    cell: PublishedCell


@dataclass(frozen=True, slots=True)
class SampledCells:
    """The cells of a recipe over an area and a period, by tile and time; `n_stale` of them are not what a build would make now."""

    recipe: SceneRecipe
    area: Area
    asked: Period
    grid: PixelGrid
    cells: tuple[SampledCell, ...]
    n_stale: int = 0

    @property
    def ids(self) -> list[UUID]:
        """The ids of the cells."""
        return [each.cell.id for each in self.cells]

    @property
    def by_tile(self) -> Iterator[tuple[Tile, tuple[int, ...]]]:
        """Each tile with the numbers of its cells in the order of time."""
        for tile in sorted({each.tile for each in self.cells}):
            yield tile, tuple(number for number, each in enumerate(self.cells) if each.tile == tile)

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles that have a cell."""
        return tuple(tile for tile, _ in self.by_tile)

    @property
    def template(self) -> CellTemplate:
        """The arrays of each cell."""
        return cell_template(self.recipe)

    @property
    def stack(self) -> ArrayTemplate:
        """The array that is sampled: `features`, `series` or `reflectance`."""
        return stack_of(self.template)

    @property
    def column_names(self) -> tuple[str, ...]:
        """A column for each layer of the stack, as ODC names its measurements: `ndvi_p50`, `ndvi_1`, `red`."""
        return stack_names(self.template)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers at one time: features, or bands."""
        return self.stack.layers

    def times_of(self, cell: SampledCell) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
        """Start and end (excluded) of each time of a cell's stack: its steps, its period, or the instant of a pass."""
        steps, time = self.template.steps, cell.time
        if steps is not None:
            edges = [_us(instant) for instant in steps.edges(time)]
            return np.array(edges[:-1]), np.array(edges[1:])
        return np.array([_us(time.start)]), np.array([_us(time.start if self.recipe.is_by_pass else time.end)])

    def values(
        self, storage: Storage, cell: SampledCell, row: NDArray[np.int64], column: NDArray[np.int64], threads: int
    ) -> NDArray[np.float32]:
        """(layer, n) float32 at pixels of a cell, NaN where missing or, in a pass, not clear; only their chunks are read."""
        pixels = self.in_order(row, column, threads)
        back = np.empty(row.size, np.int64)
        back[pixels.order] = np.arange(row.size)
        return self.values_in_order(storage, cell, pixels, threads)[0][:, back]

    def in_order(self, row: NDArray[np.int64], column: NDArray[np.int64], threads: int) -> ChunkedPixels:
        """Pixels of a cell in the order in which they are read fastest."""
        side = self.grid.tile_px
        return chunked_pixels(row, column, self.stack.chunks(side)[-1], side, threads)

    def values_in_order(
        self, storage: Storage, cell: SampledCell, pixels: ChunkedPixels, threads: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """As `values`, in that order, and (n,) where none is missing."""
        path, side = cell_path(storage, cell.cell.product, cell.cell.id), self.grid.tile_px
        found, complete = values_in_order(storage, path, self.stack, side, pixels, threads)
        causes = [array for array in self.template.arrays if array.name == "cause"]
        for array in causes:
            is_clear = values_in_order(storage, path, array, side, pixels, threads)[0][0] == Cause.USED
            found[:, ~is_clear] = np.nan
            complete &= is_clear
        return found, complete


def sampled_cells(index: Index, recipe: SceneRecipe, area: Area, asked: Period) -> SampledCells:
    """The published cells of a recipe; RequestError if there are none."""
    grid = recipe.grid.pixel_grid(area.geometry)
    tiles, periods = {tile.label: tile for tile in grid.tiles(area.geometry)}, recipe.periods_in(asked)
    search = published_passes if recipe.is_by_pass else published_cells
    found = search(index, recipe.name, recipe.version, periods)
    cells = [
        SampledCell(tiles[tile], label, time_of(cell), cell) for (tile, label), cell in found.items() if tile in tiles
    ]
    if not cells:
        raise nothing_published(recipe, area, asked)
    ordered = sorted(cells, key=lambda each: (each.tile, each.time, each.label))
    return SampledCells(recipe, area, asked, grid, tuple(ordered))


def _us(instant: datetime) -> np.datetime64:
    return np.datetime64(instant.replace(tzinfo=None), "us")
