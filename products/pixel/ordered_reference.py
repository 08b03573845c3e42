"""The float64 plain-NumPy answer for features that need the order of time: one pixel after the other, no speed intended."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from products.pixel.harmonic import DAYS_A_YEAR, SINGULAR
from products.pixel.season import ALIKE

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


def medoid(observations: Doubles) -> Doubles:
    """float64 (band,): of (observation, band) the one with the least sum of distances to all others, the earliest of equals."""
    apart = np.linalg.norm(observations[:, None] - observations[None], axis=-1).sum(axis=1)
    return observations[int(np.argmin(apart))]


def harmonics(values: Doubles, years: Doubles, from_middle: Doubles, order: int, with_trend: bool) -> Doubles:
    """float64 (term + 1,): level, [trend], amplitude and day of each harmonic, RMSE, by `numpy.linalg.lstsq`; NaN where there are too few values or dates."""
    columns = [np.ones_like(years), *([from_middle] if with_trend else [])]
    for k in range(1, order + 1):
        columns += [np.cos(2 * math.pi * k * years), np.sin(2 * math.pi * k * years)]
    design = np.stack(columns, axis=-1)
    if not tells_apart(design):
        return np.full(design.shape[1] + 1, np.nan)
    found = np.linalg.lstsq(design, values)[0]
    rmse = np.sqrt(np.mean((values - design @ found) ** 2))
    head, waves = list(found[: 1 + with_trend]), found[1 + with_trend :].reshape(-1, 2)
    for k, (a, b) in enumerate(waves, start=1):
        head += [np.hypot(a, b), np.mod(np.arctan2(b, a) / (2 * math.pi), 1.0) * DAYS_A_YEAR / k]
    return np.array([*head, rmse])


def frequency(values: Doubles, at_least: float, below: float) -> float:
    """The share of the finite values in [at_least, below); NaN where there is none."""
    seen = values[np.isfinite(values)]
    return float(np.mean((seen >= at_least) & (seen < below))) if seen.size else float("nan")


def folded(values: Doubles, steps: Integers, n_steps: int, quantile: float | None) -> Doubles:
    """float64 (n_steps,): the quantile, or the mean, of the values of each step, to float32; NaN where there is none."""
    of = [values[steps == step] for step in range(n_steps)]
    found = [
        np.nan if not each.size else np.mean(each) if quantile is None else np.quantile(each, quantile) for each in of
    ]
    return np.array(found, np.float32).astype(np.float64)


def trend(values: Doubles, days: Doubles, middle: float, least: int) -> Doubles:
    """float64 (4,): Theil and Sen's slope a year, level in the middle, Kendall's tau, p of Mann and Kendall's test; NaN where fewer than `least` are seen."""
    seen = np.isfinite(values)
    if seen.sum() < least:
        return np.full(4, np.nan)
    y, t = values[seen], (days[seen] - middle) / DAYS_A_YEAR
    i, j = np.triu_indices(len(y), 1)
    slope, score = np.median((y[j] - y[i]) / (t[j] - t[i])), np.sign(y[j] - y[i]).sum()
    groups = np.unique(y, return_counts=True)[1].astype(float)
    n = len(y)
    variance = (n * (n - 1) * (2 * n + 5) - (groups * (groups - 1) * (2 * groups + 5)).sum()) / 18
    p = 1.0 if score == 0 else math.erfc((abs(score) - 1) / math.sqrt(2 * variance))
    return np.array([slope, np.median(y - slope * t), score / len(i), p])


def change(values: Doubles, days: Doubles, sign: float, least: int) -> Doubles:
    """float64 (4,): the greatest change in a direction from one seen value to the next, its day, and the means before and after it."""
    seen = np.flatnonzero(np.isfinite(values))
    if len(seen) < least:
        return np.full(4, np.nan)
    y = values[seen]
    at = int(np.argmax(sign * np.diff(y))) + 1
    return np.array([sign * (y[at] - y[at - 1]), days[seen[at - 1 : at + 1]].mean(), y[:at].mean(), y[at:].mean()])


def tells_apart(design: Doubles) -> bool:
    """Whether (observation, term) has more observations than terms, and of each term's sum of squares more than SINGULAR beside the terms before it."""
    if len(design) <= design.shape[1]:
        return False
    beside = np.diag(np.linalg.qr(design, mode="r")) ** 2
    return bool((beside > SINGULAR * (design**2).sum(axis=0)).all())


def whittaker(values: Doubles, weights: Doubles, smoothness: float) -> Doubles:
    """float64 (n,): the smoother as one dense linear system."""
    second = np.diff(np.eye(len(values)), n=2, axis=0)
    return np.asarray(np.linalg.solve(np.diag(weights) + smoothness * second.T @ second, weights * values), float)


def season(series: Doubles, step_days: float, share: float, fine: int = 2000) -> Doubles:
    """float64 (7,): the metrics of `products.pixel.season`, from the series interpolated at `fine` points a step: exact to a step / fine."""
    at = np.linspace(0, len(series) - 1, (len(series) - 1) * fine + 1)
    dense = np.interp(at, np.arange(len(series)), series)
    top = int(np.argmax(series))
    peak, left, right = series[top], series[: top + 1].min(), series[top:].min()
    before = np.flatnonzero(dense[: top * fine] <= left + share * (peak - left))
    after = np.flatnonzero(dense[top * fine + 1 :] <= right + share * (peak - right))
    start = at[before[-1]] if before.size else 0.0
    end = at[top * fine + 1 + after[0]] if after.size else float(len(series) - 1)
    base = min(left, right)
    inside = (at >= start) & (at <= end)
    area = np.trapezoid(dense[inside] - base, at[inside])
    days = [(place + 0.5) * step_days for place in (start, top, end)]
    return np.array([*days, (end - start) * step_days, area * step_days, peak, base])


def more_of_season(series: Doubles, step_days: float, share: float, prominence: float) -> Doubles:
    """float64 (10,): the metrics of `products.pixel.season.MORE_METRICS`, with scipy's peaks, exact to a two-thousandth of a step."""
    start, top_day, end, _, _, peak, base = season(series, step_days, share)
    top, place = int(np.argmax(series)), np.arange(len(series))
    at_start, at_end = (np.interp(day / step_days - 0.5, place, series) for day in (start, end))
    rates = [
        (peak - value) / apart if apart > 0 else np.nan
        for value, apart in ((at_start, top_day - start), (at_end, end - top_day))
    ]
    low = top - int(np.argmin(series[: top + 1][::-1])), top + int(np.argmin(series[top:]))
    steepest, days = [np.nan, np.nan], [np.nan, np.nan]
    for side, changes in enumerate((np.diff(series[low[0] : top + 1]), -np.diff(series[top : low[1] + 1]))):
        if changes.size:
            steepest[side], days[side] = (
                changes.max() / step_days,
                ((low[0], top)[side] + int(np.flatnonzero(changes >= (1 - ALIKE) * changes.max())[0]) + 1) * step_days,
            )
    count = len(find_peaks(series, prominence=prominence)[0])
    return np.array([peak - base, at_start, at_end, *rates, *steepest, *days, count])
