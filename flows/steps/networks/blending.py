"""Overlapping patches of a window, asked in batches and joined by smooth weights."""

from collections.abc import Callable

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
    margin, side = lattice.margin_px, lattice.patch_px
    rows, columns = (length - 2 * margin for length in bands.shape[1:])
    total, weight = np.zeros((n_classes, *bands.shape[1:]), np.float32), np.zeros(bands.shape[1:], np.float32)
    taper, has_any = lattice.taper(), bands[-1] > 0
    places = [
        (row - first[0] + margin, column - first[1] + margin)
        for row in lattice.starts(first[0], rows)
        for column in lattice.starts(first[1], columns)
    ]
    asked = [(row, column) for row, column in places if has_any[row : row + side, column : column + side].any()]
    patches = np.zeros((batch, bands.shape[0], side, side), np.float32)
    for start in range(0, len(asked), batch):
        group = asked[start : start + batch]
        for number, (row, column) in enumerate(group):
            patches[number] = bands[:, row : row + side, column : column + side]
        for (row, column), found in zip(group, forward(patches), strict=False):
            total[:, row : row + side, column : column + side] += found * taper
            weight[row : row + side, column : column + side] += taper
    inner = (slice(margin, margin + rows), slice(margin, margin + columns))
    shares = total[:, *inner] / np.maximum(weight[inner], np.float32(1e-12))
    return np.where(has_any[inner], shares, np.float32(np.nan))
