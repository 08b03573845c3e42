"""Overviews of a tile: each level has a quarter of the pixels a side of the one before, and is made of the tile's own pixels only."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal

import numba
import numpy as np
from numpy.typing import NDArray

FACTOR: Final = 4
LEAST_PX: Final = 16
NO_MISSING: Final = -1  # no count has it

Method = Literal["mean", "mean_count", "mode"]
Grid = NDArray[Any]


def level_sides(tile_px: int) -> tuple[int, ...]:
    """The side of each level in pixels, of level 1 first: a quarter of the one before, as long as that is whole and at least 16."""
    sides: list[int] = []
    side = tile_px
    while side % FACTOR == 0 and side // FACTOR >= LEAST_PX:
        side //= FACTOR
        sides.append(side)
    return tuple(sides)


def overviews(stack: Grid, method: Method, missing: float, threads: int = 1) -> list[Grid]:
    """Each level of a square (layer, y, x), its pixels made of all pixels of the tile below them.

    mean: of those that are not missing (NaN, or that value), in the same dtype, integers rounded half up. mean_count: of all, float32; it is a count times a
    power of 1/4, so that what adds up in the tile adds up here. mode: the commonest value (uint8) that is not missing, the smallest of several.
    """
    dtype = np.dtype("float32") if method == "mean_count" else stack.dtype
    if method == "mode" and dtype != np.uint8:
        raise ValueError(f"expected uint8 for overviews by mode, got {dtype}")
    levels = [np.empty((len(stack), side, side), dtype) for side in level_sides(stack.shape[-1])]
    absent = float(missing) if dtype.kind == "f" and method == "mean" else int(missing)

    def reduce(number: int) -> None:
        layer, outs = np.ascontiguousarray(stack[number]), [level[number] for level in levels]
        if method == "mode":
            for out in outs:
                _mode(layer, absent, out)
        elif outs:
            _means(layer, NO_MISSING if method == "mean_count" else absent, outs)

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        list(pool.map(reduce, range(len(stack))))
    return levels


def _means(layer: Grid, missing: float, outs: list[Grid]) -> None:
    """The means of a layer (y, x) into each level, from float64 sums that are passed up."""
    sums, counts = np.empty(outs[0].shape, np.float64), np.empty(outs[0].shape, np.int32)
    _sum_layer(layer, missing, sums, counts)
    is_whole = outs[0].dtype.kind != "f"
    for out in outs:
        if out is not outs[0]:
            finer_sums, finer_counts = sums, counts
            sums, counts = np.empty(out.shape, np.float64), np.empty(out.shape, np.int32)
            _sum_sums(finer_sums, finer_counts, sums, counts)
        _divide(sums, counts, missing, is_whole, out)


@numba.njit(nogil=True, cache=True)
def _sum_layer(layer: Grid, missing: float, sums: Grid, counts: Grid) -> None:
    """Sums and numbers of the values that are neither NaN nor missing, of FACTOR x FACTOR pixels; first down the columns, which the vector units do."""
    width = layer.shape[1]
    column_sums, column_counts = np.empty(width, np.float64), np.empty(width, np.int32)
    for i in range(sums.shape[0]):
        for x in range(width):
            total, number = 0.0, 0
            for row in range(FACTOR):
                value = layer[FACTOR * i + row, x]
                is_valid = (value == value) & (value != missing)
                total += float(value) if is_valid else 0.0
                number += 1 if is_valid else 0
            column_sums[x], column_counts[x] = total, number
        for j in range(sums.shape[1]):
            total, number = 0.0, 0
            for column in range(FACTOR):
                total += column_sums[FACTOR * j + column]
                number += column_counts[FACTOR * j + column]
            sums[i, j], counts[i, j] = total, number


@numba.njit(nogil=True, cache=True)
def _sum_sums(finer_sums: Grid, finer_counts: Grid, sums: Grid, counts: Grid) -> None:
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            total, number = 0.0, 0
            for row in range(FACTOR * i, FACTOR * (i + 1)):
                for column in range(FACTOR * j, FACTOR * (j + 1)):
                    total += finer_sums[row, column]
                    number += finer_counts[row, column]
            sums[i, j], counts[i, j] = total, number


@numba.njit(nogil=True, cache=True)
def _divide(sums: Grid, counts: Grid, missing: float, is_whole: bool, out: Grid) -> None:
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            if counts[i, j] == 0:
                out[i, j] = missing
            else:
                mean = sums[i, j] / counts[i, j]
                out[i, j] = np.floor(mean + 0.5) if is_whole else mean


@numba.njit(nogil=True, cache=True)
def _mode(layer: Grid, missing: int, out: Grid) -> None:
    factor = layer.shape[0] // out.shape[0]
    numbers = np.zeros(256, np.int32)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            numbers[:] = 0
            for row in range(factor * i, factor * (i + 1)):
                for column in range(factor * j, factor * (j + 1)):
                    numbers[layer[row, column]] += 1
            best, most = missing, 0
            for value in range(256):
                if value != missing and numbers[value] > most:
                    best, most = value, numbers[value]
            out[i, j] = best
