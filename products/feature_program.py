"""A recipe's features as the arrays that the kernels take: operands, programs, reducers, and what needs the order of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from products.course_spec import ChangeStep, FoldedStep, FrequencyStep, HarmonicsStep, SeasonStep, TrendStep
from products.feature_spec import (
    BandStep,
    BestStep,
    GeomedianStep,
    IndexStep,
    MadsStep,
    MedoidStep,
    TasselledCapStep,
)
from products.feature_step import Limit, OneIndexStep, Step, WholeStep, quantile_of
from products.formula import Formula
from products.mixture import MixtureStep
from products.period import Calendar, Period
from products.pixel.harmonic import basis
from products.pixel.season import ALL_METRICS
from products.pixel.temporal import COUNT, IQR, KURTOSIS, MAX, MEAN, MIN, RANGE, SKEWNESS, STD
from products.pixel.time_ordered import Folds, TimeOrdered
from products.spec import FeaturesRecipe
from products.time_steps import days_since

_REDUCER_CODES = {
    "mean": MEAN, "std": STD, "min": MIN, "max": MAX, "count": COUNT, "range": RANGE, "iqr": IQR, "skewness": SKEWNESS, "kurtosis": KURTOSIS,
}  # fmt: skip
Operand = tuple[str, Limit]  # a band, and the collections and the tide it is limited to; all if empty
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FeatureProgram:
    """What the temporal kernel is asked for; `names` are its layers in the order in which it makes them."""

    operands: tuple[Operand, ...]
    geomedian_bands: Integers
    with_mads: bool
    programs: NDArray[np.float64]
    reducers: NDArray[np.float32]
    ordered: TimeOrdered | None
    names: tuple[str, ...]


def composite_limits(recipe: FeaturesRecipe) -> tuple[Limit, ...]:
    """The limits of its composites of whole observations that do not use all scenes: each has a program of its own, over those scenes alone."""
    return tuple(dict.fromkeys(step.limit() for step in recipe.steps if isinstance(step, WholeStep) if step.limit()))


def feature_program(
    recipe: FeaturesRecipe, times: Sequence[datetime], period: Period, limit: Limit = ()
) -> FeatureProgram:
    """The program of a recipe for scenes sensed at some times in a period; with a limit, of the composites that have it."""
    steps = [step for step in recipe.steps if (step.limit() == limit if isinstance(step, WholeStep) else not limit)]
    operands = tuple(dict.fromkeys((band, () if limit else step.limit()) for step in steps for band in step.bands()))
    place = {operand: number for number, operand in enumerate(operands)}
    evaluated = _evaluated(steps)
    geomedian = next((step for step in steps if isinstance(step, GeomedianStep)), None)
    mads = next((step for step in steps if isinstance(step, MadsStep)), None)
    reduce = [() if isinstance(step, OneIndexStep) else step.reduce for step, _, _ in evaluated]
    names = [*(geomedian.names() if geomedian else ()), *(mads.names() if mads else ())]
    names += [
        f"{name}_{reducer}" for (_, name, _), reducers in zip(evaluated, reduce, strict=True) for reducer in reducers
    ]
    ordered = [step for kind in TIME_ORDERED for step in steps if isinstance(step, kind)]
    return FeatureProgram(
        operands,
        np.array([place[band, ()] for band in geomedian.bands()] if geomedian else [], np.int64),
        mads is not None,
        programs([(formula, step.limit()) for step, _, formula in evaluated], place),
        reducers(reduce),
        _time_ordered(ordered, evaluated, place, times, period, recipe.period.calendar) if ordered else None,
        (*names, *(name for step in ordered for name in step.names())),
    )


TIME_ORDERED: tuple[type[Step], ...] = (
    MedoidStep,
    BestStep,
    HarmonicsStep,
    SeasonStep,
    FrequencyStep,
    TrendStep,
    ChangeStep,
)
_Reduced = IndexStep | BandStep | TasselledCapStep | MixtureStep
_Evaluated = tuple[_Reduced | OneIndexStep, str, Formula]


def _evaluated(steps: Sequence[Step]) -> list[_Evaluated]:
    """(step, name, formula) of each index to evaluate: those that are reduced, then those that no other step evaluates for the same sources."""
    found: list[_Evaluated] = [
        (step, *pair) for step in steps if isinstance(step, _Reduced) for pair in step.formulas()
    ]
    for step in steps:
        if isinstance(step, OneIndexStep) and not _rows_of(step, found):
            found.append((step, *step.formulas()[0]))
    return found


def _rows_of(step: OneIndexStep, evaluated: Sequence[_Evaluated]) -> list[int]:
    wanted = (step.formulas()[0][1].text, step.limit())
    return [row for row, (by, _, formula) in enumerate(evaluated) if (formula.text, by.limit()) == wanted]


def _time_ordered(
    ordered: Sequence[Step],
    evaluated: Sequence[_Evaluated],
    place: Mapping[Operand, int],
    times: Sequence[datetime],
    period: Period,
    calendar: Calendar,
) -> TimeOrdered:
    medoid = next((step for step in ordered if isinstance(step, MedoidStep)), None)
    best = [step for step in ordered if isinstance(step, BestStep)]
    fits = [step for step in ordered if isinstance(step, HarmonicsStep)]
    seasons = [step for step in ordered if isinstance(step, SeasonStep)]
    frequencies = [step for step in ordered if isinstance(step, FrequencyStep)]
    row = {id(step): _rows_of(step, evaluated)[0] for step in ordered if isinstance(step, OneIndexStep)}
    picked = np.full((len(best), 2 + max((len(step.bands_asked) for step in best), default=0)), -1, np.int64)
    for i, step in enumerate(best):
        bands = [place[band, step.limit()] for band in step.bands_asked]
        picked[i, : 2 + len(bands)] = [row[id(step)], 1 if step.take == "max" else -1, *bands]
    new_year = datetime(period.start.year, 1, 1, tzinfo=UTC)
    middle = period.start + (period.end - period.start) / 2
    step_days = seasons[0].step_days if seasons else 1
    since = [(time - period.start).total_seconds() / 86400 for time in times]
    n_steps = int(np.ceil((period.end - period.start).total_seconds() / 86400 / step_days)) if seasons else 1
    return TimeOrdered(
        np.array([place[band, ()] for band in medoid.bands()] if medoid else [], np.int64),
        picked,
        np.array([(row[id(step)], step.order, step.trend) for step in fits], np.int64).reshape(-1, 3),
        basis(times, new_year, middle, max((step.order for step in fits), default=0)),
        np.array(
            [(row[id(s)], s.smoothness, s.threshold, s.min_steps, s.min_prominence) for s in seasons], float
        ).reshape(-1, 5),
        _wanted(seasons),
        np.clip(np.array(since) // step_days, 0, n_steps - 1).astype(np.int64),
        np.array([n_steps, step_days], float),
        np.array([(row[id(step)], *step.bounds) for step in frequencies], float).reshape(-1, 3),
        _folds([(step, row[id(step)]) for step in ordered if isinstance(step, FoldedStep)], times, period, calendar),
    )


def _wanted(seasons: Sequence[SeasonStep]) -> Integers:
    """int64 (season, metric): the metrics of each by their numbers, padded with -1."""
    wanted = np.full((len(seasons), max((len(step.metrics) for step in seasons), default=0)), -1, np.int64)
    for i, step in enumerate(seasons):
        wanted[i, : len(step.metrics)] = [ALL_METRICS.index(metric) for metric in step.metrics]
    return wanted


def _folds(
    asked: Sequence[tuple[FoldedStep, int]], times: Sequence[datetime], period: Period, calendar: Calendar
) -> Folds:
    """What is asked of the steps of a period, each with the number of its program."""
    sensed = np.array(days_since(period.start, tuple(times)))
    edges = [np.array(days_since(period.start, step.steps(calendar).edges(period))) for step, _ in asked]
    days = np.full((len(asked), max((each.size - 1 for each in edges), default=0)), np.nan)
    step_of = np.zeros((len(asked), len(times)), np.int64)
    table = np.zeros((len(asked), 6))
    for i, ((step, row), each) in enumerate(zip(asked, edges, strict=True)):
        days[i, : each.size - 1] = (each[:-1] + each[1:]) / 2
        step_of[i] = np.clip(np.searchsorted(each, sensed, side="right") - 1, 0, each.size - 2)
        sign = {"fall": -1, "rise": 1}[step.direction] if isinstance(step, ChangeStep) else 0
        table[i] = row, sign, step.quantile, step.min_steps, each.size - 1, each[-1] / 2
    return Folds(table, step_of, days)


def programs(formulas: Sequence[tuple[Formula, Limit]], place: Mapping[Operand, int]) -> NDArray[np.float64]:
    """float64 (index, step, 2): operation and operand, padded with operation -1; bands, limited to some scenes, by their place."""
    longest = max((len(formula.operations) for formula, _ in formulas), default=0) + 1
    table = np.full((len(formulas), longest, 2), -1.0)
    for i, (formula, limit) in enumerate(formulas):
        for step, (operation, operand) in enumerate(formula.operations):
            table[i, step] = operation, place[formula.bands[int(operand)], limit] if operation == 0 else operand
    return table


def reducers(reduce: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """float32 (index, reducer): a quantile, or a negative code for mean, std, min, max and count, padded with NaN."""
    table = np.full((len(reduce), max((len(names) for names in reduce), default=1) or 1), np.nan, np.float32)
    for i, names in enumerate(reduce):
        for r, name in enumerate(names):
            quantile = quantile_of(name)
            table[i, r] = _REDUCER_CODES[name] if quantile is None else quantile
    return table
