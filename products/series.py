"""Observations and a series recipe become a series: composes the kernels."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from products.devices import Device
from products.feature_program import Operand, programs
from products.features import Observations
from products.period import Period
from products.pixel.gpu_series import series_layers_gpu
from products.pixel.gpu_strips import Say
from products.pixel.harmonic import basis
from products.pixel.precision import round_mantissa
from products.pixel.series import HARMONIC, LINEAR, WHITTAKER, Filling, series_layers
from products.series_spec import HarmonicFill, SeriesRecipe, WhittakerFill
from products.time_steps import days_since

Floats = NDArray[np.float32]


def compute_series(
    recipe: SeriesRecipe,
    seen: Observations,
    period: Period,
    threads: int,
    device: Device = "cpu",
    say: Say | None = None,
) -> Floats:
    """float32 (layer, y, x): at each step the names of the recipe, then the number of observations of each step."""
    place: dict[Operand, int] = {(band, ()): number for number, band in enumerate(seen.bands)}
    table = programs([(formula, ()) for _, formula in recipe.formulas()], place)
    asked = filling(recipe, [scene.acquired for scene in seen.scenes], period)
    given = (seen.block, seen.causes, seen.gain, seen.bias, table, asked, recipe.min_observations)
    layers = series_layers_gpu(*given, say=say, threads=threads) if device == "gpu" else series_layers(*given, threads)
    if recipe.precision_bits is not None:
        round_mantissa(layers[: recipe.steps.n_steps * len(recipe.layer_names)], recipe.precision_bits, threads)
    return layers


def filling(recipe: SeriesRecipe, times: Sequence[datetime], period: Period) -> Filling:
    """How the series of a period is filled from scenes sensed at some times in it."""
    margin = recipe.margin_steps
    edges = np.array(days_since(period.start, recipe.steps.edges(period, margin)))
    sensed = np.array(days_since(period.start, tuple(times)))
    middles = (edges[:-1] + edges[1:]) / 2
    step_of = np.clip(np.searchsorted(edges, sensed, side="right") - 1, 0, middles.size - 1).astype(np.int64)
    fill = recipe.fill
    if isinstance(fill, HarmonicFill):
        at_scenes, at_steps = (_terms(fill, instants, period) for instants in (times, _instants(period, middles)))
        return Filling(HARMONIC, 0.0, step_of, middles, at_scenes, at_steps, margin)
    none = np.zeros((len(times), 1)), np.zeros((middles.size, 1))
    if isinstance(fill, WhittakerFill):
        return Filling(WHITTAKER, fill.smoothness, step_of, middles, *none, margin)
    return Filling(LINEAR, 0.0, step_of, middles, *none, margin)


def series_arrays(recipe: SeriesRecipe, layers: Floats) -> tuple[Floats, NDArray[np.uint16]]:
    """The layers of a cell as series (step, name, y, x) and observed (step, y, x), number of observations."""
    n_steps, n_names = recipe.steps.n_steps, len(recipe.layer_names)
    series = layers[: n_steps * n_names].reshape(n_steps, n_names, *layers.shape[1:])
    return series, layers[n_steps * n_names :].astype(np.uint16)


def _terms(fill: HarmonicFill, times: Sequence[datetime], period: Period) -> NDArray[np.float64]:
    """float64 (time, term): level, [trend], waves."""
    new_year = datetime(period.start.year, 1, 1, tzinfo=UTC)
    terms = basis(times, new_year, period.start + (period.end - period.start) / 2, fill.order)
    return terms if fill.trend else np.delete(terms, 1, axis=1)


def _instants(period: Period, days: NDArray[np.float64]) -> list[datetime]:
    whole = (period.end - period.start).total_seconds() / 86400
    return [period.start + (period.end - period.start) * (float(day) / whole) for day in days]
