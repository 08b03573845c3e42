"""Sums over the co-occurrence matrix of each window that need its entries one by one: of squares, for energy, and of c ln c, for entropy.

On the CPU one histogram slides along each row; other array libraries count every pair of levels by itself, in levels^2 / 2 passes over
the image. c ln c is an integer of fixed point, so both ways, and any crop, give the same bits.
"""

import math
from functools import cache

import numba
import numpy as np
from numpy.typing import NDArray

from products.window.pair_sums import pair_sum
from products.window.sliding import Array, array_namespace

FIXED_POINT = 2**30

Levels = NDArray[np.int32]
Table = NDArray[np.int64]


def pair_histogram_sums(grey: Array, window_px: int, levels: int) -> tuple[Array, Array]:
    """int64 (y, x) twice: the sums of c^2 and of c ln c, in units of 1 / FIXED_POINT, over the counts c of the symmetric matrix of each window.

    Of grey levels int32 (y + 2 halo, x + 2 halo), -1 where missing; the logarithm is natural.
    """
    table = count_logarithms(window_px)
    if not isinstance(grey, np.ndarray):
        return _count_each_pair(grey, window_px, levels, table)
    sums = np.zeros((2, grey.shape[0] - window_px + 1, grey.shape[1] - window_px + 1), np.int64)
    _slide(np.ascontiguousarray(grey), window_px, levels, table, sums)
    return sums[0], sums[1]


@cache
def count_logarithms(window_px: int) -> Table:
    """int64 (count,): c ln c in units of 1 / FIXED_POINT, for every count c that a symmetric matrix of the window can hold."""
    most = 4 * window_px * (window_px - 1) + 4 * (window_px - 1) ** 2
    table = np.array([0, *(round(c * math.log(c) * FIXED_POINT) for c in range(1, most + 1))], np.int64)
    table.setflags(write=False)
    return table


def _count_each_pair(grey: Array, window_px: int, levels: int, table: Table) -> tuple[Array, Array]:
    xp = array_namespace(grey)
    entries = xp.asarray(table)
    squares = logarithms = xp.asarray(0, dtype=xp.int64)
    for low in range(levels):
        for high in range(low, levels):
            twice = 2 if low == high else 1

            def is_this(a: Array, b: Array, low: int = low, high: int = high) -> Array:
                return xp.astype(((a == low) & (b == high)) | ((a == high) & (b == low)), xp.int32)

            counts = twice * xp.astype(pair_sum(grey, window_px, is_this), xp.int64)
            squares = squares + 2 // twice * counts * counts
            logs = xp.take(entries, xp.reshape(counts, (-1,)), axis=0)
            logarithms = logarithms + 2 // twice * xp.reshape(logs, counts.shape)
    return squares, logarithms


@numba.njit(nogil=True, cache=True)
def _slide(grey: Levels, window_px: int, levels: int, table: Table, sums: Table) -> None:
    histogram = np.zeros(levels * levels, np.int32)
    for y in range(sums.shape[1]):
        histogram[:] = 0
        rows = grey[y : y + window_px]
        squares, logarithms = np.int64(0), np.int64(0)
        for x in range(grey.shape[1]):
            if x >= window_px:
                more = _count_column(rows, x - window_px, x - window_px + 1, -1, levels, table, histogram)
                squares, logarithms = squares + more[0], logarithms + more[1]
            more = _count_column(rows, x, x - 1, 1, levels, table, histogram)
            squares, logarithms = squares + more[0], logarithms + more[1]
            if x >= window_px - 1:
                sums[0, y, x - window_px + 1] = squares
                sums[1, y, x - window_px + 1] = logarithms


@numba.njit(nogil=True, cache=True)
def _count_column(
    rows: Levels, column: int, other: int, sign: int, levels: int, table: Table, histogram: Levels
) -> tuple[np.int64, np.int64]:
    """What the sums gain by adding (sign 1) or removing (-1) the pairs within a column of the window and those with the column beside it."""
    squares, logarithms = np.int64(0), np.int64(0)
    for y in range(rows.shape[0]):
        a = rows[y, column]
        if a < 0:
            continue
        for place in range(4):
            y2 = y + 1 if place == 0 else y + place - 2
            x2 = column if place == 0 else other
            if not (0 <= y2 < rows.shape[0] and x2 >= 0):
                continue
            b = rows[y2, x2]
            if b < 0:
                continue
            entry = min(a, b) * levels + max(a, b)
            twice = 2 if a == b else 1
            before = twice * histogram[entry]
            histogram[entry] += sign
            after = before + twice * sign
            squares += 2 // twice * (after * after - before * before)
            logarithms += 2 // twice * (table[after] - table[before])
    return squares, logarithms
