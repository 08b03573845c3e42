"""Training polygons: small squares well inside the patches of a class map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from products.simulation.landscape import CLASS_NAMES

REFERENCE_CLASSES = {"mangrove": "mangrove", "water": "water"}
"""Landscape class -> class of the reference job; all else is `other`."""

SQUARE_PX = 3
BLOCKS_PER_SIDE = 8


@dataclass(frozen=True, slots=True)
class LabelSquare:
    """A square of SQUARE_PX pixels with its upper left pixel; `block` numbers the spatial block it lies in."""

    row: int
    column: int
    class_name: str
    subclass: str
    block: int


def label_squares(classes: NDArray[np.uint8], rng: np.random.Generator, per_block: int = 3) -> list[LabelSquare]:
    """Up to `per_block` squares of each class in each of 8 x 8 blocks, each with a margin of a pixel of the same
    class around it."""
    squares: list[LabelSquare] = []
    taken = np.zeros(classes.shape, dtype=bool)
    edges_y = np.linspace(0, classes.shape[0], BLOCKS_PER_SIDE + 1).astype(int)
    edges_x = np.linspace(0, classes.shape[1], BLOCKS_PER_SIDE + 1).astype(int)
    for code, name in CLASS_NAMES.items():
        inside = ndimage.binary_erosion(classes == code, np.ones((SQUARE_PX + 2, SQUARE_PX + 2)))
        for block in range(BLOCKS_PER_SIDE**2):
            y, x = divmod(block, BLOCKS_PER_SIDE)
            rows, columns = np.nonzero(inside[edges_y[y] : edges_y[y + 1], edges_x[x] : edges_x[x + 1]])
            centres = rng.permutation(np.column_stack([rows + edges_y[y], columns + edges_x[x]]))
            for row, column in _apart(centres, taken, per_block):
                top, left = row - SQUARE_PX // 2, column - SQUARE_PX // 2
                squares.append(LabelSquare(top, left, REFERENCE_CLASSES.get(name, "other"), name, block))
    return squares


def _apart(centres: NDArray[np.int64], taken: NDArray[np.bool_], count: int) -> list[tuple[int, int]]:
    """The first `count` centres whose squares do not touch one that is taken; marks them."""
    chosen: list[tuple[int, int]] = []
    for row, column in centres.tolist():
        around = (slice(max(row - 2, 0), row + 3), slice(max(column - 2, 0), column + 3))
        if not taken[around].any():
            taken[around] = True
            chosen.append((row, column))
        if len(chosen) == count:
            break
    return chosen
