"""Where chips lie: squares of pixels of the whole grid, on a lattice inside tiles or around labelled pixels, with their labels."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows.steps.sampling.label_sources import OpenLabels
from flows.steps.sampling.pixels import centres, check_every_class, chosen_places, tile_places
from flows.steps.sampling.sampled_cells import SampledCells
from products.grid import Tile
from products.learning.designs import draw, shortlist
from products.learning.label_places import Codes
from products.learning.samples import pixel_priority
from products.learning.samples_recipe import ChipsSpec, SamplesRecipe


@dataclass(frozen=True, slots=True)
class ChipWindows:
    """Chips of one cell: its number, row and column of each chip's first pixel, counted in its tile (below 0: beyond it), and labels (n, y, x)."""

    cell: int
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    labels: Codes


def chip_windows(
    recipe: SamplesRecipe, chips: ChipsSpec, cells: SampledCells, sources: Sequence[OpenLabels]
) -> tuple[list[ChipWindows], Counter[str]]:
    """The chips of all cells that have enough labels, and what was dropped by cause."""
    dropped, found = Counter[str](), []
    centre_of = _drawn_centres(recipe, chips, cells, sources, dropped) if chips.around_labels else None
    for tile, numbers in cells.by_tile:
        margin = chips.size_px if chips.around_labels else 0
        picture, lost = _label_picture(recipe, cells, tile, sources, margin)
        dropped += Counter() if chips.around_labels else lost
        for number in numbers:
            row, column = _lattice(chips, cells.grid.tile_px) if centre_of is None else centre_of[number]
            labels = _windows(picture, row + margin, column + margin, chips.size_px)
            enough = (labels > 0).mean(axis=(1, 2)) >= chips.min_labelled
            enough &= (labels > 0).any(axis=(1, 2))
            dropped["few_labels"] += int((~enough).sum())
            if enough.any():
                found.append(ChipWindows(number, row[enough], column[enough], labels[enough]))
    return found, +dropped


def pixels_by_tile(
    windows: ChipWindows, tile: Tile, tile_px: int
) -> Iterator[tuple[Tile, NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]]:
    """The tiles that some chips reach into, which chip pixels (n, y, x) lie in each, and their rows and columns there."""
    offset = np.arange(windows.labels.shape[-1])
    rows = np.broadcast_to((windows.row[:, None] + offset)[:, :, None], windows.labels.shape)
    columns = np.broadcast_to((windows.column[:, None] + offset)[:, None, :], windows.labels.shape)
    down, right = rows // tile_px, columns // tile_px
    steps = {(int(d), int(r)) for d in np.unique(down) for r in np.unique(right)}
    for step in sorted(steps):
        inside = (down == step[0]) & (right == step[1])
        if inside.any():
            there = Tile(tile.crs, tile.row + step[0], tile.column + step[1])
            yield there, inside, rows[inside] % tile_px, columns[inside] % tile_px


def _lattice(chips: ChipsSpec, tile_px: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First rows and columns of the chips that lie inside a tile."""
    starts = np.arange(0, tile_px - chips.size_px + 1, chips.step_px)
    row, column = np.meshgrid(starts, starts, indexing="ij")
    return row.ravel(), column.ravel()


def _drawn_centres(
    recipe: SamplesRecipe,
    chips: ChipsSpec,
    cells: SampledCells,
    sources: Sequence[OpenLabels],
    dropped: Counter[str],
) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """First rows and columns of the chips around the labelled pixels that the design draws, by the number of their cell."""
    parts = []
    available = Counter[int]()
    for tile, numbers in cells.by_tile:
        places, lost = chosen_places(recipe, cells.grid, tile, sources)
        dropped.update(lost)
        x, y = centres(cells.grid.geobox(tile), places.row, places.column)
        for number in numbers:
            start = cells.cells[number].time.start
            about = {"x": x, "y": y, "cell": number, "row": places.row, "column": places.column, "code": places.code}
            about |= {"start": start, "priority": pixel_priority(x, y, start.toordinal(), recipe.seed)}
            parts.append(shortlist(pd.DataFrame(about), recipe.design, recipe.classes))
            available.update(places.code.tolist())
    check_every_class(recipe, available)
    table = draw(shortlist(pd.concat(parts), recipe.design, recipe.classes), available, recipe.design, recipe.classes)
    dropped["not_drawn"] += sum(available.values()) - len(table)
    half = chips.size_px // 2
    ordered = table.sort_values(["start", "y", "x", "cell"])
    of_cell = [ordered[ordered["cell"] == number] for number in range(len(cells.cells))]
    return {
        number: (rows["row"].to_numpy(np.int64) - half, rows["column"].to_numpy(np.int64) - half)
        for number, rows in enumerate(of_cell)
    }


def _label_picture(
    recipe: SamplesRecipe, cells: SampledCells, tile: Tile, sources: Sequence[OpenLabels], margin: int
) -> tuple[Codes, Counter[str]]:
    """Class codes (y, x) of a tile with a margin, 0 where there is no label."""
    places, lost = tile_places(recipe, cells.grid, tile, sources, margin)
    picture = np.zeros(cells.grid.geobox(tile, margin).shape, np.uint8)
    picture[places.row, places.column] = places.code
    return picture, lost


def _windows(picture: Codes, row: NDArray[np.int64], column: NDArray[np.int64], size_px: int) -> Codes:
    """Squares (n, y, x) of a picture."""
    every = np.lib.stride_tricks.sliding_window_view(picture, (size_px, size_px))
    return np.ascontiguousarray(every[row, column])
