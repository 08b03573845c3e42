"""Resampling between grids of two CRSs, along a lattice of places whose transformation is known: nearest, area average and cubic convolution of integers."""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from products.window.resample import EDGE, SQUARE_PX, Doubles, Flags, Integers, pixels_between
from products.window.window_lanes import BOX, SMALL_BOX, sum_of_box, sum_of_cubic, sum_of_small_box

NODE_PX: Final = 16  # target pixels between nodes
HALF_UP: Final = 0.5


class Lattice(NamedTuple):
    """Where nodes of the target lie in the source: columns and rows, float64 (node y, node x), in source pixels from a corner.

    `top`, `left`: where the corner of the first target pixel lies among the nodes, in nodes; at least one node is before it, and two behind the last corner.
    """

    columns: Doubles
    rows: Doubles
    top: float
    left: float


@numba.njit(nogil=True, cache=True)
def _weights(share: float, weights: Doubles) -> None:
    """Of Lagrange's cubic through four nodes, for a place behind the second by a share of the way to the third."""
    a, b, c, d = share + 1.0, share, share - 1.0, share - 2.0
    weights[0], weights[1] = -b * c * d / 6.0, a * c * d / 2.0
    weights[2], weights[3] = -a * b * d / 2.0, a * b * c / 6.0


@numba.njit(nogil=True, cache=True)
def _across(lattice: Lattice, column: float, n: int) -> tuple[NDArray[np.int64], Doubles]:
    """The first of four nodes about each of n places in a row, one target pixel apart and the first `column` target pixels from the first corner, (n,), and
    their weights (n, 4).
    """
    firsts, weights = np.empty(n, np.int64), np.empty((n, 4))
    for x in range(n):
        across = lattice.left + (column + x) / NODE_PX
        firsts[x] = int(across) - 1
        _weights(across - (firsts[x] + 1), weights[x])
    return firsts, weights


@numba.njit(nogil=True, cache=True)
def _places(
    lattice: Lattice, row: float, firsts: NDArray[np.int64], weights: Doubles, line: Doubles, places: Doubles
) -> None:
    """Columns and rows in the source, into places (2, x), of the places of `_across` in a row, `row` target pixels below the first corner.

    `line` (2, node x) is room for the lattice there.
    """
    down = lattice.top + row / NODE_PX
    first, shares = int(down) - 1, np.empty(4)
    _weights(down - (first + 1), shares)
    for x in range(line.shape[1]):
        line[0, x], line[1, x] = 0.0, 0.0
        for k in range(4):
            line[0, x] += shares[k] * lattice.columns[first + k, x]
            line[1, x] += shares[k] * lattice.rows[first + k, x]
    for x in range(places.shape[1]):
        column, below, node = 0.0, 0.0, firsts[x]
        for k in range(4):
            column += weights[x, k] * line[0, node + k]
            below += weights[x, k] * line[1, node + k]
        places[0, x], places[1, x] = column, below


@numba.njit(nogil=True, cache=True, forceinline=True)
def _stored(value: float, nodata: int, saturated: int, largest: int) -> int:
    """The integer nearest to a value, half up, that the type holds and that is not nodata; of infinity `saturated`."""
    if value == np.inf:
        return saturated
    whole = int(np.floor(min(max(value, 0.0), float(largest)) + HALF_UP))
    if whole == nodata:
        return nodata + 1 if nodata < largest else nodata - 1
    return whole


@numba.njit(nogil=True, cache=True)
def warp_nearest(source: Integers, nodata: int, lattice: Lattice, wanted: Flags, out: Integers) -> None:
    """The source pixel under the centre of each target pixel into out (y, x); nodata outside the source, and where no square is wanted."""
    line, places = np.empty((2, lattice.columns.shape[1])), np.empty((2, out.shape[1]))
    firsts, weights = _across(lattice, 0.5, out.shape[1])
    for i in range(out.shape[0]):
        _places(lattice, i + 0.5, firsts, weights, line, places)
        for j in range(out.shape[1]):
            column, row = int(np.floor(places[0, j] + EDGE)), int(np.floor(places[1, j] + EDGE))
            inside = 0 <= row < source.shape[0] and 0 <= column < source.shape[1]
            inside &= wanted[i // SQUARE_PX, j // SQUARE_PX]
            out[i, j] = source[row, column] if inside else nodata


@numba.njit(nogil=True, cache=True)
def warp_average(
    source: Integers, nodata: int, saturated: int, lattice: Lattice, largest: int, wanted: Flags, out: Integers
) -> None:
    """The area-weighted mean of the valid source pixels under each target pixel into out (y, x); nodata where none is valid, `saturated` where one is.

    `wanted` (square y, square x): whether squares of `SQUARE_PX` target pixels are; the others become nodata.

    Under it lies the box between its upper left and its lower right corner in the source, as GDAL's `average` takes it.
    """
    line = np.empty((2, lattice.columns.shape[1]))
    above, below = np.empty((2, out.shape[1] + 1)), np.empty((2, out.shape[1] + 1))
    firsts, weights = _across(lattice, 0.0, out.shape[1] + 1)
    _places(lattice, 0.0, firsts, weights, line, below)
    for i in range(out.shape[0]):
        above, below = below, above
        _places(lattice, i + 1.0, firsts, weights, line, below)
        _average_row(source, nodata, saturated, above, below, largest, wanted[i // SQUARE_PX], out[i])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _average_row(
    source: Integers, nodata: int, saturated: int, above: Doubles, below: Doubles, largest: int, wanted: Flags,
    out: Integers,
) -> None:  # fmt: skip
    """One row of `warp_average`, into out (x,): the corners of its pixels lie at columns and rows `above` and `below` (2, x + 1)."""
    height, width = source.shape
    flat = source.reshape(-1)
    for j in range(out.size):
        if not wanted[j // SQUARE_PX]:
            out[j] = nodata
            continue
        left, right = _in_order(above[0, j], below[0, j + 1])
        top, bottom = _in_order(above[1, j], below[1, j + 1])
        row, column = int(np.floor(top + EDGE)), int(np.floor(left + EDGE))
        y0, y1, x0, x1 = max(top - row, 0.0), _end(bottom - row), max(left - column, 0.0), _end(right - column)
        rows, columns = SMALL_BOX if y1 <= SMALL_BOX[0] and x1 <= SMALL_BOX[1] else BOX
        is_lacking = is_full = True
        total, weight = 0.0, (y1 - y0) * (x1 - x0)
        if 0 <= row <= height - rows and 0 <= column <= width - columns and y1 <= rows and x1 <= columns:
            at = row * width + column
            if rows == SMALL_BOX[0]:
                total, is_lacking, is_full = sum_of_small_box(flat, at, width, y0, y1, x0, x1, nodata, saturated)
            else:
                total, is_lacking, is_full = sum_of_box(flat, at, width, y0, y1, x0, x1, nodata, saturated)
        if is_lacking or is_full:
            total, weight = _sum_in_box(source, nodata, saturated, top, bottom, left, right)
        out[j] = _stored(total / weight, nodata, saturated, largest) if weight > 0.0 else nodata


@numba.njit(nogil=True, cache=True, forceinline=True)
def _in_order(a: float, b: float) -> tuple[float, float]:
    return (a, b) if a < b else (b, a)


@numba.njit(nogil=True, cache=True, forceinline=True)
def _end(place: float) -> float:
    """A place, or the edge of a pixel that it has only just passed."""
    edge = np.floor(place)
    return edge if place - edge <= EDGE else place


@numba.njit(nogil=True, cache=True)
def _sum_in_box(
    source: Integers, nodata: int, saturated: int, top: float, bottom: float, left: float, right: float
) -> tuple[float, float]:
    """The sum of the valid source pixels in a box of rows and columns, each times its share in it, and of these shares; infinity where one is saturated."""
    row0, row1 = pixels_between(top, bottom, source.shape[0])
    column0, column1 = pixels_between(left, right, source.shape[1])
    total, weight = 0.0, 0.0
    for row in range(row0, row1):
        tall = min(bottom, row + 1.0) - max(top, float(row))
        for column in range(column0, column1):
            value = source[row, column]
            if value != nodata:
                if value >= saturated:
                    return np.inf, 1.0
                share = tall * (min(right, column + 1.0) - max(left, float(column)))
                total += share * value
                weight += share
    return total, weight


@numba.njit(nogil=True, cache=True)
def warp_average_turned(
    source: Integers, nodata: int, saturated: int, lattice: Lattice, n_places: int, largest: int, wanted: Flags,
    out: Integers,
) -> None:  # fmt: skip
    """The mean of the valid source pixels under n_places x n_places places of each target pixel into out (y, x); nodata where none is valid, `saturated`
    where one is. Of `wanted` squares, as `warp_average`.

    For grids that are turned against each other: between two corners of a pixel lies no box of source pixels.
    """
    width = out.shape[1]
    line, places = np.empty((2, lattice.columns.shape[1])), np.empty((2, width))
    total, count = np.empty(width), np.empty(width)
    for i in range(out.shape[0]):
        of_row = wanted[i // SQUARE_PX]
        total[:], count[:] = 0.0, 0.0
        for k in range(n_places * n_places):
            down, across = (k // n_places + 0.5) / n_places, (k % n_places + 0.5) / n_places
            firsts, weights = _across(lattice, across, width)
            _places(lattice, i + down, firsts, weights, line, places)
            for j in range(width):
                column, row = int(np.floor(places[0, j] + EDGE)), int(np.floor(places[1, j] + EDGE))
                inside = 0 <= row < source.shape[0] and 0 <= column < source.shape[1]
                if inside and of_row[j // SQUARE_PX] and source[row, column] != nodata:
                    value = source[row, column]
                    total[j] += np.inf if value >= saturated else float(value)
                    count[j] += 1.0
        for j in range(width):
            out[i, j] = _stored(total[j] / count[j], nodata, saturated, largest) if count[j] > 0.0 else nodata


@numba.njit(nogil=True, cache=True)
def warp_cubic(
    source: Integers, nodata: int, saturated: int, lattice: Lattice, largest: int, wanted: Flags, out: Integers
) -> None:
    """Cubic convolution (Keys 1981, IEEE Trans. ASSP 29, 1153; a = -0.5) of 4 x 4 source pixels about the centre of each target pixel, into out (y, x).

    Where one of them is not valid, of the valid ones of the nearest 2 x 2 by their bilinear weights; nodata where the pixel under the centre is not, as
    GDAL has it, and `saturated` where one that counts is. For source pixels about as large as target pixels. Of `wanted` squares, as `warp_average`.
    """
    line, places = np.empty((2, lattice.columns.shape[1])), np.empty((2, out.shape[1]))
    firsts, weights = _across(lattice, 0.5, out.shape[1])
    for i in range(out.shape[0]):
        _places(lattice, i + 0.5, firsts, weights, line, places)
        _cubic_row(source, nodata, saturated, places, largest, wanted[i // SQUARE_PX], out[i])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _cubic_row(
    source: Integers, nodata: int, saturated: int, places: Doubles, largest: int, wanted: Flags, out: Integers
) -> None:
    """One row of `warp_cubic`, into out (x,): the centres of its pixels lie at columns and rows `places` (2, x)."""
    height, width = source.shape
    flat = source.reshape(-1)
    for j in range(out.size):
        if not wanted[j // SQUARE_PX]:
            out[j] = nodata
            continue
        under_row, under_column = int(np.floor(places[1, j] + EDGE)), int(np.floor(places[0, j] + EDGE))
        if not (0 <= under_row < height and 0 <= under_column < width) or source[under_row, under_column] == nodata:
            out[j] = nodata
            continue
        row, column = int(np.floor(places[1, j] - 0.5 + EDGE)), int(np.floor(places[0, j] - 0.5 + EDGE))
        down, across = places[1, j] - 0.5 - row, places[0, j] - 0.5 - column
        is_lacking = is_full = True
        value = 0.0
        if row >= 1 and column >= 1 and row + 2 < height and column + 2 < width:
            at = (row - 1) * width + column - 1
            value, is_lacking, is_full = sum_of_cubic(flat, at, width, down, across, nodata, saturated)
        if is_lacking:
            value = _bilinear(source, nodata, saturated, row, column, down, across)
        elif is_full and _counts_saturated(source, saturated, row, column, down, across):
            value = np.inf
        out[j] = _stored(value, nodata, saturated, largest)


@numba.njit(nogil=True, cache=True, forceinline=True)
def _keys(share: float, k: int) -> float:
    """The weight of the pixel k = -1, 0, 1 or 2 behind the first, for a place behind it by a share of a pixel."""
    away = abs(share - k)
    if away < 1.0:
        return (1.5 * away - 2.5) * away * away + 1.0
    return ((-0.5 * away + 2.5) * away - 4.0) * away + 2.0


@numba.njit(nogil=True, cache=True)
def _bilinear(
    source: Integers, nodata: int, saturated: int, row: int, column: int, down: float, across: float
) -> float:
    """The value at a place behind the centre of a pixel by the valid ones of 2 x 2, one of which is; infinite where a saturated one counts."""
    height, width = source.shape
    total, weight = 0.0, 0.0
    for k in range(2):
        for m in range(2):
            if 0 <= row + k < height and 0 <= column + m < width and source[row + k, column + m] != nodata:
                share = (down if k else 1.0 - down) * (across if m else 1.0 - across)
                if source[row + k, column + m] >= saturated and share > EDGE:
                    return np.inf
                total += share * source[row + k, column + m]
                weight += share
    return total / weight


@numba.njit(nogil=True, cache=True)
def _counts_saturated(source: Integers, saturated: int, row: int, column: int, down: float, across: float) -> bool:
    """Whether one of the 4 x 4 pixels about a place behind the centre of a pixel is saturated and has a weight."""
    for k in range(-1, 3):
        for m in range(-1, 3):
            if source[row + k, column + m] >= saturated and abs(_keys(down, k) * _keys(across, m)) > EDGE:
                return True
    return False
