"""Statistics of many pixels side by side: `LANES` neighbouring pixels are the last axis of every array, so that each step is a vector instruction.

Arrays are flat, with a constant distance between the rows of a step, and loops over bands are unrolled (the bands come as a tuple). Inner loops
run on slices, whose indices are never negative. Only then does the compiler see that nothing overlaps, and use the vector units.
"""

from typing import Any

import numba
import numpy as np
from llvmlite.ir import FunctionType
from numba.extending import intrinsic
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
Bands = tuple[Any, ...]  # one entry a band: its length is known when compiling

LANES = 32
LARGEST = np.float32(np.finfo(np.float32).max)
MAX_STACK = 8


def _of_two(name: str) -> Any:  # noqa: ANN401
    """LLVM's own minimum or maximum of two numbers that are not NaN: a comparison would become a store under a mask, which is slow on AMD."""

    @intrinsic
    def pick(_: Any, a: Any, b: Any) -> Any:  # noqa: ANN401
        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:  # noqa: ANN401
            kind = args[0].type
            function = builder.module.declare_intrinsic(name, [kind], FunctionType(kind, [kind, kind]))
            return builder.call(function, args, fastmath=("nnan", "nsz"))

        return a(a, b), generate

    return pick


_smaller, _larger = _of_two("llvm.minnum"), _of_two("llvm.maxnum")


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def distances(
    values: Floats, n_bands: int, weight: Floats, highest: int, bands: Bands, centre: Floats, made: Floats,
    rows: Floats, n_rows: int, found: Integers,
) -> None:  # fmt: skip
    """Spectral (1 - cosine), Euclidean and Bray-Curtis distance of each observation to the centre (band, lane) into the first three of rows (k, row, lane).

    Infinity where it is missing; the others are counted into found (row, lane). made (3, lane) is scratch.
    """
    for k in range(highest):
        seen, used = values[k * n_bands * LANES : (k + 1) * n_bands * LANES], weight[k * LANES : (k + 1) * LANES]
        for lane in range(LANES):
            product, norm, own = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            square, difference, total = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for b in range(len(bands)):
                v, c = seen[b * LANES + lane], centre[b * LANES + lane]
                product += v * c
                norm += v * v
                own += c * c
                square += (v - c) * (v - c)
                difference += abs(v - c)
                total += abs(v + c)
            made[lane] = np.float32(1.0) - product / np.sqrt(norm * own)
            made[LANES + lane] = np.sqrt(square)
            made[2 * LANES + lane] = difference / total
        for m in range(3):
            first = (k * n_rows + m) * LANES
            _keep(
                made[m * LANES : (m + 1) * LANES], used, rows[first : first + LANES], found[m * LANES : (m + 1) * LANES]
            )


@numba.njit(nogil=True, cache=True)
def _keep(made: Floats, used: Floats, row: Floats, n: Integers) -> None:
    """What was made (lane) into a row to sort, infinity where it is not finite or not used (lane), and count the others."""
    for lane in range(LANES):
        is_good = (used[lane] > np.float32(0.0)) & (abs(made[lane]) <= LARGEST)
        row[lane] = made[lane] if is_good else np.float32(np.inf)
        n[lane] += np.int32(is_good)


@numba.njit(nogil=True, cache=True)
def _exchange(low: Floats, high: Floats) -> None:
    for x in range(low.size):
        a, b = low[x], high[x]
        low[x], high[x] = _smaller(a, b), _larger(a, b)


@numba.njit(nogil=True, cache=True)
def sort_rows(rows: Floats, width: int, highest: int) -> None:
    """Sort each column of rows (k, width), k < highest, upwards, in place; no NaN (Batcher's merge exchange: Knuth, TAOCP 3, 5.2.2 M)."""
    p = 1
    while p < highest:
        k = p
        while k >= 1:
            for j in range(k % p, highest - k, 2 * k):
                for i in range(min(k, highest - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        low, high = (i + j) * width, (i + j + k) * width
                        _exchange(rows[low : low + width], rows[high : high + width])
            k //= 2
        p *= 2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def pick_quantile(rows: Floats, n_rows: int, row: int, found: Integers, quantile: np.float32, out: Floats) -> None:
    """The quantile of one of the sorted rows (k, row, lane) over the first found[row, lane], into out (lane); NaN where that is 0.

    Linear between neighbours (Hyndman and Fan 1996, type 7).
    """
    for lane in range(LANES):
        n = max(found[row * LANES + lane], 1)
        place = np.float64(quantile) * (n - 1)
        low = int(place)
        high = min(low + 1, n - 1)
        share = np.float32(place - low)
        a, b = rows[(low * n_rows + row) * LANES + lane], rows[(high * n_rows + row) * LANES + lane]
        out[lane] = a + (b - a) * share if found[row * LANES + lane] > 0 else np.float32(np.nan)


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
def spread(
    rows: Floats, n_rows: int, row: int, found: Integers, low: np.float32, high: np.float32, lower: Floats, out: Floats
) -> None:
    """The difference of two quantiles of one of the sorted rows into out (lane); lower (lane) is scratch."""
    pick_quantile(rows, n_rows, row, found, low, lower)
    pick_quantile(rows, n_rows, row, found, high, out)
    for lane in range(LANES):
        out[lane] -= lower[lane]


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
                first = (k * n_bands + int(operand)) * LANES
                _copy(values[first : first + LANES], stack[top * size + k * LANES : top * size + (k + 1) * LANES])
        elif operation == 1:
            top += 1
            stack[top * size : (top + 1) * size] = np.float32(operand)
        elif operation == 7:
            for i in range(size):
                stack[top * size + i] = -stack[top * size + i]
        else:
            _combine(operation, stack[(top - 1) * size : top * size], stack[top * size : (top + 1) * size])
            top -= 1
    for k in range(highest):
        first, own = (k * n_rows + row) * LANES, slice(k * LANES, (k + 1) * LANES)
        _keep(stack[own], weight[own], rows[first : first + LANES], found[row * LANES : (row + 1) * LANES])


@numba.njit(nogil=True, cache=True)
def _copy(source: Floats, target: Floats) -> None:
    for lane in range(LANES):
        target[lane] = source[lane]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _combine(operation: int, left: Floats, right: Floats) -> None:
    if operation == 2:
        for i in range(left.size):
            left[i] += right[i]
    elif operation == 3:
        for i in range(left.size):
            left[i] -= right[i]
    elif operation == 4:
        for i in range(left.size):
            left[i] *= right[i]
    elif operation == 5:
        for i in range(left.size):
            left[i] /= right[i]
    else:
        for i in range(left.size):
            left[i] = left[i] ** right[i]
