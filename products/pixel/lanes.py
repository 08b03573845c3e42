"""Statistics of many pixels side by side: the last axis is `LANES` neighbouring pixels, so that each step is a vector instruction."""

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

LANES = 64
GEOMEDIAN_TOLERANCE = 1e-5  # reflectance; Weiszfeld stops when the step is shorter
GEOMEDIAN_ITERATIONS = 100
SMALLEST_DISTANCE = 1e-7
MAX_STACK = 8


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def geomedian(values: Floats, n: Integers, highest: int, bands: Integers, centre: Floats) -> None:
    """The geometric median of values (band, k, lane), k < n[lane], into centre (band, lane), by Weiszfeld's iteration from the mean.

    A lane stops on its own, so that its result does not depend on its neighbours. Weiszfeld 1937; Vardi and Zhang 2000 (PNAS 97, 1423).
    """
    weight = np.zeros((max(highest, 1), LANES), np.float32)
    moving = np.zeros(LANES, np.float32)
    for k in range(highest):
        for lane in range(LANES):
            weight[k, lane] = np.float32(1.0) if k < n[lane] else np.float32(0.0)
    for b in range(bands.size):
        total = np.zeros(LANES, np.float32)
        for k in range(highest):
            for lane in range(LANES):
                total[lane] += values[bands[b], k, lane] * weight[k, lane]
        for lane in range(LANES):
            centre[b, lane] = total[lane] / np.float32(n[lane])
    for lane in range(LANES):
        moving[lane] = np.float32(1.0) if n[lane] > 2 else np.float32(0.0)
    for _ in range(GEOMEDIAN_ITERATIONS):
        if moving.max() == 0.0:
            break
        _weiszfeld_step(values, weight, highest, bands, centre, moving)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def _weiszfeld_step(
    values: Floats, weight: Floats, highest: int, bands: Integers, centre: Floats, moving: Floats
) -> None:
    n_bands = bands.size
    pulled = np.zeros((n_bands, LANES), np.float32)
    pull = np.zeros(LANES, np.float32)
    distance = np.empty(LANES, np.float32)
    for k in range(highest):
        for lane in range(LANES):
            distance[lane] = np.float32(0.0)
        for b in range(n_bands):
            for lane in range(LANES):
                away = values[bands[b], k, lane] - centre[b, lane]
                distance[lane] += away * away
        for lane in range(LANES):
            w = weight[k, lane] / max(np.sqrt(distance[lane]), np.float32(SMALLEST_DISTANCE))
            distance[lane] = w
            pull[lane] += w
        for b in range(n_bands):
            for lane in range(LANES):
                pulled[b, lane] += distance[lane] * values[bands[b], k, lane]
    for lane in range(LANES):
        distance[lane] = np.float32(0.0)
    for b in range(n_bands):
        for lane in range(LANES):
            new = pulled[b, lane] / pull[lane] if moving[lane] > 0.0 else centre[b, lane]
            step = new - centre[b, lane]
            distance[lane] += step * step
            centre[b, lane] = new
    for lane in range(LANES):
        if distance[lane] <= np.float32(GEOMEDIAN_TOLERANCE * GEOMEDIAN_TOLERANCE):
            moving[lane] = np.float32(0.0)


@numba.njit(nogil=True, cache=True)
def _exchange(low: Floats, high: Floats) -> None:
    for lane in range(LANES):
        a, b = low[lane], high[lane]
        low[lane] = a if a < b else b
        high[lane] = b if a < b else a


@numba.njit(nogil=True, cache=True)
def sort_rows(rows: Floats, n_rows: int) -> None:
    """Sort each lane of rows (k, lane), k < n_rows, upwards, in place; no NaN (Batcher's merge exchange: Knuth, TAOCP 3, 5.2.2 M)."""
    p = 1
    while p < n_rows:
        k = p
        while k >= 1:
            for j in range(k % p, n_rows - k, 2 * k):
                for i in range(min(k, n_rows - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        _exchange(rows[i + j], rows[i + j + k])
            k //= 2
        p *= 2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def pick_quantile(rows: Floats, n: Integers, quantile: np.float32, out: Floats) -> None:
    """The quantile of sorted rows (k, lane) over the first n[lane], linear between neighbours (Hyndman and Fan 1996, type 7), into out (lane); NaN where n is 0."""
    for lane in range(LANES):
        if n[lane] == 0:
            out[lane] = np.nan
            continue
        place = np.float64(quantile) * (n[lane] - 1)
        low = int(place)
        high = min(low + 1, n[lane] - 1)
        share = np.float32(place - low)
        out[lane] = rows[low, lane] + (rows[high, lane] - rows[low, lane]) * share


@numba.njit(nogil=True, cache=True, error_model="numpy")
def mean_and_std(rows: Floats, n: Integers, want_std: bool, out: Floats) -> None:
    """The mean, or the population standard deviation, of the first n[lane] rows (k, lane) into out (lane); NaN where n is 0."""
    for lane in range(LANES):
        total = 0.0
        for k in range(n[lane]):
            total += np.float64(rows[k, lane])
        mean = total / n[lane] if n[lane] else np.nan
        if want_std:
            square = 0.0
            for k in range(n[lane]):
                square += (np.float64(rows[k, lane]) - mean) ** 2
            mean = np.sqrt(square / n[lane]) if n[lane] else np.nan
        out[lane] = np.float32(mean)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def run_program(program: NDArray[np.float64], values: Floats, highest: int, rows: Floats) -> None:
    """Evaluate a postfix program (step, 2), ended by operation -1, on values (band, k, lane) into rows (k, lane)."""
    stack = np.empty((MAX_STACK, LANES), np.float32)
    for k in range(highest):
        top = -1
        for step in range(program.shape[0]):
            operation, operand = int(program[step, 0]), program[step, 1]
            if operation < 0:
                break
            if operation == 0:
                top += 1
                for lane in range(LANES):
                    stack[top, lane] = values[int(operand), k, lane]
            elif operation == 1:
                top += 1
                for lane in range(LANES):
                    stack[top, lane] = np.float32(operand)
            elif operation == 7:
                for lane in range(LANES):
                    stack[top, lane] = -stack[top, lane]
            else:
                _combine(operation, stack[top - 1], stack[top])
                top -= 1
        for lane in range(LANES):
            rows[k, lane] = stack[0, lane]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _combine(operation: int, left: Floats, right: Floats) -> None:
    for lane in range(LANES):
        if operation == 2:
            left[lane] = left[lane] + right[lane]
        elif operation == 3:
            left[lane] = left[lane] - right[lane]
        elif operation == 4:
            left[lane] = left[lane] * right[lane]
        elif operation == 5:
            left[lane] = left[lane] / right[lane]
        else:
            left[lane] = left[lane] ** right[lane]
