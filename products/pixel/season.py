"""Season metrics of an index: a smooth regular series of each pixel, and start, peak, end, length and integral of its highest season."""

import numba
import numpy as np
from numpy.typing import NDArray

from products.lane_code import LANES
from products.pixel.lanes import Floats

Doubles = NDArray[np.float64]
MIDDLE = 0.5  # of a step: where its mean stands
ALIKE = (
    1e-6  # of the steepest: a smooth series is a straight line where there is no observation, but for its last digits
)
SEASON_METRICS = ("start", "peak", "end", "length", "integral", "peak_value", "base_value")
MORE_METRICS = (
    "amplitude", "start_value", "end_value", "rise_rate", "fall_rate", "rise_max_rate", "fall_max_rate", "rise_day", "fall_day", "count",
)  # fmt: skip
ALL_METRICS = (*SEASON_METRICS, *MORE_METRICS)
N_METRICS, N_ALL = len(SEASON_METRICS), len(ALL_METRICS)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def smooth(values: Doubles, weights: Doubles, smoothness: float, n: int, work: Doubles, out: Doubles) -> None:
    """Whittaker's smoother of values (n) with weights (n), into out (n): least sum of w (y - z)^2 + smoothness (second differences of z)^2.

    Whittaker 1923; Eilers 2003 (Anal. Chem. 75, 3631-3636), by Cholesky of the pentadiagonal system. At least two weights must be above 0.
    work (3, n) is scratch: the diagonal and the two bands of the factor.
    """
    for i in range(n):
        diagonal = (1.0 if i >= 2 else 0.0) + (4.0 if 1 <= i <= n - 2 else 0.0) + (1.0 if i <= n - 3 else 0.0)
        near = (-2.0 if i <= n - 3 else 0.0) + (-2.0 if 1 <= i <= n - 2 else 0.0)
        far = 1.0 if i <= n - 3 else 0.0
        d, e = weights[i] + smoothness * diagonal, smoothness * near
        target = weights[i] * values[i]
        if i >= 1:
            d -= work[1, i - 1] * work[1, i - 1] * work[0, i - 1]
            e -= work[1, i - 1] * work[2, i - 1] * work[0, i - 1]
            target -= work[1, i - 1] * out[i - 1]
        if i >= 2:
            d -= work[2, i - 2] * work[2, i - 2] * work[0, i - 2]
            target -= work[2, i - 2] * out[i - 2]
        work[0, i] = d
        work[1, i] = e / d
        work[2, i] = smoothness * far / d
        out[i] = target
    for back in range(n):
        i = n - 1 - back
        out[i] /= work[0, i]
        if i + 1 < n:
            out[i] -= work[1, i] * out[i + 1]
        if i + 2 < n:
            out[i] -= work[2, i] * out[i + 2]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def season_of(series: Doubles, n: int, step_days: float, share: float, out: Doubles) -> tuple[float, int, float]:
    """Start, peak and end in steps; into out (7) the same in days since the first step begins, length in days, integral in index days, values of peak and base.

    The peak is the highest step. The season starts, and ends, where the series last lies at base + share (peak - base) before, and first after, the peak, with
    the lowest value of that side as its base (TIMESAT's relative amplitude: Jönsson and Eklundh 2004, Comput. Geosci. 30, 833-845), linear between
    the middles of steps. The integral is of the series above the lower of the two bases.
    """
    top = 0
    for i in range(1, n):
        if series[i] > series[top]:
            top = i
    left, right = series[top], series[top]
    for i in range(top):
        left = min(left, series[i])
    for i in range(top + 1, n):
        right = min(right, series[i])
    start = _crossing(series, top, -1, n, left + share * (series[top] - left))
    end = _crossing(series, top, 1, n, right + share * (series[top] - right))
    base = min(left, right)
    out[0], out[1], out[2] = (start + MIDDLE) * step_days, (top + MIDDLE) * step_days, (end + MIDDLE) * step_days
    out[3] = (end - start) * step_days
    out[4] = (_area(series, end, n, base) - _area(series, start, n, base)) * step_days
    out[5], out[6] = series[top], base
    return start, top, end


@numba.njit(nogil=True, cache=True, error_model="numpy")
def more_of_season(
    series: Doubles, n: int, step_days: float, start: float, top: int, end: float, base: float, prominence: float, out: Doubles
) -> None:  # fmt: skip
    """MORE_METRICS into out (10), of a season whose start, peak and end are known in steps.

    Rates are per day, of a fall above 0: from start to peak, from peak to end, and the largest between two steps from the lowest value before the peak, or
    to that after it, whose day is half way between them, the earliest where some are ALIKE; NaN where there is no such way. The count is of the peaks of the
    whole series that stand out by at least `prominence`.
    """
    at_start, at_end = _at(series, start, n), _at(series, end, n)
    out[0], out[1], out[2] = series[top] - base, at_start, at_end
    out[3] = (series[top] - at_start) / ((top - start) * step_days) if top > start else np.nan
    out[4] = (series[top] - at_end) / ((end - top) * step_days) if end > top else np.nan
    for side in range(2):
        direction = 2 * side - 1
        low, i = top, top + direction
        while 0 <= i < n:
            low = i if series[i] < series[low] else low
            i += direction
        first, last = min(low, top), max(low, top)
        steepest, at = np.nan, first
        for i in range(first, last):
            change = -direction * (series[i + 1] - series[i])
            steepest = steepest if change <= steepest else change
        while at < last and -direction * (series[at + 1] - series[at]) < (1.0 - ALIKE) * steepest:
            at += 1
        out[5 + side], out[7 + side] = steepest / step_days, (at + 1) * step_days if first < last else np.nan
    out[9] = _peaks(series, n, prominence)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _at(series: Doubles, place: float, n: int) -> float:
    """The series between its steps."""
    below = min(int(place), n - 1)
    return series[below] + (place - below) * (series[min(below + 1, n - 1)] - series[below])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _peaks(series: Doubles, n: int, prominence: float) -> float:
    """How many steps, or runs of equal ones, are higher than both neighbours and than the highest saddle to a higher one, or to an end, by `prominence`."""
    found, i = 0.0, 1
    while i < n - 1:
        last = i
        while last + 1 < n and series[last + 1] == series[i]:
            last += 1
        if series[i - 1] < series[i] and last + 1 < n and series[last + 1] < series[i]:
            left, right = series[i], series[i]
            j = i - 1
            while j >= 0 and series[j] <= series[i]:
                left = min(left, series[j])
                j -= 1
            j = last + 1
            while j < n and series[j] <= series[i]:
                right = min(right, series[j])
                j += 1
            found += 1.0 if series[i] - max(left, right) >= prominence else 0.0
        i = last + 1
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _crossing(series: Doubles, top: int, direction: int, n: int, level: float) -> float:
    """Where, in steps, the series falls to a level on the way from its peak in a direction; the edge where it does not."""
    i = top
    while 0 <= i + direction < n:
        here, there = series[i], series[i + direction]
        if there <= level:
            return i + direction * ((here - level) / (here - there) if here > there else 0.0)
        i += direction
    return float(i)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _area(series: Doubles, until: float, n: int, base: float) -> float:
    """The integral of series - base from step 0 to `until`, linear between steps."""
    whole = min(int(until), n - 1)
    total = 0.0
    for i in range(whole):
        total += 0.5 * (series[i] + series[i + 1]) - base
    rest = until - whole
    if rest > 0.0 and whole + 1 < n:
        at_end = series[whole] + rest * (series[whole + 1] - series[whole])
        total += rest * (0.5 * (series[whole] + at_end) - base)
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def season_metrics(
    rows: Floats, n_rows: int, row: int, highest: int, scene_of: NDArray[np.int64], step_of: NDArray[np.int64],
    n_steps: int, step_days: float, smoothness: float, share: float, least: int, prominence: float, wanted: NDArray[np.int64],
    scratch: Doubles, out: Floats,
) -> None:  # fmt: skip
    """Wanted metrics, by their number in ALL_METRICS, of one of rows (k, row, lane), infinity where missing, into out (metric, lane).

    step_of (scene) is the regular step of each scene; observations of one step are averaged, steps without any weigh nothing. NaN where fewer than
    `least` steps (at least 3) have an observation. scratch (7, n_steps, or N_ALL if that is more).
    """
    values, weights, work, series = scratch[0], scratch[1], scratch[2:5], scratch[5]
    found = scratch[6]
    for lane in range(LANES):
        values[:n_steps] = 0.0
        weights[:n_steps] = 0.0
        for k in range(highest):
            value = rows[(k * n_rows + row) * LANES + lane]
            if not np.isinf(value):
                values[step_of[scene_of[k]]] += value
                weights[step_of[scene_of[k]]] += 1.0
        seen = 0
        for i in range(n_steps):
            if weights[i] > 0.0:
                values[i] /= weights[i]
                weights[i] = 1.0
                seen += 1
        if seen < max(least, 3):
            for m in range(wanted.size):
                out[m, lane] = np.float32(np.nan)
            continue
        smooth(values, weights, smoothness, n_steps, work, series)
        start, top, end = season_of(series, n_steps, step_days, share, found)
        if wanted.max() >= N_METRICS:
            more_of_season(series, n_steps, step_days, start, top, end, found[6], prominence, found[N_METRICS:])
        for m in range(wanted.size):
            out[m, lane] = np.float32(found[wanted[m]])
