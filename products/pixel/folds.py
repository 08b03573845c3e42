"""A value for each of some steps of a period, pixel by pixel: the mean, or a quantile, of an index in the step."""

import numba
import numpy as np
from numpy.typing import NDArray

from products.lane_code import LANES
from products.pixel.lanes import Floats

Integers = NDArray[np.int64]
MEAN = -1.0  # in the place of a quantile


@numba.njit(nogil=True, cache=True, error_model="numpy")
def fold(
    rows: Floats, n_rows: int, row: int, highest: int, scene_of: Integers, step_of: Integers, n_steps: int, quantile: float,
    begins: Integers, ordered: Floats, folded: Floats,
) -> None:  # fmt: skip
    """One of rows (k, row, lane), infinity where missing, into folded (step, lane), infinity where a step has no value.

    step_of (scene) is the step of each scene. Means and quantiles (Hyndman and Fan 1996, type 7) are found in float64. begins (n_steps + 1) and ordered (k)
    are scratch: the values of each step stand in `ordered` one after the other.
    """
    for lane in range(LANES):
        begins[: n_steps + 1] = 0
        for k in range(highest):
            if not np.isinf(rows[(k * n_rows + row) * LANES + lane]):
                begins[step_of[scene_of[k]] + 1] += 1
        for step in range(n_steps):
            begins[step + 1] += begins[step]
        seen = begins[n_steps]
        for k in range(highest - 1, -1, -1):
            value = rows[(k * n_rows + row) * LANES + lane]
            if not np.isinf(value):
                step = step_of[scene_of[k]]
                begins[step + 1] -= 1
                ordered[begins[step + 1]] = value
        for step in range(n_steps):
            first = begins[step + 1]
            last = begins[step + 2] if step + 2 <= n_steps else seen
            folded[step * LANES + lane] = _reduced(ordered[first:last], quantile)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _reduced(values: Floats, quantile: float) -> np.float32:
    """The mean of values in the order of time, or their quantile, for which they are sorted in place; infinity of none."""
    n = values.size
    if n == 0:
        return np.float32(np.inf)
    if quantile < 0.0:
        total = 0.0
        for i in range(n):
            total += np.float64(values[i])
        return np.float32(total / n)
    for i in range(1, n):
        value, j = values[i], i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    place = quantile * (n - 1)
    below = int(place)
    low, high = np.float64(values[below]), np.float64(values[min(below + 1, n - 1)])
    return np.float32(low + (high - low) * (place - below))
