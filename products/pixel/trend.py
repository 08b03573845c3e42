"""What becomes of an index over some steps: a robust trend with its significance, and the greatest change between two steps."""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from products.lane_code import LANES
from products.pixel.harmonic import DAYS_A_YEAR
from products.pixel.lanes import Floats, Integers, sort_rows

Doubles = NDArray[np.float64]
MOST_STEPS = 64  # the slopes between all pairs are sorted: 2016 of them
TREND_METRICS = ("slope", "level", "tau", "p_value")
CHANGE_METRICS = ("size", "day", "before", "after")


@numba.njit(nogil=True, cache=True, error_model="numpy")
def theil_sen(
    folded: Floats,
    n_steps: int,
    days: Doubles,
    middle: float,
    least: int,
    slopes: Floats,
    counts: Integers,
    out: Floats,
) -> None:
    """The trend of folded (step, lane), infinity where there is no value, into out (4, lane); NaN where fewer than `least` steps have one.

    The median of the slopes between all pairs of steps, a year (Theil 1950, Proc. KNAW 53, 386; Sen 1968, J. Am. Stat. Assoc. 63, 1379); the median of what
    is left at the `middle` of the period; Kendall's tau, concordant less discordant pairs over all pairs; and the two-sided p of Mann and Kendall's test
    (Mann 1945, Econometrica 13, 245; Kendall 1975), by the normal distribution, corrected for ties and continuity. days (step) since the start of the period.
    slopes (pair, lane) and counts (3, lane) are scratch.
    """
    pairs, score, seen = counts[:LANES], counts[LANES : 2 * LANES], counts[2 * LANES :]
    counts[:] = 0
    row = 0
    for i in range(n_steps):
        one = folded[i * LANES : (i + 1) * LANES]
        for lane in range(LANES):
            seen[lane] += 1 if one[lane] < np.float32(np.inf) else 0
        for j in range(i + 1, n_steps):
            two, found = folded[j * LANES : (j + 1) * LANES], slopes[row * LANES : (row + 1) * LANES]
            a_year = np.float32(DAYS_A_YEAR / (days[j] - days[i]))
            for lane in range(LANES):
                is_pair = one[lane] < np.float32(np.inf) and two[lane] < np.float32(np.inf)
                found[lane] = (two[lane] - one[lane]) * a_year if is_pair else np.float32(np.inf)
                score[lane] += ((two[lane] > one[lane]) - (two[lane] < one[lane])) if is_pair else 0
                pairs[lane] += 1 if is_pair else 0
            row += 1
    sort_rows(slopes, LANES, row)
    for lane in range(LANES):
        out[0, lane] = _median(slopes, pairs[lane], lane)
    for i in range(n_steps):
        years = np.float32((days[i] - middle) / DAYS_A_YEAR)
        for lane in range(LANES):
            value = folded[i * LANES + lane]
            slopes[i * LANES + lane] = value - out[0, lane] * years if value < np.float32(np.inf) else value
    sort_rows(slopes, LANES, n_steps)
    for lane in range(LANES):
        n = seen[lane]
        if n < least:
            out[:4, lane] = np.float32(np.nan)
            continue
        out[1, lane] = _median(slopes, n, lane)
        out[2, lane] = np.float32(score[lane] / (0.5 * n * (n - 1)))
        out[3, lane] = np.float32(_p_value(float(score[lane]), n, _ties(folded, n_steps, lane)))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def greatest_change(folded: Floats, n_steps: int, days: Doubles, sign: float, least: int, out: Floats) -> None:
    """The greatest fall (sign -1), or rise (sign 1), from one step with a value to the next of folded (step, lane) into out (4, lane).

    By how much; the day half way between both, since the start of the period; the mean of the steps up to it, and of those after it. The earliest of equals.
    NaN where fewer than `least` steps have a value.
    """
    for lane in range(LANES):
        seen, last, at, size, day = 0, -1, 0, -np.inf, 0.0
        for step in range(n_steps):
            value = folded[step * LANES + lane]
            if np.isinf(value):
                continue
            if last >= 0:
                change = sign * (np.float64(value) - np.float64(folded[last * LANES + lane]))
                if change > size:
                    size, at, day = change, step, 0.5 * (days[last] + days[step])
            seen, last = seen + 1, step
        if seen < least:
            out[:4, lane] = np.float32(np.nan)
            continue
        out[0, lane], out[1, lane] = np.float32(size), np.float32(day)
        out[2, lane], out[3, lane] = _mean(folded, 0, at, lane), _mean(folded, at, n_steps, lane)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _median(rows: Floats, n: int, lane: int) -> np.float32:
    """Of the first n of sorted rows (k, lane)."""
    if n == 0:
        return np.float32(np.nan)
    low, high = rows[(n - 1) // 2 * LANES + lane], rows[n // 2 * LANES + lane]
    return low if n % 2 else np.float32(0.5 * (np.float64(low) + np.float64(high)))


@numba.njit(nogil=True, cache=True)
def _ties(folded: Floats, n_steps: int, lane: int) -> float:
    """The sum over groups of t equal values of t (t - 1) (2 t + 5)."""
    total = 0.0
    for i in range(n_steps):
        equal = 0
        for j in range(n_steps):
            equal += 1 if folded[j * LANES + lane] == folded[i * LANES + lane] else 0
        if folded[i * LANES + lane] < np.float32(np.inf):
            total += (equal - 1.0) * (2.0 * equal + 5.0)
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _p_value(score: float, n: int, ties: float) -> float:
    variance = (n * (n - 1.0) * (2.0 * n + 5.0) - ties) / 18.0
    if variance <= 0.0 or score == 0.0:
        return 1.0
    return math.erfc((abs(score) - 1.0) / math.sqrt(2.0 * variance))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _mean(folded: Floats, first: int, last: int, lane: int) -> np.float32:
    total, n = 0.0, 0
    for step in range(first, last):
        value = folded[step * LANES + lane]
        if not np.isinf(value):
            total += np.float64(value)
            n += 1
    return np.float32(total / n)
