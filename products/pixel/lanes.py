"""Statistics of many pixels side by side: the last axis is `LANES` neighbouring pixels, so that each step is a vector instruction."""

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

LANES = 128
GEOMEDIAN_TOLERANCE = (
    1e-5  # reflectance; Weiszfeld stops when the rest of the way, judged by its last two steps, is shorter
)
STEPS_A_ROUND = 9  # a multiple of the three phases of a step
GEOMEDIAN_ROUNDS = 11
SLOWEST_RATE = 0.98  # a stretched step is at most 50 times as long
SMALLEST_STEP = 2e-7  # float32 cannot show less
ON_OBSERVATION = 1e-6  # reflectance; a centre closer than this lies on the observation
MAX_STACK = 8


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def geomedian(values: Floats, n: Integers, highest: int, bands: Integers, centre: Floats) -> None:
    """The geometric median of values (band, k, lane), k < n[lane], into centre (band, lane), by Weiszfeld's iteration from the mean.

    A lane stops on its own, so that its result does not depend on its neighbours. Weiszfeld 1937; Vardi and Zhang 2000 (PNAS 97, 1423).
    """
    weight = np.zeros((max(highest, 1), LANES), np.float32)
    last_step = np.full(LANES, np.inf, np.float32)
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
        if n[lane] <= 2:
            last_step[lane] = np.float32(0.0)
    _iterate(values, weight, highest, bands, centre, last_step, LANES)
    if last_step.max() > 0.0:
        _finish_stragglers(values, weight, highest, bands, centre, last_step)


@numba.njit(nogil=True, cache=True)
def _iterate(
    values: Floats, weight: Floats, highest: int, bands: Integers, centre: Floats, last_step: Floats, width: int
) -> None:
    """A round of steps on the first `width` lanes; it ends early where all have arrived."""
    for step in range(STEPS_A_ROUND):
        if last_step[:width].max() == 0.0:
            break
        _weiszfeld_step(values, weight, highest, bands, centre, last_step, step % 3, width)


@numba.njit(nogil=True, cache=True)
def _finish_stragglers(
    values: Floats, weight: Floats, highest: int, bands: Integers, centre: Floats, last_step: Floats
) -> None:
    """Go on with the lanes that have not arrived, moved side by side after each round: few pixels need many steps."""
    n_bands = bands.size
    own = np.arange(n_bands)
    lanes = np.nonzero(last_step > 0.0)[0]
    some, mine = np.zeros((n_bands, highest, LANES), np.float32), np.zeros((n_bands, LANES), np.float32)
    their, last = np.zeros((highest, LANES), np.float32), np.zeros(LANES, np.float32)
    for _ in range(1, GEOMEDIAN_ROUNDS):
        width = min(-(-lanes.size // 16) * 16, LANES)
        for j in range(width):
            lane = lanes[min(j, lanes.size - 1)]
            last[j] = last_step[lane] if j < lanes.size else np.float32(0.0)
            for k in range(highest):
                their[k, j] = weight[k, lane]
            for b in range(n_bands):
                mine[b, j] = centre[b, lane]
                for k in range(highest):
                    some[b, k, j] = values[bands[b], k, lane]
        _iterate(some, their, highest, own, mine, last, width)
        for j in range(lanes.size):
            last_step[lanes[j]] = last[j]
            for b in range(n_bands):
                centre[b, lanes[j]] = mine[b, j]
        lanes = np.nonzero(last_step > 0.0)[0]
        if lanes.size == 0:
            break


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def _weiszfeld_step(
    values: Floats,
    weight: Floats,
    highest: int,
    bands: Integers,
    centre: Floats,
    last_step: Floats,
    phase: int,
    width: int,
) -> None:
    """Move the centre of each lane once and say how far in last_step (lane); a lane whose last step is 0 has arrived.

    In phase 2 of 3 the step is stretched to where steps shrinking at the observed rate would end.
    """
    n_bands = bands.size
    pulled = np.zeros((n_bands, LANES), np.float32)
    pull = np.zeros(LANES, np.float32)
    here = np.zeros(LANES, np.float32)
    distance = np.empty(LANES, np.float32)
    for k in range(highest):
        for lane in range(width):
            distance[lane] = np.float32(0.0)
        for b in range(n_bands):
            for lane in range(width):
                away = values[bands[b], k, lane] - centre[b, lane]
                distance[lane] += away * away
        for lane in range(width):
            far = np.sqrt(distance[lane])
            is_on = far < np.float32(ON_OBSERVATION)
            here[lane] += weight[k, lane] if is_on else np.float32(0.0)
            w = np.float32(0.0) if is_on else weight[k, lane] / far
            distance[lane] = w
            pull[lane] += w
        for b in range(n_bands):
            for lane in range(width):
                pulled[b, lane] += distance[lane] * (values[bands[b], k, lane] - centre[b, lane])
    for lane in range(width):
        distance[lane] = np.float32(0.0)
    for b in range(n_bands):
        for lane in range(width):
            distance[lane] += pulled[b, lane] * pulled[b, lane]
    for lane in range(width):
        force = np.sqrt(distance[lane])
        moves = here[lane] < force and last_step[lane] > 0.0
        pull[lane] = (np.float32(1.0) - here[lane] / force) / pull[lane] if moves else np.float32(0.0)
        step = force * pull[lane]
        before = last_step[lane]
        rate = min(step / before, np.float32(SLOWEST_RATE)) if moves else np.float32(0.0)
        rest = np.float32(1.0) - rate
        arrived = step <= np.float32(SMALLEST_STEP) or (phase > 0 and step <= np.float32(GEOMEDIAN_TOLERANCE) * rest)
        last_step[lane] = step if moves and not arrived else np.float32(0.0)
        if phase == 2 and step < before:
            pull[lane] /= rest
    for b in range(n_bands):
        for lane in range(width):
            centre[b, lane] += pulled[b, lane] * pull[lane]


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
    """The quantile of sorted rows (k, lane) over the first n[lane], into out (lane); NaN where n is 0.

    Linear between neighbours (Hyndman and Fan 1996, type 7).
    """
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
