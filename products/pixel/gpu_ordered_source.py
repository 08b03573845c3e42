"""The CUDA text of what needs the time of each observation: features after the others, gap-filled series, passes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from products.pixel.gpu_index_source import index_function, literal, number_text
from products.pixel.gpu_source import Kernel, TemporalSource, entry, template, temporal_source
from products.pixel.season import N_METRICS
from products.pixel.series import HARMONIC, WHITTAKER, Filling
from products.pixel.time_ordered import N_OF_FOLD, TimeOrdered

Programs = NDArray[np.float64]
PIXEL = "const Pixel<1> pixel(block, causes, terms, n_bands, n_scenes, n_pixels);"
INSIDE = "if (!pixel.is_inside) return;"  # no thread waits for another in these kernels
SCRATCH = 6  # numbers for each step of a smooth series
FOLD_SCRATCH = 3  # and of a fold


def with_ordered(source: TemporalSource, programs: Programs, asked: TimeOrdered, feature: int) -> TemporalSource:
    """The source with kernels also for what is ordered in time, whose layers begin at a feature; `table` is `ordered_table` of it."""
    bodies = list(_ordered_bodies(programs, asked, feature))
    return _with_kernels(
        source, [template("temporal_ordered"), template("temporal_folded")], "ordered", bodies, scratch_numbers(asked)
    )


def scratch_numbers(asked: TimeOrdered) -> int:
    """The float64 of scratch that a pixel needs."""
    of_seasons = SCRATCH * int(asked.steps[0]) if len(asked.seasons) else 0
    return max(of_seasons, FOLD_SCRATCH * asked.folds.days.shape[1])


def ordered_table(asked: TimeOrdered) -> NDArray[np.float64]:
    """float64 (number,): the basis of the fits (scene, term), then the step of each scene, that of each fold, and the days of all steps of these."""
    steps = (asked.step_of, asked.folds.step_of.ravel())
    return np.concatenate([asked.base.ravel(), *(each.astype(np.float64) for each in steps), asked.folds.days.ravel()])


def series_source(programs: Programs, filling: Filling, n_scenes: int) -> TemporalSource:
    """The kernels for a series of each program and the number of observations of each step; `table` is `series_table`."""
    n, n_programs = filling.middles.size, len(programs)
    middles, at_scenes = "table + n_scenes", f"table + n_scenes + {n}"
    inner = f"Steps{{{n}, {filling.margin}, {n_programs}}}"
    bodies = [f"count_steps(pixel, table, Steps{{{n}, {filling.margin}, 1}}, out, {filling.n_steps * n_programs});"]
    for i, program in enumerate(programs):
        index = index_function(program, 1)
        if filling.method == HARMONIC:
            terms = filling.at_scenes.shape[1]
            at_steps = f"{at_scenes} + (long long)n_scenes * {terms}"
            bodies.append(
                f"modelled<{terms}>(pixel, {at_scenes}, {at_steps}, {inner}, out, {i}, min_observations, {index});"
            )
        else:
            smooths = str(filling.method == WHITTAKER).lower()
            bodies.append(
                f"filled<{smooths}>(pixel, table, {middles}, {inner}, {number_text(filling.smoothness)}, room, out, {i}, "
                f"min_observations, {index});"
            )
    return _alone("filled", bodies, series_scratch(filling), n_scenes)


def series_scratch(filling: Filling) -> int:
    """The float64 of scratch that a pixel needs."""
    return {HARMONIC: 0, WHITTAKER: SCRATCH}.get(filling.method, 2) * filling.middles.size


def series_table(filling: Filling) -> NDArray[np.float64]:
    """float64 (number,): the step of each scene, the middle of each step, and the terms of a model at scenes and steps."""
    parts = [filling.step_of, filling.middles, *(each.ravel() for each in (filling.at_scenes, filling.at_steps))]
    return np.concatenate([np.asarray(part, np.float64) for part in parts])


def pass_source(n_bands: int, n_scenes: int) -> TemporalSource:
    """The kernel for the reflectance of a pass, whatever its mask says."""
    return _alone("observed", [f"observed(pixel, {n_bands}, out);"], 0, n_scenes)


def _alone(name: str, bodies: Sequence[str], room_numbers: int, n_scenes: int) -> TemporalSource:
    nothing = temporal_source(0, False, np.zeros((0, 1, 2)), np.zeros((0, 1), np.float32), n_scenes)
    texts = [template("temporal_ordered"), template("temporal_filled")]
    return _with_kernels(nothing, texts, name, bodies, room_numbers)


def _with_kernels(
    source: TemporalSource, texts: Sequence[str], name: str, bodies: Sequence[str], room_numbers: int
) -> TemporalSource:
    kernels = [Kernel(f"{name}_{number}", 1) for number in range(len(bodies))]
    entries = [
        entry(kernel, f"  {PIXEL}\n  {INSIDE}\n  {body}\n") for kernel, body in zip(kernels, bodies, strict=True)
    ]
    text = "\n".join([source.text, *texts, *entries])
    return replace(source, text=text, kernels=(*source.kernels, *kernels), room_numbers=room_numbers)


def _ordered_bodies(programs: Programs, asked: TimeOrdered, feature: int) -> Iterator[str]:
    """The calls for medoid, best, fits, seasons, frequencies and folds, in the order of their layers."""
    if asked.medoid_bands.size:
        bands = [int(band) for band in asked.medoid_bands]
        read = "".join(f"value[{b}] = pixel.at({band}, t); " for b, band in enumerate(bands))
        found = (
            f"medoid<{len(bands)}>(pixel, min_observations, "
            f"[](const Pixel<1>& pixel, int t, float (&value)[{len(bands)}]) {{ {read}}})"
        )
        yield _take(found, bands, feature)
        feature += len(bands)
    for row, sign, *chosen in asked.best.astype(int):
        bands = [int(band) for band in chosen if band >= 0]
        found = f"best(pixel, {number_text(sign)}, min_observations, {index_function(programs[row], 1)})"
        yield _take(found, bands, feature)
        feature += len(bands)
    columns = asked.base.shape[1]
    for row, order, trend in asked.fits.astype(int):
        shape = f"{order}, {str(bool(trend)).lower()}"
        index = index_function(programs[row], 1)
        yield f"harmonics<{shape}>(pixel, table, {columns}, out, {feature}, min_observations, {index});"
        feature += 2 + 2 * int(order) + int(trend)
    n_steps, step_days = int(asked.steps[0]), number_text(asked.steps[1])
    for (row, smoothness, share, least, prominence), every in zip(asked.seasons, asked.wanted, strict=True):
        wanted = [int(metric) for metric in every if metric >= 0]
        given = f"{n_steps}, {step_days}, {number_text(smoothness)}, {number_text(share)}, {int(least)}, {number_text(prominence)}"
        index = index_function(programs[int(row)], 1)
        with_more = str(max(wanted) >= N_METRICS).lower()
        found = f"season<{with_more}>(pixel, table + (long long)n_scenes * {columns}, {given}, room, min_observations, {index})"
        put = "".join(
            f"pixel.put(out, {feature + m}, made.is_there ? (float)made.found[{metric}] : MISSING); "
            for m, metric in enumerate(wanted)
        )
        yield f"const Season made = {found};\n  {put}"
        feature += len(wanted)
    for row, at_least, below in asked.shares:
        bounds = f"{_bound(at_least)}, {_bound(below)}"
        yield f"frequency(pixel, {bounds}, out, {feature}, min_observations, {index_function(programs[int(row)], 1)});"
        feature += 1
    yield from _fold_bodies(programs, asked, feature)


def _fold_bodies(programs: Programs, asked: TimeOrdered, feature: int) -> Iterator[str]:
    """The calls for trends and changes."""
    columns, (n_folds, widest) = asked.base.shape[1], asked.folds.days.shape
    for i, (row, sign, quantile, least, n_steps, middle) in enumerate(asked.folds.asked):
        step_of = f"table + (long long)n_scenes * {columns + 1 + i}"
        days = f"table + (long long)n_scenes * {columns + 1 + n_folds} + {i * widest}"
        steps = f"FoldedSteps{{{step_of}, {days}, {int(n_steps)}, {number_text(middle)}, {number_text(quantile)}, {int(least)}}}"
        name = "trend(" if sign == 0 else f"change({number_text(sign)}, "
        index = index_function(programs[int(row)], 1)
        yield f"{name}pixel, {steps}, room, out, {feature + i * N_OF_FOLD}, min_observations, {index});"


def _bound(number: float) -> str:
    """A float32 that may be infinite."""
    return literal(number) if np.isfinite(number) else "INFINITE" if number > 0 else "-INFINITE"


def _take(found: str, bands: Sequence[int], feature: int) -> str:
    """The bands of the scene that is found, MISSING where none is."""
    put = "".join(
        f"pixel.put(out, {feature + b}, t < 0 ? MISSING : pixel.at({band}, t)); " for b, band in enumerate(bands)
    )
    return f"const int t = {found};\n  {put}"
