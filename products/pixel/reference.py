"""The float64 answer of NumPy and SciPy that the fast kernels are compared with: one pixel after the other, no speed intended."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Doubles = NDArray[np.float64]

GRADIENT_TOLERANCE = 1e-9  # length of the mean unit vector from the centre to the observations
WEISZFELD_STEPS = 300
COUNT = -5.0


def _standardised(power: int) -> Callable[[Doubles], float]:
    """A central moment of the population over that power of its standard deviation; NaN where all numbers are equal."""

    def ratio(values: Doubles) -> float:
        if np.ptp(values) == 0:
            return float("nan")
        return float(np.mean((values - values.mean()) ** power) / values.std() ** power)

    return ratio


REDUCER_BY_CODE: Mapping[float, Callable[[Doubles], Any]] = {
    -1.0: np.mean, -2.0: np.std, -3.0: np.min, -4.0: np.max, -6.0: np.ptp,
    -7.0: lambda values: np.quantile(values, 0.75) - np.quantile(values, 0.25),
    -8.0: _standardised(3), -9.0: lambda values: _standardised(4)(values) - 3,
}  # fmt: skip


def geomedian(observations: Doubles) -> Doubles:
    """float64 (band,): the geometric median of (observation, band), by Weiszfeld's iteration from the mean; NaN without observations.

    Weiszfeld 1937; the test of each observation and the step away from one are Vardi and Zhang 2000 (PNAS 97, 1423-1426).
    Where that has not ended, as for observations near a line, by Newton's in a trust region (scipy's `trust-exact`; Conn, Gould and Toint 2000).
    Of two observations, where every point between is a median, the one half way.
    """
    if len(observations) == 0:
        return np.full(observations.shape[1], np.nan)
    for observation in observations:
        pull, at = _pull(observations, observation)
        if np.linalg.norm(pull) <= at and len(observations) != 2:
            return observation.copy()
    centre = observations.mean(axis=0)
    if len(observations) == 2:
        return centre
    for _ in range(WEISZFELD_STEPS):
        pull, at = _pull(observations, centre)
        length = float(np.linalg.norm(pull))
        if length / len(observations) < GRADIENT_TOLERANCE:
            return centre
        _, distance = _directions(observations, centre)
        centre = centre + max(0.0, 1 - at / length) * pull / np.sum(1 / distance)
    found = minimize(
        lambda c: np.linalg.norm(observations - c, axis=1).sum(), centre, jac=lambda c: -_pull(observations, c)[0],
        hess=lambda c: _curvature(observations, c), method="trust-exact",
        options={"gtol": GRADIENT_TOLERANCE, "maxiter": 500},
    )  # fmt: skip
    return np.asarray(found.x)


def gradient_norm(observations: Doubles, centre: Doubles) -> float:
    """The length of the mean unit vector from the centre to the observations that are not on it."""
    return float(np.linalg.norm(_pull(observations, centre)[0]) / len(observations))


def deviations(observations: Doubles, centre: Doubles) -> Doubles:
    """float64 (3,): median spectral (1 - cosine), Euclidean and Bray-Curtis distance to the centre; undefined distances are missing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = observations @ centre / (np.linalg.norm(observations, axis=1) * np.linalg.norm(centre))
        bray_curtis = np.abs(observations - centre).sum(axis=1) / np.abs(observations + centre).sum(axis=1)
    euclidean = np.linalg.norm(observations - centre, axis=1)
    return np.array([_reduced(distances, 0.5) for distances in (1 - cosine, euclidean, bray_curtis)])


def index_values(program: Doubles, observations: Doubles) -> Doubles:
    """float64 (observation,): a postfix program (step, 2), as `products.features` writes it, over observations (observation, band)."""
    stack: list[Doubles] = []
    with np.errstate(all="ignore"):
        for operation, operand in program:
            if operation < 0:
                break
            if operation == 0:
                stack.append(observations[:, int(operand)])
            elif operation == 1:
                stack.append(np.full(len(observations), operand))
            elif operation == 7:
                stack.append(-stack.pop())
            else:
                right, left = stack.pop(), stack.pop()
                stack.append(_combined(int(operation), left, right))
    return stack[0]


def temporal_features(
    block: NDArray[np.uint16], causes: NDArray[np.uint8], gain: NDArray[np.float32], bias: NDArray[np.float32],
    geomedian_bands: NDArray[np.int64], with_mads: bool,
    programs: Doubles, reducers: NDArray[np.float32], min_observations: int,
) -> Doubles:  # fmt: skip
    """float64 (feature, y, x): what `products.pixel.temporal.temporal_features` should give, from the same arguments."""
    reflectance = block.astype(np.float64) * gain.T[:, :, None, None].astype(np.float64) + bias.T[
        :, :, None, None
    ].astype(np.float64)
    n_features = geomedian_bands.size + 3 * with_mads + int(np.count_nonzero(~np.isnan(reducers)))
    out = np.full((n_features, *block.shape[2:]), np.nan)
    for y, x in np.ndindex(*block.shape[2:]):
        seen = reflectance[:, causes[:, y, x] == 0, y, x].T
        if len(seen) >= max(min_observations, 1):
            out[:, y, x] = list(_features_of(seen, geomedian_bands, with_mads, programs, reducers))
    return out


def observed(
    block: NDArray[np.uint16], causes: NDArray[np.uint8], gain: NDArray[np.float32], bias: NDArray[np.float32]
) -> Doubles:
    """float64 (band, y, x): what `products.pixel.observe.observed` should give, from the same arguments."""
    out = np.full((block.shape[0], *block.shape[2:]), np.nan)
    for scene, cause in enumerate(causes):
        has_data = ~np.isin(cause, [255, 1, 2, 10]) & (block[:, scene] != 0)
        reflectance = block[:, scene] * gain[scene, :, None, None].astype(float) + bias[scene, :, None, None]
        out = np.where(has_data, reflectance, out)
    return out


def _features_of(
    seen: Doubles, geomedian_bands: NDArray[np.int64], with_mads: bool, programs: Doubles, reducers: NDArray[np.float32]
) -> Iterable[float]:
    if geomedian_bands.size:
        centre = geomedian(seen[:, geomedian_bands])
        yield from centre
        if with_mads:
            yield from deviations(seen[:, geomedian_bands], centre)
    for program, row in zip(programs, reducers, strict=True):
        values = index_values(program, seen)
        yield from (_reduced(values, float(reducer)) for reducer in row if not np.isnan(reducer))


def _reduced(values: Doubles, reducer: float) -> float:
    """A quantile (linear, Hyndman and Fan 1996, type 7), or by its negative code one of REDUCER_BY_CODE or the number, of the finite values."""
    finite = values[np.isfinite(values)]
    if reducer == COUNT:
        return float(finite.size)
    if finite.size == 0:
        return float("nan")
    return float(np.quantile(finite, reducer) if reducer >= 0 else REDUCER_BY_CODE[reducer](finite))


def _pull(observations: Doubles, point: Doubles) -> tuple[Doubles, int]:
    """The sum of unit vectors from a point to the observations away from it, and the number of observations on it."""
    unit, distance = _directions(observations, point)
    return unit.sum(axis=0), len(observations) - len(distance)


def _curvature(observations: Doubles, point: Doubles) -> Doubles:
    """The second derivative of the sum of distances, (band, band), of the observations away from the point."""
    unit, distance = _directions(observations, point)
    return np.asarray(np.eye(point.size) * np.sum(1 / distance) - (unit / distance[:, None]).T @ unit)


def _directions(observations: Doubles, point: Doubles) -> tuple[Doubles, Doubles]:
    """Unit vectors (n, band) and distances (n,) from a point to the observations that are not on it."""
    away = observations - point
    distance = np.linalg.norm(away, axis=1)
    off = distance > 0
    return away[off] / distance[off, None], distance[off]


def _combined(operation: int, left: Doubles, right: Doubles) -> Doubles:
    by_operation = {2: np.add, 3: np.subtract, 4: np.multiply, 5: np.divide, 6: np.power}
    return np.asarray(by_operation[operation](left, right), float)
