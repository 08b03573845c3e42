"""A regular series of each pixel from irregular clear observations, gaps filled: strips of neighbouring pixels, one layer after the other."""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from products.lane_code import LANES
from products.pixel.harmonic import solve
from products.pixel.lanes import MAX_STACK, Floats, run_program
from products.pixel.rows import in_row_tasks
from products.pixel.season import smooth

Counts = NDArray[np.uint16]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
LINEAR, WHITTAKER, HARMONIC = 0, 1, 2


class Filling(NamedTuple):
    """How gaps are filled: step_of (scene); middles (step) in days; of a model its terms at_scenes (scene, term) and at_steps (step, term).

    The first and last `margin` steps fill gaps and are no part of the series.
    """

    method: int
    smoothness: float
    step_of: Integers
    middles: Doubles
    at_scenes: Doubles
    at_steps: Doubles
    margin: int = 0

    @property
    def n_steps(self) -> int:
        """The steps of the series."""
        return self.middles.size - 2 * self.margin


def series_layers(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats, programs: Doubles, filling: Filling,
    min_observations: int, threads: int,
) -> Floats:  # fmt: skip
    """float32 (step x program, then step, y, x): the series of each program, step by step, and how many observations each step has.

    From block (band, scene, y, x) and causes (scene, y, x), 0 = used; reflectance = DN * gain + bias, (scene, band). NaN where fewer than
    `min_observations` are used in all steps together. The result of a pixel depends on that pixel alone.
    """
    n_steps, n_programs = filling.n_steps, programs.shape[0]
    out = np.empty((n_steps * (n_programs + 1), *block.shape[2:]), np.float32)

    def run_rows(first: int, last: int) -> None:
        _rows_of_series(block, causes, gain, bias, programs, filling, min_observations, out, first, last)

    in_row_tasks(run_rows, block.shape[2], threads)
    return out


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _rows_of_series(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats, programs: Doubles, filling: Filling,
    min_observations: int, out: Floats, first_row: int, last_row: int,
) -> None:  # fmt: skip
    n_bands, n_scenes, width = block.shape[0], max(block.shape[1], 1), block.shape[3]
    n_programs, n_steps = programs.shape[0], filling.middles.size
    values = np.zeros(n_scenes * n_bands * LANES, np.float32)
    weight = np.zeros(n_scenes * LANES, np.float32)
    rows = np.zeros(n_scenes * n_programs * LANES, np.float32)
    stack = np.zeros(MAX_STACK * n_scenes * LANES, np.float32)
    found = np.zeros(n_programs * LANES, np.int32)
    scene_of = np.zeros(n_scenes, np.int64)
    n_terms = filling.at_scenes.shape[1]
    room, normal, solution = np.zeros((6, n_steps)), np.zeros((n_terms, n_terms)), np.zeros(n_terms)
    n_of, margin = np.zeros(n_steps), filling.margin
    n_out = n_steps - 2 * margin
    for y in range(first_row, last_row):
        for x0 in range(0, width, LANES):
            end = min(x0 + LANES, width)
            highest = _gather(block[:, :, y, x0:end], causes[:, y, x0:end], gain, bias, values, weight, scene_of)
            for i in range(n_programs):
                run_program(programs[i], values, n_bands, weight, highest, stack, rows, n_programs, i, found)
            for lane in range(end - x0):
                total = _count(weight, lane, highest, scene_of, filling.step_of, n_of)
                for step in range(n_out):
                    out[n_out * n_programs + step, y, x0 + lane] = np.float32(n_of[margin + step])
                for i in range(n_programs):
                    _fill(rows, n_programs, i, lane, highest, scene_of, filling, room, normal, solution)
                    for step in range(n_out):
                        value = room[5, margin + step] if total >= min_observations else np.nan
                        out[step * n_programs + i, y, x0 + lane] = np.float32(value)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _gather(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats, values: Floats, weight: Floats, scene_of: Integers
) -> int:  # fmt: skip
    """Those scenes of block (band, scene, lane) with a used pixel into values (k, band, lane), weight (k, lane), 1 or 0, and scene_of (k); their number."""
    n_bands, k = block.shape[0], 0
    for s in range(causes.shape[0]):
        if not (causes[s] == 0).any():
            continue
        weight[k * LANES : (k + 1) * LANES] = np.float32(0.0)
        for lane in range(causes.shape[1]):
            is_used = causes[s, lane] == 0
            weight[k * LANES + lane] = np.float32(is_used)
            for b in range(n_bands):
                value = np.float32(block[b, s, lane]) * gain[s, b] + bias[s, b]
                values[(k * n_bands + b) * LANES + lane] = value if is_used else np.float32(0.0)
        scene_of[k] = s
        k += 1
    return k


@numba.njit(nogil=True, cache=True)
def _count(weight: Floats, lane: int, highest: int, scene_of: Integers, step_of: Integers, n_of: Doubles) -> int:
    """How many observations of a lane each step has, into n_of (step); the sum."""
    n_of[:] = 0.0
    total = 0
    for k in range(highest):
        if weight[k * LANES + lane] > 0:
            n_of[step_of[scene_of[k]]] += 1.0
            total += 1
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill(
    rows: Floats, n_rows: int, row: int, lane: int, highest: int, scene_of: Integers, filling: Filling,
    room: Doubles, normal: Doubles, solution: Doubles,
) -> None:  # fmt: skip
    """One series of one of rows (k, row, lane), infinity where missing, into the last row of room (6, step)."""
    values, weights, series = room[0], room[1], room[5]
    values[:] = 0.0
    weights[:] = 0.0
    for k in range(highest):
        value = np.float64(rows[(k * n_rows + row) * LANES + lane])
        if not np.isinf(value):
            values[filling.step_of[scene_of[k]]] += value
            weights[filling.step_of[scene_of[k]]] += 1.0
    seen = 0
    for step in range(values.size):
        if weights[step] > 0.0:
            values[step] /= weights[step]
            weights[step] = 1.0
            seen += 1
    if filling.method == HARMONIC:
        _model(rows, n_rows, row, lane, highest, scene_of, filling, normal, solution, series)
    elif filling.method == WHITTAKER and seen > 1:
        smooth(values, weights, filling.smoothness, values.size, room[2:5], series)
    else:
        interpolate(values, weights, filling.middles, series)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def interpolate(values: Doubles, weights: Doubles, middles: Doubles, out: Doubles) -> None:
    """Values (step) where weights are above 0, straight lines between, the first and last value before and after; NaN where there is none."""
    out[:] = np.nan
    before = -1
    for i in range(values.size):
        if weights[i] <= 0.0:
            continue
        out[i] = values[i]
        for j in range(before + 1, i):
            if before < 0:
                out[j] = values[i]
            else:
                share = (middles[j] - middles[before]) / (middles[i] - middles[before])
                out[j] = values[before] + share * (values[i] - values[before])
        before = i
    if before >= 0:
        for j in range(before + 1, values.size):
            out[j] = values[before]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _model(
    rows: Floats, n_rows: int, row: int, lane: int, highest: int, scene_of: Integers, filling: Filling,
    normal: Doubles, solution: Doubles, out: Doubles,
) -> None:  # fmt: skip
    """The least squares fit of the terms at each step; NaN where there are not more observations than terms, or the dates cannot tell them apart."""
    n = solution.size
    normal[:] = 0.0
    solution[:] = 0.0
    seen = 0
    for k in range(highest):
        value = np.float64(rows[(k * n_rows + row) * LANES + lane])
        if np.isinf(value):
            continue
        seen += 1
        terms = filling.at_scenes[scene_of[k]]
        for i in range(n):
            solution[i] += terms[i] * value
            for j in range(i + 1):
                normal[i, j] += terms[i] * terms[j]
    is_solved = seen > n and solve(normal, solution, n)
    for step in range(out.size):
        total = 0.0
        for i in range(n):
            total += solution[i] * filling.at_steps[step, i]
        out[step] = total if is_solved else np.nan
