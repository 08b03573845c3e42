"""Features that need to know which observation is which and when: medoid, best by an index, harmonics, season metrics, frequencies,
trends and changes, strip by strip.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from products.lane_code import LANES
from products.pixel.composites import best_by_index, medoid
from products.pixel.folds import fold
from products.pixel.frequency import frequency
from products.pixel.harmonic import fit_harmonics
from products.pixel.lanes import Floats
from products.pixel.season import N_ALL, season_metrics
from products.pixel.trend import TREND_METRICS, greatest_change, theil_sen

Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]
FoldScratch = tuple[Integers, Floats, Floats, Floats, NDArray[np.int32]]
OrderedScratch = tuple[Doubles, Doubles, Doubles, Floats, Floats, Integers, FoldScratch]
N_OF_FOLD = len(TREND_METRICS)  # as many of a change


class Folds(NamedTuple):
    """What is asked of the steps of a period: asked (fold, 6): program, sign of a change or 0 for a trend, quantile or MEAN, least steps with a value, steps,
    days from the start to the middle of the period; step_of (fold, scene); days (fold, step) from the start to the middle of each step, padded with NaN.
    """

    asked: Doubles
    step_of: Integers
    days: Doubles


class TimeOrdered(NamedTuple):
    """What is asked for: bands and programs by number, and the time of each scene as the fits see it.

    medoid_bands (band); best (composite, 2 + bands): program, 1 for the highest and -1 for the lowest, then bands, padded with -1; fits (fit, 3):
    program, order, 1 with trend; base (scene, 2 + 2 order) of `products.pixel.harmonic.basis`; seasons (season, 5): program, smoothness, share, least
    number of steps, prominence; wanted (season, metric): numbers in `ALL_METRICS`, padded with -1; step_of (scene); steps (2): number of steps and days of
    one; shares (share, 3): program, at least, below; folds.
    """

    medoid_bands: Integers
    best: Integers
    fits: Integers
    base: Doubles
    seasons: Doubles
    wanted: Integers
    step_of: Integers
    steps: Doubles
    shares: Doubles
    folds: Folds

    @property
    def n_features(self) -> int:
        """How many layers come of it."""
        picked = self.medoid_bands.size + int(np.count_nonzero(self.best[:, 2:] >= 0))
        fitted = sum(2 + 2 * int(order) + int(trend) for _, order, trend in self.fits)
        of_seasons = int(np.count_nonzero(self.wanted >= 0))
        return picked + fitted + of_seasons + len(self.shares) + N_OF_FOLD * len(self.folds.asked)

    def with_bands(self, order: Integers) -> "TimeOrdered":
        """What is asked for, where the bands of the block lie in another order."""
        place = np.argsort(order)
        best = self.best.copy()
        best[:, 2:] = np.where(best[:, 2:] >= 0, place[best[:, 2:]], -1)
        return self._replace(medoid_bands=place[self.medoid_bands], best=best)


@numba.njit(nogil=True, cache=True)
def ordered_scratch(asked: TimeOrdered, n_times: int) -> OrderedScratch:
    """Room for `ordered_strip`: normal equations, solution, season, sums of distances, layers of lanes, scene of each observation, folds."""
    n_terms, n_steps = asked.base.shape[1], asked.folds.days.shape[1]
    widest = max(asked.medoid_bands.size, asked.best.shape[1], n_terms + 1, N_ALL)
    return (
        np.zeros((n_terms, n_terms)),
        np.zeros(n_terms),
        np.zeros((7, max(int(asked.steps[0]), N_ALL))),
        np.zeros(n_times * LANES, np.float32),
        np.zeros((widest, LANES), np.float32),
        np.zeros(n_times, np.int64),
        (
            np.zeros(n_steps + 1, np.int64),
            np.zeros(n_times, np.float32),
            np.zeros(n_steps * LANES, np.float32),
            np.zeros(max(n_steps * (n_steps - 1) // 2, n_steps) * LANES, np.float32),
            np.zeros(3 * LANES, np.int32),
        ),
    )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def ordered_strip(
    values: Floats, n_bands: int, weight: Floats, highest: int, rows: Floats, n_rows: int, first_row: int,
    asked: TimeOrdered, scratch: OrderedScratch, scene_of: Integers, enough: NDArray[np.bool_], out: Floats,
) -> None:  # fmt: skip
    """The features of one strip into out (feature, lane); rows (k, first_row + program, lane) are not sorted yet, scene_of (k)."""
    normal, solution, room, totals, layers, _, of_folds = scratch
    begins, in_order, folded, slopes, counts = of_folds
    f = 0
    if asked.medoid_bands.size:
        medoid(values, n_bands, weight, highest, asked.medoid_bands, totals, layers)
        f = _put_layers(layers, asked.medoid_bands.size, enough, out, f)
    for i in range(asked.best.shape[0]):
        bands = asked.best[i, 2:]
        n = np.count_nonzero(bands >= 0)
        row = first_row + asked.best[i, 0]
        best_by_index(values, n_bands, rows, n_rows, row, highest, float(asked.best[i, 1]), bands[:n], layers)
        f = _put_layers(layers, n, enough, out, f)
    for i in range(asked.fits.shape[0]):
        order, with_trend = asked.fits[i, 1], asked.fits[i, 2]
        fit_harmonics(
            rows, n_rows, first_row + asked.fits[i, 0], highest, scene_of, asked.base, order, with_trend, normal, solution, layers
        )  # fmt: skip
        f = _put_layers(layers, 2 + 2 * order + with_trend, enough, out, f)
    for i in range(asked.seasons.shape[0]):
        wanted = asked.wanted[i][asked.wanted[i] >= 0]
        season_metrics(
            rows, n_rows, first_row + int(asked.seasons[i, 0]), highest, scene_of, asked.step_of, int(asked.steps[0]), asked.steps[1],
            asked.seasons[i, 1], asked.seasons[i, 2], int(asked.seasons[i, 3]), asked.seasons[i, 4], wanted, room, layers,
        )  # fmt: skip
        f = _put_layers(layers, wanted.size, enough, out, f)
    for i in range(asked.shares.shape[0]):
        low, high = np.float32(asked.shares[i, 1]), np.float32(asked.shares[i, 2])
        frequency(rows, n_rows, first_row + int(asked.shares[i, 0]), highest, low, high, layers)
        f = _put_layers(layers, 1, enough, out, f)
    for i in range(asked.folds.asked.shape[0]):
        program, sign, quantile, least, n_steps, middle = asked.folds.asked[i]
        steps, days = int(n_steps), asked.folds.days[i]
        fold(
            rows, n_rows, first_row + int(program), highest, scene_of, asked.folds.step_of[i], steps, quantile, begins, in_order, folded
        )  # fmt: skip
        if sign == 0.0:
            theil_sen(folded, steps, days, middle, int(least), slopes, counts, layers)
        else:
            greatest_change(folded, steps, days, sign, int(least), layers)
        f = _put_layers(layers, N_OF_FOLD, enough, out, f)


@numba.njit(nogil=True, cache=True)
def _put_layers(layers: Floats, n: int, enough: NDArray[np.bool_], out: Floats, f: int) -> int:
    for i in range(n):
        for lane in range(out.shape[1]):
            out[f + i, lane] = layers[i, lane] if enough[lane] else np.float32(np.nan)
    return f + n
