"""The geometric median of one pixel by Newton's steps in float64, where Weiszfeld's in float32 do not end.

Observations near a line, as of a place under more or less haze, have their median in a long flat valley: there Weiszfeld's step is a thousand times
shorter than the way that is left, and float32 hardly sees the slope. Newton's step does not mind how flat it is; but distances have a kink at each
observation, where it would stay. So distances are rounded first, sqrt(d^2 + r^2), and r shrinks with each step that is as long as Newton says.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

NEWTON_STEPS = 100
FIRST_RADIUS = 0.5  # of the mean distance to the first centre
SMALLER = 0.1  # the next radius
LAST_RADIUS = 1e-9  # reflectance
NEWTON_TOLERANCE = 1e-7  # reflectance; a whole step with the last radius that is shorter is the last
SHORTEST_SHARE = 1e-4  # of a step, tried where the whole is too long
ROUNDING = 1e-14  # of a sum of distances
RIDGE = 1e-12  # of the sum of inverse distances: on the floor of a valley without any slope the centre stays


@numba.njit(nogil=True, cache=True, error_model="numpy")
def to_median(seen: Doubles, centre: Doubles) -> None:
    """Move the centre (band) to the least sum of distances to three observations or more, seen (k, band), in place.

    The observation next to it is the median where the unit vectors from it to the others sum to no more than how often it was seen (Vardi and Zhang
    2000, PNAS 97, 1423).
    """
    n, n_bands = seen.shape
    pull, step, trial = np.empty(n_bands), np.empty(n_bands), np.empty(n_bands)
    second = np.empty((n_bands, n_bands))
    radius = FIRST_RADIUS * _sum_of_distances(seen, centre, 0.0) / n
    for _ in range(NEWTON_STEPS):
        total = _slopes(seen, centre, radius, pull, second)
        _solve(second, pull, step)
        share = 1.0
        while share > SHORTEST_SHARE:
            for b in range(n_bands):
                trial[b] = centre[b] + share * step[b]
            if _sum_of_distances(seen, trial, radius) <= total * (1.0 + ROUNDING):
                break
            share *= 0.5
        length = 0.0
        for b in range(n_bands):
            length += step[b] * step[b]
        if share > SHORTEST_SHARE:
            centre[:] = trial
        if share == 1.0 or share <= SHORTEST_SHARE:
            if radius <= LAST_RADIUS and (share < 1.0 or length <= NEWTON_TOLERANCE**2):
                break
            radius = max(radius * SMALLER, LAST_RADIUS)
    nearest = _nearest(seen, centre)
    if _is_median(seen, nearest, pull):
        centre[:] = seen[nearest]


@numba.njit(nogil=True, cache=True)
def _sum_of_distances(seen: Doubles, centre: Doubles, radius: float) -> float:
    total = 0.0
    for k in range(seen.shape[0]):
        square = radius * radius
        for b in range(centre.size):
            square += (seen[k, b] - centre[b]) * (seen[k, b] - centre[b])
        total += np.sqrt(square)
    return total


@numba.njit(nogil=True, cache=True)
def _nearest(seen: Doubles, centre: Doubles) -> int:
    best, least = 0, np.inf
    for k in range(seen.shape[0]):
        square = 0.0
        for b in range(centre.size):
            square += (seen[k, b] - centre[b]) * (seen[k, b] - centre[b])
        if square < least:
            best, least = k, square
    return best


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _is_median(seen: Doubles, which: int, pull: Doubles) -> bool:
    pull[:] = 0.0
    on = 0
    for k in range(seen.shape[0]):
        square = 0.0
        for b in range(pull.size):
            square += (seen[k, b] - seen[which, b]) * (seen[k, b] - seen[which, b])
        if square == 0.0:
            on += 1
        else:
            share = 1.0 / np.sqrt(square)
            for b in range(pull.size):
                pull[b] += (seen[k, b] - seen[which, b]) * share
    force = 0.0
    for b in range(pull.size):
        force += pull[b] * pull[b]
    return bool(force <= on * on)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _slopes(seen: Doubles, centre: Doubles, radius: float, pull: Doubles, second: Doubles) -> float:
    """The sum of rounded distances; into pull less its first derivative, into second the lower half of its second."""
    n_bands = centre.size
    pull[:] = 0.0
    second[:] = 0.0
    total, inverse = 0.0, 0.0
    for k in range(seen.shape[0]):
        square = radius * radius
        for b in range(n_bands):
            square += (seen[k, b] - centre[b]) * (seen[k, b] - centre[b])
        distance = np.sqrt(square)
        share = 1.0 / distance
        cube = share * share * share
        total += distance
        inverse += share
        for b in range(n_bands):
            away = seen[k, b] - centre[b]
            pull[b] += away * share
            for d in range(b + 1):
                second[b, d] -= away * (seen[k, d] - centre[d]) * cube
    for b in range(n_bands):
        second[b, b] += inverse * (1.0 + RIDGE)
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _solve(second: Doubles, pull: Doubles, step: Doubles) -> None:
    """Newton's step, by Cholesky's factors in place of second."""
    n = pull.size
    for i in range(n):
        for j in range(i + 1):
            s = second[i, j]
            for m in range(j):
                s -= second[i, m] * second[j, m]
            second[i, j] = np.sqrt(max(s, 1e-300)) if i == j else s / second[j, j]
    for i in range(n):
        s = pull[i]
        for m in range(i):
            s -= second[i, m] * step[m]
        step[i] = s / second[i, i]
    for i in range(n - 1, -1, -1):
        s = step[i]
        for m in range(i + 1, n):
            s -= second[m, i] * step[m]
        step[i] = s / second[i, i]
