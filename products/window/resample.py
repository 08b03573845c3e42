"""Resampling between two grids of one CRS: area average of integers, and nearest for masks. Deterministic for any crop."""

import numba
import numpy as np
from numpy.typing import NDArray

HALF_UP = (
    0.5 + 1e-4
)  # shares carry rounding errors of the coordinates: without it they would decide ties, each crop in its way

EDGE = 1e-6  # source pixels: a place this close to the next pixel lies in it, as grids that share lines leave it to rounding

SQUARE_PX = 32  # target pixels: the side of squares that are wanted or not

Integers = NDArray[np.uint16] | NDArray[np.uint8]
Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]


@numba.njit(nogil=True, cache=True)
def average(
    source: Integers, nodata: int, saturated: int, first_row: float, first_column: float, step: float, out: Integers
) -> None:
    """Area-weighted mean of the valid source pixels under each target pixel, rounded half up, into out (y, x); `nodata` where none is valid, and only there.

    The target pixel (i, j) covers source rows first_row + i * step to first_row + (i + 1) * step, and columns likewise, in source pixels. It is `saturated`
    where a valid one under it is at least so large: a number that stands for all above it has no part in a mean.
    """
    first_columns, wides = _columns_under(first_column, step, out.shape[1], source.shape[1])
    totals, weights = np.empty(source.shape[1]), np.empty(source.shape[1])
    for i in range(out.shape[0]):
        _sum_down(source, nodata, saturated, first_row + i * step, first_row + (i + 1) * step, totals, weights)
        for j in range(out.shape[1]):
            total, weight = 0.0, 0.0
            for k in range(wides.shape[1]):
                if wides[j, k] > 0.0:  # infinity times nothing is no number
                    total += wides[j, k] * totals[first_columns[j] + k]
                    weight += wides[j, k] * weights[first_columns[j] + k]
            if total == np.inf:
                out[i, j] = saturated
                continue
            mean = int(total / weight + HALF_UP) if weight > 0.0 else nodata
            out[i, j] = mean + 1 if weight > 0.0 and mean == nodata else mean


@numba.njit(nogil=True, cache=True)
def _columns_under(
    first_column: float, step: float, n: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The first source column under each of n target columns, (n,), and how much of it and of each behind it lies there, (n, most)."""
    firsts, wides = np.zeros(n, np.int64), np.zeros((n, int(np.ceil(step)) + 1))
    for j in range(n):
        left, right = first_column + j * step, first_column + (j + 1) * step
        firsts[j], end = pixels_between(left, right, width)
        for column in range(firsts[j], end):
            wides[j, column - firsts[j]] = min(right, column + 1.0) - max(left, float(column))
    return firsts, wides


@numba.njit(nogil=True, cache=True)
def pixels_between(first: float, last: float, size: int) -> tuple[int, int]:
    """The first of `size` source pixels in a row that lies between two places, and the one behind the last; a place close to an edge is the edge."""
    return max(int(np.floor(first + EDGE)), 0), min(int(np.ceil(last - EDGE)), size)


@numba.njit(nogil=True, cache=True)
def _sum_down(
    source: Integers, nodata: int, saturated: int, top: float, bottom: float, totals: Doubles, weights: Doubles
) -> None:
    """Of each source column the sum of valid pixels between two rows, each times its share of a pixel's height, and of these shares, into (x,);
    the sum is infinity where one is saturated.
    """
    totals[:], weights[:] = 0.0, 0.0
    first, end = pixels_between(top, bottom, source.shape[0])
    for row in range(first, end):
        tall = min(bottom, row + 1.0) - max(top, float(row))
        for column in range(source.shape[1]):
            value = source[row, column]
            is_valid = value != nodata
            number = np.inf if value >= saturated else float(value)
            totals[column] += tall * number if is_valid else 0.0
            weights[column] += tall if is_valid else 0.0


@numba.njit(nogil=True, cache=True)
def nearest(source: Integers, nodata: int, first_row: float, first_column: float, step: float, out: Integers) -> None:
    """The source pixel under the centre of each target pixel into out (y, x); `nodata` outside the source."""
    height, width = source.shape
    for i in range(out.shape[0]):
        row = int(np.floor(first_row + (i + 0.5) * step + EDGE))
        for j in range(out.shape[1]):
            column = int(np.floor(first_column + (j + 0.5) * step + EDGE))
            inside = 0 <= row < height and 0 <= column < width
            out[i, j] = source[row, column] if inside else nodata


@numba.njit(nogil=True, cache=True)
def replicate(source: Integers, nodata: int, first_row: int, first_column: int, factor: int, out: Integers) -> None:
    """Average and nearest where `factor` x `factor` target pixels lie in each source pixel: its value, into out (y, x); `nodata` outside.

    Target pixel (i, j) lies in source pixel ((first_row + i) // factor, (first_column + j) // factor).
    """
    height, width = source.shape
    column0 = max(-(-first_column // factor), 0)
    column1 = max(min((first_column + out.shape[1]) // factor, width), column0)
    whole0, whole1 = column0 * factor - first_column, column1 * factor - first_column
    for i in range(out.shape[0]):
        row = (first_row + i) // factor
        if i > 0 and row == (first_row + i - 1) // factor:
            _copy(out[i - 1], out[i])
            continue
        if not 0 <= row < height:
            out[i, :] = nodata
            continue
        _replicate_edge(source[row], nodata, first_column, factor, out[i], 0, min(whole0, out.shape[1]))
        if whole0 < whole1:
            if factor == 2:
                _replicate_twice(source[row, column0:column1], out[i, whole0:whole1])
            else:
                _replicate_whole(source[row, column0:column1], factor, out[i, whole0:whole1])
        _replicate_edge(source[row], nodata, first_column, factor, out[i], max(whole1, 0), out.shape[1])


@numba.njit(nogil=True, cache=True)
def _replicate_edge(
    row: Integers, nodata: int, first_column: int, factor: int, out: Integers, start: int, end: int
) -> None:
    for j in range(start, end):
        column = (first_column + j) // factor
        out[j] = row[column] if 0 <= column < row.size else nodata


@numba.njit(nogil=True, cache=True)
def _replicate_twice(row: Integers, out: Integers) -> None:
    for column in range(row.size):  # two stores at a constant distance: the compiler uses the vector units
        out[2 * column] = row[column]
        out[2 * column + 1] = row[column]


@numba.njit(nogil=True, cache=True)
def _replicate_whole(row: Integers, factor: int, out: Integers) -> None:
    for column in range(row.size):
        for place in range(factor):
            out[factor * column + place] = row[column]


@numba.njit(nogil=True, cache=True)
def _copy(row: Integers, out: Integers) -> None:
    for column in range(row.size):
        out[column] = row[column]
