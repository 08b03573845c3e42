"""How far apart samples must be to say something new: the range of an empirical variogram."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.spatial.distance import pdist

from products.learning.feature_parts import feature_parts

MOST_POINTS = 1500
N_LAGS = 20
LEAST_PAIRS = 30  # of which the mean of a lag is taken
LEAST_LAGS = 4  # to which a model is fitted
LEAST_STRUCTURE = 0.05
Floats = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Variogram:
    """Mean semivariance by lag, of standardised variables, and the fitted range in metres: 0 where nothing depends on distance, None where fewer than
    four lags have enough pairs to tell.

    `is_bounded` is False where semivariance still grows at the largest lag: then the range is at least that.
    """

    lag_m: Float64
    semivariance: Float64
    pairs: npt.NDArray[np.int64]
    range_m: float | None
    nugget: float
    sill: float
    is_bounded: bool

    def document(self) -> dict[str, Any]:
        """As the card stores it."""
        return {
            "range_m": None if self.range_m is None else round(self.range_m, 1),
            "is_bounded": self.is_bounded,
            "nugget": round(self.nugget, 4),
            "sill": round(self.sill, 4),
            "lag_m": np.round(self.lag_m, 1).tolist(),
            "semivariance": np.round(self.semivariance, 4).tolist(),
            "pairs": self.pairs.tolist(),
        }


def drawn_points(n: int, seed: int) -> npt.NDArray[np.int64]:
    """The numbers of at most 1500 of n rows, drawn with `seed`."""
    return np.random.default_rng(seed).permutation(n)[:MOST_POINTS]


def about_class_means(features: Floats, code: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Float64:
    """Some rows of features (n, feature) less the mean of their class, by their spread, both of all rows: what is left to depend on place.

    Constant features are left out.
    """
    classes = [code == number for number in np.unique(code)]
    return np.hstack([_about_means(features[:, part], classes, rows) for part in feature_parts(features.shape[1])])


def _about_means(features: Floats, classes: list[npt.NDArray[np.bool_]], rows: npt.NDArray[np.int64]) -> Float64:
    values = features.astype(np.float64)
    for members in classes:
        values[members] -= values[members].mean(axis=0)
    spread = values.std(axis=0)
    varies = spread > 1e-12
    return values[rows][:, varies] / spread[varies]


def estimate_variogram(
    x: Float64, y: Float64, values: Float64, rows: npt.NDArray[np.int64], site: npt.NDArray[np.int64]
) -> Variogram:
    """The variogram of standardised `values` (m, variable) of some `rows` (m,) of places (n,) in metres, in pairs of the same `site` (n,).

    Matheron's estimator (1963, Economic Geology 58, 1246-1266) of all variables together (Bourgault and Marcotte 1991, Mathematical Geology 23,
    899-928), at lags up to a third of the widest site; a spherical model with nugget, fitted with Cressie's weights (1985, Mathematical Geology 17, 563-586).
    """
    empty = np.zeros(0)
    if rows.size < 3 or values.shape[1] == 0:
        nothing = 0.0 if values.shape[1] == 0 else None
        return Variogram(empty, empty, empty.astype(np.int64), nothing, 0.0, 0.0, True)
    distance = pdist(np.column_stack([x[rows], y[rows]]))
    half_square = pdist(values, "sqeuclidean") / (2 * values.shape[1])
    largest = _widest(x, y, site) / 3
    number = np.floor(distance / max(largest, 1e-9) * N_LAGS).astype(np.int64)
    near = (number < N_LAGS) & (pdist(site[rows, None].astype(np.float64), "chebyshev") == 0)
    pairs = np.bincount(number[near], minlength=N_LAGS)
    kept = pairs >= LEAST_PAIRS
    total, apart = (
        np.bincount(number[near], weights=each[near], minlength=N_LAGS)[kept] for each in (half_square, distance)
    )
    lag, gamma, count = apart / pairs[kept], total / pairs[kept], pairs[kept]
    if lag.size < LEAST_LAGS:
        return Variogram(lag, gamma, count, None, 0.0, 0.0, True)
    nugget, partial, range_m = _fitted(lag, gamma, count, largest)
    sill = nugget + partial
    if partial < LEAST_STRUCTURE * sill:
        return Variogram(lag, gamma, count, 0.0, nugget, sill, True)
    return Variogram(lag, gamma, count, range_m, nugget, sill, range_m < 0.99 * largest)


def spherical(lag_m: Float64, nugget: float, partial: float, range_m: float) -> Float64:
    """The semivariance at each lag by the spherical model (Cressie 1993, section 2.3.1): grows until the range, then stays at nugget + partial sill."""
    near = np.minimum(lag_m / range_m, 1.0)
    return nugget + partial * (1.5 * near - 0.5 * near**3)


def _widest(x: Float64, y: Float64, site: npt.NDArray[np.int64]) -> float:
    """The diagonal of the widest site, metres."""
    ends = np.full((4, int(site.max()) + 1), -np.inf)
    for end, axis in zip(ends, (x, -x, y, -y), strict=True):
        np.maximum.at(end, site, axis)
    there = np.isfinite(ends[0])
    right, left, top, bottom = ends[:, there]
    return float(np.hypot(right + left, top + bottom).max())


def _fitted(lag: Float64, gamma: Float64, count: npt.NDArray[np.int64], largest: float) -> tuple[float, float, float]:
    """Nugget, partial sill and range, the best of fits that begin at several ranges, as far as each came in 2000 evaluations."""
    top = float(gamma.max())
    best, least = (0.0, top, largest), np.inf
    spread = np.maximum(gamma, 1e-9) / np.sqrt(count)
    least_m = lag[0] / 2
    for begin in (0.05, 0.2, 0.5):
        found = least_squares(
            lambda model: (spherical(lag, *model) - gamma) / spread, (0.3 * top, 0.7 * top, max(begin * largest, least_m)),
            bounds=([0, 0, least_m], [2 * top, 2 * top, largest]), max_nfev=2000,
        ).x  # fmt: skip
        error = float((((spherical(lag, *found) - gamma) / spread) ** 2).sum())
        if error < least:
            best, least = (float(found[0]), float(found[1]), float(found[2])), error
    return best
