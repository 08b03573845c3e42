"""Overlapping patches of a window, asked in batches and joined by smooth weights."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from products.learning.patches import PatchLattice

Floats = NDArray[np.float32]
Forward = Callable[[Floats], Floats]


def blended(
    bands: Floats, first: tuple[int, int], lattice: PatchLattice, forward: Forward, n_classes: int, batch: int
) -> Floats:
    """(class, y, x) of a window whose first pixel is `first` in the plane of the lattice; NaN where a pixel has nothing.

    `bands` (band, y, x) has a margin of `lattice.margin_px` around the window; its last band is 0 where a pixel has nothing. Patches
    count in one order, so that a pixel's sum is the same however the plane is cut into windows.
    """
    margin, (row, column) = lattice.margin_px, first
    rows, columns = (length - 2 * margin for length in bands.shape[1:])
    places = [
        (down - row + margin, right - column + margin)
        for down in lattice.starts(row, rows)
        for right in lattice.starts(column, columns)
    ]
    found = _averaged(bands, places, lattice, forward, n_classes, batch)
    return found[:, margin : margin + rows, margin : margin + columns]


def blended_picture(bands: Floats, lattice: PatchLattice, forward: Forward, n_classes: int, batch: int) -> Floats:
    """(class, y, x) of a picture by itself, by patches inside it, as those that a network learned from; nothing is added but where it is smaller than one.

    Patches depend on the size of the picture, so another cut of the same ground may differ a little: `blended` is for those.
    """
    rows, columns = bands.shape[1:]
    places = [(row, column) for row in lattice.starts_inside(rows) for column in lattice.starts_inside(columns)]
    lacking = [(0, max(0, lattice.patch_px - length)) for length in (rows, columns)]
    found = _averaged(np.pad(bands, ((0, 0), *lacking)), places, lattice, forward, n_classes, batch)
    return found[:, :rows, :columns]


def _averaged(
    bands: Floats,
    places: Sequence[tuple[int, int]],
    lattice: PatchLattice,
    forward: Forward,
    n_classes: int,
    batch: int,
) -> Floats:
    """(class, y, x) by the weighted mean of patches at rows and columns; NaN where a pixel has nothing."""
    total, weight = np.zeros((n_classes, *bands.shape[1:]), np.float32), np.zeros(bands.shape[1:], np.float32)
    side, taper, has_any = lattice.patch_px, lattice.taper(), bands[-1] > 0
    asked = [(row, column) for row, column in places if has_any[row : row + side, column : column + side].any()]
    patches = np.zeros((batch, bands.shape[0], side, side), np.float32)
    for start in range(0, len(asked), batch):
        group = asked[start : start + batch]
        for number, (row, column) in enumerate(group):
            patches[number] = bands[:, row : row + side, column : column + side]
        for (row, column), found in zip(group, forward(patches), strict=False):
            total[:, row : row + side, column : column + side] += found * taper
            weight[row : row + side, column : column + side] += taper
    return np.where(has_any, total / np.maximum(weight, np.float32(1e-12)), np.float32(np.nan))
