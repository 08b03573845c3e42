"""Composites that pick one whole observation of each pixel: the medoid, and the one with the highest or lowest index."""

import numba
import numpy as np
from numpy.typing import NDArray

from products.lane_code import LANES
from products.pixel.lanes import Floats


@numba.njit(nogil=True, cache=True, error_model="numpy")
def medoid(
    values: Floats, n_bands: int, weight: Floats, highest: int, bands: NDArray[np.int64], totals: Floats, out: Floats
) -> None:
    """The used observation with the least sum of Euclidean distances to all others over some bands, into out (band, lane); the earliest of equals.

    values (k, band, lane), weight (k, lane) 1 or 0; totals (k, lane) is scratch. Flood 2013 (Remote Sens. 5, 6481-6500).
    """
    totals[: highest * LANES] = np.float32(0.0)
    apart = np.empty(LANES, np.float32)
    for k in range(highest):
        for other in range(k):
            _distance(values, n_bands, k, other, bands, apart)
            for lane in range(LANES):
                both = weight[k * LANES + lane] * weight[other * LANES + lane]
                totals[k * LANES + lane] += both * apart[lane]
                totals[other * LANES + lane] += both * apart[lane]
    for lane in range(LANES):
        best, least = -1, np.float32(np.inf)
        for k in range(highest):
            if weight[k * LANES + lane] > 0.0 and totals[k * LANES + lane] < least:
                best, least = k, totals[k * LANES + lane]
        _take(values, n_bands, bands, best, lane, out)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def best_by_index(
    values: Floats, n_bands: int, rows: Floats, n_rows: int, row: int, highest: int, sign: float,
    bands: NDArray[np.int64], out: Floats,
) -> None:  # fmt: skip
    """The bands of the observation with the highest (sign 1) or lowest (sign -1) index of rows (k, row, lane), infinity where missing, into out (band, lane).

    The earliest of equals; NaN where no index is finite. Holben 1986 (Int. J. Remote Sens. 7, 1417-1434) for the maximum of NDVI.
    """
    for lane in range(LANES):
        best, highest_yet = -1, -np.inf
        for k in range(highest):
            value = rows[(k * n_rows + row) * LANES + lane]
            if not np.isinf(value) and sign * value > highest_yet:
                best, highest_yet = k, sign * value
        _take(values, n_bands, bands, best, lane, out)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _distance(values: Floats, n_bands: int, k: int, other: int, bands: NDArray[np.int64], out: Floats) -> None:
    """The Euclidean distance of two observations into out (lane)."""
    out[:] = np.float32(0.0)
    for b in range(bands.size):
        one = values[(k * n_bands + bands[b]) * LANES : (k * n_bands + bands[b] + 1) * LANES]
        two = values[(other * n_bands + bands[b]) * LANES : (other * n_bands + bands[b] + 1) * LANES]
        for lane in range(LANES):
            out[lane] += (one[lane] - two[lane]) * (one[lane] - two[lane])
    for lane in range(LANES):
        out[lane] = np.sqrt(out[lane])


@numba.njit(nogil=True, cache=True)
def _take(values: Floats, n_bands: int, bands: NDArray[np.int64], k: int, lane: int, out: Floats) -> None:
    for b in range(bands.size):
        out[b, lane] = values[(k * n_bands + bands[b]) * LANES + lane] if k >= 0 else np.float32(np.nan)
