"""How often an index lies in a range."""

import numba
import numpy as np

from products.lane_code import LANES
from products.pixel.lanes import Floats


@numba.njit(nogil=True, cache=True, error_model="numpy")
def frequency(
    rows: Floats, n_rows: int, row: int, highest: int, at_least: np.float32, below: np.float32, out: Floats
) -> None:
    """The share of the values of one of rows (k, row, lane), infinity where missing, that are `at_least` and `below`, into out (2, lane).

    NaN where there is no value. The second row of `out` is scratch.
    """
    out[:2] = np.float32(0.0)
    inside, seen = out[0], out[1]
    for k in range(highest):
        values = rows[(k * n_rows + row) * LANES : (k * n_rows + row + 1) * LANES]
        for lane in range(LANES):
            value = values[lane]
            seen[lane] += np.float32(1.0) if value < np.float32(np.inf) else np.float32(0.0)
            inside[lane] += np.float32(1.0) if at_least <= value < below else np.float32(0.0)
    for lane in range(LANES):
        inside[lane] = inside[lane] / seen[lane]
