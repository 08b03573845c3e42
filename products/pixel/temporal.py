"""The fused CPU kernel: integers in, temporal statistics out, one pass over strips of neighbouring pixels as vector lanes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from products.pixel.lanes import LANES, geomedian, mean_and_std, pick_quantile, run_program, sort_rows

Floats = NDArray[np.float32]
Counts = NDArray[np.uint16]
ROWS_PER_TASK = 16
MEAN, STD, MIN, MAX = -1.0, -2.0, -3.0, -4.0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _gather(
    block: Counts,
    causes: NDArray[np.uint8],
    gain: Floats,
    bias: Floats,
    y: int,
    x0: int,
    width: int,
    values: Floats,
    n: NDArray[np.int64],
) -> int:
    """Pack the used observations of a strip into values (band, k, lane), k < n[lane], and say the largest n."""
    n[:] = 0
    for t in range(block.shape[1]):
        for lane in range(width):
            if causes[t, y, x0 + lane] == 0:
                k = n[lane]
                for b in range(block.shape[0]):
                    values[b, k, lane] = np.float32(block[b, t, y, x0 + lane]) * gain[t, b] + bias[t, b]
                n[lane] = k + 1
    highest = n.max()
    for lane in range(LANES):
        for k in range(n[lane], highest):
            values[:, k, lane] = 0.0
    return highest


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def _distances(
    values: Floats, highest: int, bands: NDArray[np.int64], centre: Floats, norm: Floats, sums: Floats, rows: Floats
) -> None:
    """Spectral, Euclidean and Bray-Curtis distance of each observation to the centre (band, lane) into rows (3, k, lane); sums (5, lane) is scratch."""
    for k in range(highest):
        sums[:] = np.float32(0.0)
        for b in range(bands.size):
            for lane in range(LANES):
                v, c = values[bands[b], k, lane], centre[b, lane]
                sums[0, lane] += v * c
                sums[1, lane] += v * v
                sums[2, lane] += (v - c) * (v - c)
                sums[3, lane] += abs(v - c)
                sums[4, lane] += abs(v + c)
        for lane in range(LANES):
            rows[0, k, lane] = np.float32(1.0) - sums[0, lane] / np.sqrt(sums[1, lane] * norm[lane])
            rows[1, k, lane] = np.sqrt(sums[2, lane])
            rows[2, k, lane] = sums[3, lane] / sums[4, lane]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _deviations(
    values: Floats, n: NDArray[np.int64], highest: int, bands: NDArray[np.int64], centre: Floats, rows: Floats, out: Floats
) -> None:  # fmt: skip
    """Median of each of three distances to the centre (band, lane) into out (3, lane); undefined distances are missing; rows (3, k, lane) is scratch."""
    norm = np.zeros(LANES, np.float32)
    sums = np.empty((5, LANES), np.float32)
    found = np.empty(LANES, np.int64)
    for b in range(bands.size):
        for lane in range(LANES):
            norm[lane] += centre[b, lane] * centre[b, lane]
    _distances(values, highest, bands, centre, norm, sums, rows)
    for measure in range(3):
        _drop_missing(rows[measure], n, highest, found)
        sort_rows(rows[measure], highest)
        pick_quantile(rows[measure], found, np.float32(0.5), out[measure])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _drop_missing(rows: Floats, n: NDArray[np.int64], highest: int, found: NDArray[np.int64]) -> None:
    """Put infinity where rows (k, lane) has no finite value of the first n[lane], and count the others into found (lane)."""
    found[:] = 0
    for k in range(highest):
        for lane in range(LANES):
            good = k < n[lane] and np.isfinite(rows[k, lane])
            found[lane] += good
            if not good:
                rows[k, lane] = np.inf


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _reduce_index(rows: Floats, n: NDArray[np.int64], highest: int, reducers: Floats, out: Floats) -> None:
    """Reduce rows (k, lane) of one index into out (reducer, lane); values that are not finite are missing."""
    found = np.empty(LANES, np.int64)
    _drop_missing(rows, n, highest, found)
    sort_rows(rows, highest)
    for r in range(reducers.size):
        if reducers[r] >= 0:
            pick_quantile(rows, found, reducers[r], out[r])
        elif reducers[r] == MIN:
            pick_quantile(rows, found, np.float32(0.0), out[r])
        elif reducers[r] == MAX:
            pick_quantile(rows, found, np.float32(1.0), out[r])
        else:
            mean_and_std(rows, found, reducers[r] == STD, out[r])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _rows_of_features(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats,
    geomedian_bands: NDArray[np.int64], with_mads: bool,
    programs: NDArray[np.float64], reducers: Floats,
    min_observations: int, out: Floats, first_row: int, last_row: int,
) -> None:  # fmt: skip
    """Rows first_row to last_row of out (feature, y, x): geomedian, MADs, then each index by its reducers (NaN-padded)."""
    n_bands, n_times, _, full_width = block.shape
    values = np.zeros((n_bands, max(n_times, 1), LANES), np.float32)
    rows = np.zeros((3, max(n_times, 1), LANES), np.float32)
    centre = np.zeros((max(geomedian_bands.size, 1), LANES), np.float32)
    reduced = np.zeros((max(reducers.shape[1], 3), LANES), np.float32)
    n = np.zeros(LANES, np.int64)
    for y in range(first_row, last_row):
        for x0 in range(0, full_width, LANES):
            width = min(LANES, full_width - x0)
            highest = _gather(block, causes, gain, bias, y, x0, width, values, n)
            f = 0
            if geomedian_bands.size:
                geomedian(values, n, highest, geomedian_bands, centre)
                for b in range(geomedian_bands.size):
                    for lane in range(width):
                        out[f, y, x0 + lane] = centre[b, lane] if n[lane] >= min_observations else np.nan
                    f += 1
            if with_mads:
                _deviations(values, n, highest, geomedian_bands, centre, rows, reduced)
                for m in range(3):
                    for lane in range(width):
                        out[f, y, x0 + lane] = reduced[m, lane] if n[lane] >= min_observations else np.nan
                    f += 1
            for i in range(programs.shape[0]):
                run_program(programs[i], values, highest, rows[0])
                used = 0
                while used < reducers.shape[1] and not np.isnan(reducers[i, used]):
                    used += 1
                _reduce_index(rows[0], n, highest, reducers[i, :used], reduced)
                for r in range(used):
                    for lane in range(width):
                        out[f, y, x0 + lane] = reduced[r, lane] if n[lane] >= min_observations else np.nan
                    f += 1


def in_row_tasks(run_rows: Callable[[int, int], Any], n_rows: int, threads: int) -> None:
    """Call `run_rows(first, last)` over all rows from `threads` threads; the first error is raised."""
    starts = range(0, n_rows, ROWS_PER_TASK)
    if threads <= 1:
        for start in starts:
            run_rows(start, min(start + ROWS_PER_TASK, n_rows))
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(run_rows, start, min(start + ROWS_PER_TASK, n_rows)) for start in starts]:
            done.result()


def temporal_features(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats,
    geomedian_bands: NDArray[np.int64], with_mads: bool,
    programs: NDArray[np.float64], reducers: Floats, min_observations: int, threads: int,
) -> Floats:  # fmt: skip
    """float32 (feature, y, x) from block (band, scene, y, x) uint16 and causes (scene, y, x), 0 = used; reflectance = DN * gain + bias, (scene, band).

    `programs` (index, step, 2) and `reducers` (index, r), NaN-padded, as `products.features` writes them. NaN where fewer than
    `min_observations` are used. The result of a pixel depends on that pixel alone.
    """
    n_features = geomedian_bands.size + 3 * with_mads + int(np.count_nonzero(~np.isnan(reducers)))
    out = np.empty((n_features, *block.shape[2:]), np.float32)

    def run_rows(first: int, last: int) -> None:
        _rows_of_features(
            block,
            causes,
            gain,
            bias,
            geomedian_bands,
            with_mads,
            programs,
            reducers,
            min_observations,
            out,
            first,
            last,
        )

    in_row_tasks(run_rows, block.shape[2], threads)
    return out
