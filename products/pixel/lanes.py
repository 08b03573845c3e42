"""Statistics of many pixels side by side: `LANES` neighbouring pixels are the last axis of every array, so that each step is a vector instruction.

Arrays are flat, with a constant distance between the rows of a step, and loops over bands are unrolled (the bands come as a tuple). Inner loops
run on slices, whose indices are never negative. Only then does the compiler see that nothing overlaps, and use the vector units.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from products.lane_code import LANES
from products.pixel.lane_vectors import (
    add_lanes,
    copy_lanes,
    divide_lanes,
    fused,
    keep_lanes,
    multiply_lanes,
    order_lanes,
    subtract_lanes,
)

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
Bands = tuple[Any, ...]  # one entry a band: its length is known when compiling

MAX_STACK = 8


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"nsz"})
def distances(
    values: Floats, n_bands: int, weight: Floats, highest: int, bands: Bands, centre: Floats, made: Floats,
    rows: Floats, n_rows: int, found: Integers,
) -> None:  # fmt: skip
    """Spectral (1 - cosine), Euclidean and Bray-Curtis distance of each observation to the centre (band, lane) into the first three of rows (k, row, lane).

    Infinity where it is missing; the others are counted into found (row, lane). made (3, lane) is scratch.
    """
    for k in range(highest):
        seen = values[k * n_bands * LANES : (k + 1) * n_bands * LANES]
        for lane in range(LANES):
            product, norm, own = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            square, difference, total = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for b in range(len(bands)):
                v, c = seen[b * LANES + lane], centre[b * LANES + lane]
                product, norm, own = fused(v, c, product), fused(v, v, norm), fused(c, c, own)
                square = fused(v - c, v - c, square)
                difference += abs(v - c)
                total += abs(v + c)
            made[lane] = np.float32(1.0) - product / np.sqrt(norm * own)
            made[LANES + lane] = np.sqrt(square)
            made[2 * LANES + lane] = difference / total
        for m in range(3):
            keep_lanes(made, m * LANES, weight, k * LANES, rows, (k * n_rows + m) * LANES, found, m * LANES)


@numba.njit(nogil=True, cache=True)
def sort_rows(rows: Floats, width: int, highest: int) -> None:
    """Sort each column of rows (k, width), k < highest, upwards, in place; whole lanes wide, no NaN (Batcher's merge exchange: Knuth, TAOCP 3, 5.2.2 M)."""
    p = 1
    while p < highest:
        k = p
        while k >= 1:
            for j in range(k % p, highest - k, 2 * k):
                for i in range(min(k, highest - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        low, high = (i + j) * width, (i + j + k) * width
                        for x in range(0, width, LANES):
                            order_lanes(rows, low + x, rows, high + x)
            k //= 2
        p *= 2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def quantile_places(quantile: float, below: Integers, share: Floats) -> None:
    """Where a quantile lies among n sorted numbers, n below below.size, share.size: behind number below[n], by a share of the way to the next.

    Linear between neighbours (Hyndman and Fan 1996, type 7); the share is 0 where there is no next.
    """
    below[0], share[0] = 0, np.float32(0.0)
    for n in range(1, below.size):
        place = np.float64(quantile) * (n - 1)
        below[n] = int(place)
        share[n] = np.float32(place - int(place))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def pick_quantile(
    rows: Floats, n_rows: int, row: int, found: Integers, below: Integers, share: Floats, out: Floats
) -> None:
    """The quantile with these places of one of the sorted rows (k, row, lane) over the first found[row, lane], into out (lane); NaN where that is 0."""
    step = n_rows * LANES
    own, n_found = rows[row * LANES :], found[row * LANES : (row + 1) * LANES]
    for lane in range(LANES):
        n = n_found[lane]
        low = below[n] * step + lane
        a, b = own[low], own[min(low + step, max(n - 1, 0) * step + lane)]
        out[lane] = a + (b - a) * share[n] if n > 0 else np.float32(np.nan)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def mean_and_std(rows: Floats, n_rows: int, row: int, found: Integers, want_std: bool, out: Floats) -> None:
    """The mean, or the population standard deviation, of the first found[row, lane] of one of rows (k, row, lane) into out (lane); NaN where that is 0."""
    for lane in range(LANES):
        n = found[row * LANES + lane]
        total = 0.0
        for k in range(n):
            total += np.float64(rows[(k * n_rows + row) * LANES + lane])
        mean = total / n if n else np.nan
        if want_std:
            square = 0.0
            for k in range(n):
                square += (np.float64(rows[(k * n_rows + row) * LANES + lane]) - mean) ** 2
            mean = np.sqrt(square / n) if n else np.nan
        out[lane] = np.float32(mean)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def skewness_or_kurtosis(
    rows: Floats, n_rows: int, row: int, found: Integers, want_kurtosis: bool, out: Floats
) -> None:
    """The skewness m3 / m2^1.5, or the kurtosis m4 / m2^2 - 3, of the first found[row, lane] of one of rows (k, row, lane) into out (lane).

    Central moments of the population, about the mean above the smallest number, so that equal numbers have no deviation; NaN where they are equal.
    """
    for lane in range(LANES):
        n = found[row * LANES + lane]
        least = np.float64(rows[row * LANES + lane])
        total = 0.0
        for k in range(n):
            total += np.float64(rows[(k * n_rows + row) * LANES + lane]) - least
        mean = total / n if n else np.nan
        second, third, fourth = 0.0, 0.0, 0.0
        for k in range(n):
            apart = np.float64(rows[(k * n_rows + row) * LANES + lane]) - least - mean
            second += apart * apart
            third += apart * apart * apart
            fourth += apart * apart * apart * apart
        variance = second / n if n else 0.0
        if variance <= 0.0:
            out[lane] = np.float32(np.nan)
        elif want_kurtosis:
            out[lane] = np.float32(fourth / n / (variance * variance) - 3.0)
        else:
            out[lane] = np.float32(third / n / (variance * np.sqrt(variance)))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def run_program(
    program: NDArray[np.float64], values: Floats, n_bands: int, weight: Floats, highest: int, stack: Floats,
    rows: Floats, n_rows: int, row: int, found: Integers,
) -> None:  # fmt: skip
    """Evaluate a postfix program (step, 2), ended by operation -1, on values (k, band, lane) into one of rows (k, row, lane).

    Infinity where it is missing; the others are counted into found (row, lane). stack (MAX_STACK, k, lane) is scratch.
    """
    size = highest * LANES
    top = -1
    for step in range(program.shape[0]):
        operation, operand = int(program[step, 0]), program[step, 1]
        if operation < 0:
            break
        if operation == 0:
            top += 1
            for k in range(highest):
                copy_lanes(values, (k * n_bands + int(operand)) * LANES, stack, top * size + k * LANES)
        elif operation == 1:
            top += 1
            stack[top * size : (top + 1) * size] = np.float32(operand)
        elif operation == 7:
            for i in range(size):
                stack[top * size + i] = -stack[top * size + i]
        else:
            top -= 1
            _combine(operation, stack, top * size, size)
    for k in range(highest):
        keep_lanes(stack, k * LANES, weight, k * LANES, rows, (k * n_rows + row) * LANES, found, row * LANES)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _combine(operation: int, stack: Floats, left: int, size: int) -> None:
    """The operand at `left` becomes itself and the one behind it, `size` numbers each, together."""
    right = left + size
    if operation == 2:
        for i in range(0, size, LANES):
            add_lanes(stack, left + i, stack, right + i)
    elif operation == 3:
        for i in range(0, size, LANES):
            subtract_lanes(stack, left + i, stack, right + i)
    elif operation == 4:
        for i in range(0, size, LANES):
            multiply_lanes(stack, left + i, stack, right + i)
    elif operation == 5:
        for i in range(0, size, LANES):
            divide_lanes(stack, left + i, stack, right + i)
    else:
        for i in range(size):
            stack[left + i] = stack[left + i] ** stack[right + i]
