"""Harmonic regression of an index over time, pixel by pixel.

y(t) = level + trend (t - middle) + sum over k of a_k cos(2 pi k t) + b_k sin(2 pi k t), t in years: the model of Zhu and Woodcock 2014 (Remote Sens.
Environ. 144, 152-171), by ordinary least squares.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numba
import numpy as np
from numpy.typing import NDArray

from products.lane_code import LANES
from products.pixel.lanes import Floats

DAYS_A_YEAR = 365.2425
SINGULAR = (
    0.01  # of a term's sum of squares: dates that leave less of it beside the terms before cannot tell these apart
)
Doubles = NDArray[np.float64]


def basis(times: Sequence[datetime], origin: datetime, middle: datetime, order: int) -> Doubles:
    """float64 (scene, 2 + 2 order): 1, years since `middle`, cos(2 pi t), sin(2 pi t), cos(4 pi t), … with t in years of 365.2425 days since `origin`."""
    years = years_since(times, origin)
    columns = [np.ones_like(years), years_since(times, middle)]
    for k in range(1, order + 1):
        columns += [np.cos(2 * math.pi * k * years), np.sin(2 * math.pi * k * years)]
    return np.stack(columns, axis=-1)


def years_since(times: Sequence[datetime], origin: datetime) -> Doubles:
    """float64 (scene,): years of 365.2425 days between `origin` and each time, which is UTC."""
    return np.array([(time.astimezone(UTC) - origin).total_seconds() / (86400 * DAYS_A_YEAR) for time in times], float)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def fit_harmonics(
    rows: Floats, n_rows: int, row: int, highest: int, scene_of: NDArray[np.int64], base: Doubles, order: int,
    with_trend: bool, normal: Doubles, solution: Doubles, out: Floats,
) -> None:  # fmt: skip
    """Least squares of one of rows (k, row, lane), infinity where missing, by the normal equations in float64, into out (term + 1, lane).

    Level, [trend in 1 / year], then for each harmonic its amplitude and the day of its first maximum since the origin, in [0, 365.2425 / k); last the root mean
    square residual. scene_of (k) is the row of base (scene, 2 + 2 order) of each k. NaN where there are not more observations than terms, or where the
    dates cannot tell the terms apart. normal (term, term) and solution (term) are scratch.
    """
    n = 1 + with_trend + 2 * order
    skip = 0 if with_trend else 1  # the column of t
    for lane in range(LANES):
        normal[:n, :n] = 0.0
        solution[:n] = 0.0
        seen = 0
        for k in range(highest):
            value = np.float64(rows[(k * n_rows + row) * LANES + lane])
            if np.isinf(value):
                continue
            seen += 1
            scene = scene_of[k]
            for i in range(n):
                at_i = base[scene, i + skip * (i > 0)]
                solution[i] += at_i * value
                for j in range(i + 1):
                    normal[i, j] += at_i * base[scene, j + skip * (j > 0)]
        is_solved = seen > n and solve(normal, solution, n)
        square = 0.0
        for k in range(highest):
            value = np.float64(rows[(k * n_rows + row) * LANES + lane])
            if is_solved and not np.isinf(value):
                scene = scene_of[k]
                for i in range(n):
                    value -= solution[i] * base[scene, i + skip * (i > 0)]
                square += value * value
        _report(solution, n, 1 + with_trend)
        for i in range(n):
            out[i, lane] = np.float32(solution[i]) if is_solved else np.float32(np.nan)
        out[n, lane] = np.float32(np.sqrt(square / seen)) if is_solved else np.float32(np.nan)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _report(solution: Doubles, n: int, first: int) -> None:
    """Cosine and sine of each harmonic become amplitude and day of the first maximum, in place."""
    for i in range(first, n, 2):
        a, b = solution[i], solution[i + 1]
        length = DAYS_A_YEAR / ((i - first) // 2 + 1)
        solution[i] = np.hypot(a, b)
        solution[i + 1] = (np.arctan2(b, a) / (2.0 * np.pi) * length) % length


@numba.njit(nogil=True, cache=True, error_model="numpy")
def solve(normal: Doubles, solution: Doubles, n: int) -> bool:
    """Cholesky, in place: normal (lower triangle), solution from the right-hand side; False where the terms cannot be told apart."""
    for i in range(n):
        for j in range(i + 1):
            total = normal[i, j]
            for k in range(j):
                total -= normal[i, k] * normal[j, k]
            if i == j:
                if total <= SINGULAR * normal[i, i]:
                    return False
                normal[i, i] = np.sqrt(total)
            else:
                normal[i, j] = total / normal[j, j]
    for i in range(n):
        total = solution[i]
        for k in range(i):
            total -= normal[i, k] * solution[k]
        solution[i] = total / normal[i, i]
    for back in range(n):
        i = n - 1 - back
        total = solution[i]
        for k in range(i + 1, n):
            total -= normal[k, i] * solution[k]
        solution[i] = total / normal[i, i]
    return True
