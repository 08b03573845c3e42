"""The pixels of labelled pictures cut into squares, each a row of a table."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from products.errors import RequestError

Float64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Rows of a table that are pixels: `values` (n, feature), class codes `target` (n,), and the number of their `picture`, their `row` and `column` (n,)."""

    values: Floats
    target: Float64
    picture: Int64
    row: Int64
    column: Int64


def chips_of(pixels: Pixels, size_px: int) -> tuple[Floats, Float64, Int64]:
    """Squares (m, feature, y, x) that lie side by side and wholly in their picture, their most frequent class (m,), the first of equals, and picture (m,).

    A pixel that the table lacks is NaN and of no class; a square without any class is left out.
    """
    parts = [_of_picture(pixels, number, size_px) for number in np.unique(pixels.picture)]
    chips, target = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    if not len(chips):
        raise RequestError(f"no square of {size_px} px fits into the pictures: lower chip_px")
    picture = np.repeat(np.unique(pixels.picture), [len(part[0]) for part in parts])
    return chips, target, picture


def _of_picture(pixels: Pixels, number: int, size_px: int) -> tuple[Floats, Float64]:
    here = pixels.picture == number
    row, column = pixels.row[here], pixels.column[here]
    rows, columns = ((int(axis.max()) + 1) // size_px for axis in (row, column))
    inside = (row < rows * size_px) & (column < columns * size_px)
    n_features = pixels.values.shape[1]
    picture = np.full((n_features, rows * size_px, columns * size_px), np.nan, pixels.values.dtype)
    codes = np.zeros(picture.shape[1:], np.int64)
    picture[:, row[inside], column[inside]] = pixels.values[here][inside].T
    codes[row[inside], column[inside]] = pixels.target[here][inside]
    squares = picture.reshape(n_features, rows, size_px, columns, size_px).transpose(1, 3, 0, 2, 4)
    labels = codes.reshape(rows, size_px, columns, size_px).swapaxes(1, 2).reshape(rows * columns, size_px**2)
    counts = np.stack([(labels == code).sum(axis=1) for code in range(1, int(pixels.target.max()) + 1)], axis=1)
    kept = counts.any(axis=1)
    return squares.reshape(rows * columns, *squares.shape[2:])[kept], (counts.argmax(axis=1) + 1.0)[kept]
