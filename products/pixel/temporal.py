"""The fused CPU kernel: integers in, temporal statistics out, one pass over strips of neighbouring pixels as vector lanes."""

import numba
import numpy as np
from numpy.typing import NDArray

from products.kept_memory import kept_empty
from products.lane_code import LANES
from products.pixel.geomedian import geomedian, state_rows
from products.pixel.lane_vectors import fetch_ahead, scale_lanes
from products.pixel.lanes import (
    MAX_STACK,
    Bands,
    distances,
    mean_and_std,
    pick_quantile,
    quantile_places,
    run_program,
    skewness_or_kurtosis,
    sort_rows,
)
from products.pixel.rows import in_row_tasks
from products.pixel.time_ordered import OrderedScratch, TimeOrdered, ordered_scratch, ordered_strip

Floats = NDArray[np.float32]
Counts = NDArray[np.uint16]
Places = tuple[NDArray[np.int32], Floats]  # (quantile, number of numbers)
Scratch = tuple[Floats, Floats, Floats, NDArray[np.int32], Floats, NDArray[np.bool_]]
STRIPS = 8  # side by side
FIXED = (0.5, 0.0, 1.0, 0.25, 0.75)  # quantiles that more than one reducer takes
MEDIAN, LEAST, MOST, LOWER, UPPER = range(len(FIXED))
MEAN, STD, MIN, MAX, COUNT, RANGE, IQR, SKEWNESS, KURTOSIS = -1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -9.0


@numba.njit(nogil=True, cache=True)
def _scale(numbers: Counts, used: Floats, gain: np.float32, bias: np.float32, values: Floats) -> None:
    for lane in range(numbers.size):
        value = np.float32(numbers[lane]) * gain + bias
        values[lane] = value if used[lane] > np.float32(0.0) else np.float32(0.0)


@numba.njit(nogil=True, cache=True)
def _weigh(cause: NDArray[np.uint8], weight: Floats) -> bool:
    """The weight (lane) of the pixels of a strip by their causes: 1 where it is used, else 0, also beyond them; whether any is."""
    weight[:] = np.float32(0.0)
    n_used = 0
    for lane in range(cause.size):
        weight[lane] = np.float32(1.0) if cause[lane] == 0 else np.float32(0.0)
        n_used += 1 if cause[lane] == 0 else 0
    return n_used > 0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _gather(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats, layers: NDArray[np.int64],
    y: int, x0: int, width: int, values: Floats, weight: Floats, highest: NDArray[np.int64], scene_of: NDArray[np.int64],
) -> None:  # fmt: skip
    """The observations with a used pixel in each strip of a group into values (strip, k, band, lane); layers (band) of the block.

    weight (strip, k, lane) is 1 or 0; highest (strip) is their number, scene_of (strip, k) the scene of each. A group, because memory is fastest read in runs.
    """
    highest[:] = 0
    is_taken = np.zeros(STRIPS, np.bool_)
    ahead = x0 + STRIPS * LANES  # the next group, or the next row
    for t in range(block.shape[1]):
        causes_of_row = causes[t, y]
        for x in range(0, STRIPS * LANES, 64):
            fetch_ahead(causes_of_row, ahead + x)
        for strip in range(-(-width // LANES)):
            cause = causes_of_row[x0 + strip * LANES : x0 + min((strip + 1) * LANES, width)]
            is_taken[strip] = _weigh(cause, weight[strip, highest[strip] * LANES : (highest[strip] + 1) * LANES])
            if is_taken[strip]:
                scene_of[strip, highest[strip]] = t
                highest[strip] += 1
        for b in range(layers.size):
            row, g, c = block[layers[b], t, y], gain[t, b], bias[t, b]
            for strip in range(-(-width // LANES)):
                fetch_ahead(row, ahead + strip * LANES)
                if is_taken[strip]:
                    k = highest[strip] - 1
                    at, first = x0 + strip * LANES, (k * layers.size + b) * LANES
                    if (strip + 1) * LANES <= width:
                        scale_lanes(row, at, weight[strip], k * LANES, g, c, values[strip], first)
                    else:
                        used = weight[strip, k * LANES : (k + 1) * LANES]
                        _scale(row[at : x0 + width], used, g, c, values[strip, first : first + LANES])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _put(layer: Floats, enough: NDArray[np.bool_], out: Floats) -> None:
    for lane in range(out.size):
        out[lane] = layer[lane] if enough[lane] else np.float32(np.nan)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _places(reducers: Floats, highest: int) -> Places:
    """Where the quantiles lie among up to `highest` numbers: those of FIXED, then that of each of the reducers (index, r), where it is one."""
    wanted = np.concatenate((np.array(FIXED, np.float32), reducers.ravel()))
    below = np.zeros((wanted.size, highest + 1), np.int32)
    share = np.zeros((wanted.size, highest + 1), np.float32)
    for i in range(wanted.size):
        if wanted[i] >= 0:
            quantile_places(wanted[i], below[i], share[i])
    return below, share


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _reduce(
    rows: Floats, n_rows: int, row: int, found: NDArray[np.int32], reducer: np.float32, places: Places, own: int, out: Floats
) -> None:  # fmt: skip
    """One of the sorted rows (k, row, lane) into out (lane) by a quantile, whose places have a number of their own, or the code of a statistic."""
    below, share = places
    if reducer >= 0:
        pick_quantile(rows, n_rows, row, found, below[own], share[own], out)
    elif reducer == MIN:
        pick_quantile(rows, n_rows, row, found, below[LEAST], share[LEAST], out)
    elif reducer == MAX:
        pick_quantile(rows, n_rows, row, found, below[MOST], share[MOST], out)
    elif reducer == COUNT:
        for lane in range(LANES):
            out[lane] = np.float32(found[row * LANES + lane])
    elif reducer in (RANGE, IQR):
        low, high = (LEAST, MOST) if reducer == RANGE else (LOWER, UPPER)
        lower = np.empty(LANES, np.float32)
        pick_quantile(rows, n_rows, row, found, below[low], share[low], lower)
        pick_quantile(rows, n_rows, row, found, below[high], share[high], out)
        for lane in range(LANES):
            out[lane] -= lower[lane]
    elif reducer == SKEWNESS:
        skewness_or_kurtosis(rows, n_rows, row, found, False, out)
    elif reducer == KURTOSIS:
        skewness_or_kurtosis(rows, n_rows, row, found, True, out)
    else:
        mean_and_std(rows, n_rows, row, found, reducer == STD, out)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _strip_of_features(
    values: Floats, n_bands: int, weight: Floats, highest: int, bands: Bands, n_mads: int,
    programs: NDArray[np.float64], reducers: Floats, places: Places, min_observations: int, scratch: Scratch, ordered: TimeOrdered | None,
    room: OrderedScratch | None, scene_of: NDArray[np.int64], out: Floats,
) -> None:  # fmt: skip
    """The features of one strip into out (feature, lane); those that need the time of each observation last."""
    rows, stack, state, found, picked, enough = scratch
    n_rows = n_mads + programs.shape[0]
    for lane in range(LANES):
        n = np.float32(0.0)
        for k in range(highest):
            n += weight[k * LANES + lane]
        enough[lane] = n >= min_observations
    if len(bands):
        geomedian(values, n_bands, weight, highest, bands, state)
        for b in range(len(bands)):
            _put(state[b * LANES : (b + 1) * LANES], enough, out[b])
    found[:] = 0
    if n_mads:
        distances(values, n_bands, weight, highest, bands, state, stack, rows, n_rows, found)
    for i in range(programs.shape[0]):
        run_program(programs[i], values, n_bands, weight, highest, stack, rows, n_rows, n_mads + i, found)
    if ordered is not None:  # compiled only where it is asked for
        n_before = len(bands) + n_mads + np.count_nonzero(~np.isnan(reducers))
        ordered_strip(
            values, n_bands, weight, highest, rows, n_rows, n_mads, ordered, room, scene_of, enough, out[n_before:]
        )
    sort_rows(rows, n_rows * LANES, highest)
    f = len(bands)
    for m in range(n_mads):
        pick_quantile(rows, n_rows, m, found, places[0][MEDIAN], places[1][MEDIAN], picked)
        _put(picked, enough, out[f])
        f += 1
    for i in range(programs.shape[0]):
        for r in range(reducers.shape[1]):
            if not np.isnan(reducers[i, r]):
                own = len(FIXED) + i * reducers.shape[1] + r
                _reduce(rows, n_rows, n_mads + i, found, reducers[i, r], places, own, picked)
                _put(picked, enough, out[f])
                f += 1


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _rows_of_features(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats, layers: NDArray[np.int64],
    bands: Bands, with_mads: bool, programs: NDArray[np.float64], reducers: Floats,
    min_observations: int, ordered: TimeOrdered | None, out: Floats, first_row: int, last_row: int,
) -> None:  # fmt: skip
    """Rows first_row to last_row of out (feature, y, x): geomedian, MADs, each index by its reducers (NaN-padded), then what needs the order of time."""
    n_bands, n_times, full_width = layers.size, max(block.shape[1], 1), block.shape[3]
    n_mads = 3 if with_mads else 0
    n_rows = n_mads + programs.shape[0]
    values = np.zeros((STRIPS, n_times * n_bands * LANES), np.float32)
    weight = np.zeros((STRIPS, n_times * LANES), np.float32)
    highest = np.zeros(STRIPS, np.int64)
    scene_of = np.zeros((STRIPS, n_times), np.int64)
    places = _places(reducers, n_times)
    room = ordered_scratch(ordered, n_times) if ordered is not None else None
    scratch = (
        np.zeros(n_times * n_rows * LANES, np.float32),
        np.zeros(MAX_STACK * n_times * LANES, np.float32),
        np.zeros(state_rows(bands) * LANES, np.float32),
        np.zeros(n_rows * LANES, np.int32),
        np.zeros(LANES, np.float32),
        np.zeros(LANES, np.bool_),
    )
    for y in range(first_row, last_row):
        for x0 in range(0, full_width, STRIPS * LANES):
            width = min(STRIPS * LANES, full_width - x0)
            _gather(block, causes, gain, bias, layers, y, x0, width, values, weight, highest, scene_of)
            for strip in range(-(-width // LANES)):
                _strip_of_features(
                    values[strip], n_bands, weight[strip], highest[strip], bands, n_mads, programs, reducers,
                    places, min_observations, scratch, ordered, room, scene_of[strip],
                    out[:, y, x0 + strip * LANES : x0 + min((strip + 1) * LANES, width)],
                )  # fmt: skip


def temporal_features(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats,
    geomedian_bands: NDArray[np.int64], with_mads: bool,
    programs: NDArray[np.float64], reducers: Floats, min_observations: int, threads: int,
    layers: NDArray[np.int64] | None = None, ordered: TimeOrdered | None = None, out: Floats | None = None,
) -> Floats:  # fmt: skip
    """float32 (feature, y, x) from block (layer, scene, y, x) uint16 and causes (scene, y, x), 0 = used; reflectance = DN * gain + bias, (scene, band).

    Written into `out` where that is given.
    `layers` (band) says where in the block each band lies: one layer may serve several bands, with other gains; by default band and layer are the same.
    `programs` (index, step, 2), `reducers` (index, r), NaN-padded, and `ordered` as `products.feature_program` writes them. NaN where fewer than
    `min_observations` are used. The result of a pixel depends on that pixel alone.
    """
    n_ordered = ordered.n_features if ordered is not None else 0
    n_features = geomedian_bands.size + 3 * with_mads + int(np.count_nonzero(~np.isnan(reducers))) + n_ordered
    made: Floats = kept_empty((n_features, *block.shape[2:]), np.float32) if out is None else out
    if made.shape != (n_features, *block.shape[2:]) or made.dtype != np.float32:
        raise ValueError(f"expected room for float32 {(n_features, *block.shape[2:])}, got {made.dtype} {made.shape}")
    at = np.arange(block.shape[0]) if layers is None else layers
    order = np.concatenate([geomedian_bands, np.setdiff1d(np.arange(at.size), geomedian_bands)]).astype(np.int64)
    bands = (0,) * geomedian_bands.size
    moved = moved_operands(programs, order)
    asked = ordered.with_bands(order) if ordered is not None else None
    gain, bias = np.ascontiguousarray(gain[:, order]), np.ascontiguousarray(bias[:, order])

    def run_rows(first: int, last: int) -> None:
        _rows_of_features(
            block, causes, gain, bias, at[order], bands, with_mads, moved, reducers, min_observations, asked, made, first, last
        )  # fmt: skip

    in_row_tasks(run_rows, block.shape[2], threads)
    return made


def moved_operands(programs: NDArray[np.float64], order: NDArray[np.int64]) -> NDArray[np.float64]:
    """The programs with bands counted in the given order."""
    moved = programs.copy()
    place = {int(band): i for i, band in enumerate(order)}
    is_band = programs[..., 0] == 0
    moved[..., 1][is_band] = [place[int(band)] for band in programs[..., 1][is_band]]
    return moved
