"""What a cell of each kind of recipe holds: computed from observations, then laid out in arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from products.devices import Device
from products.features import Observations, compute_features
from products.observations_spec import ObservationsRecipe
from products.period import Period
from products.pixel.gpu_series import observed_gpu
from products.pixel.gpu_strips import Say
from products.pixel.observe import cause_of, observed
from products.pixel.precision import round_mantissa
from products.scene_recipe import SceneRecipe
from products.series import compute_series, series_arrays
from products.series_spec import SeriesRecipe
from products.spec import FeaturesRecipe
from products.template import ArrayTemplate, CellTemplate, features_template, observations_template, series_template
from products.window_features import Rasters

STACKS = ("features", "series", "reflectance")


def compute_layers(
    recipe: SceneRecipe, seen: Observations, period: Period, threads: int, rasters: Rasters | None = None,
    device: Device = "cpu", say: Say | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """float32 (layer, y, x), `recipe.n_layers` of them, of the observations of one cell, computed on a device."""
    if isinstance(recipe, FeaturesRecipe):
        return compute_features(recipe, seen, period, threads, rasters, device, say)
    if isinstance(recipe, ObservationsRecipe):
        given = seen.block, seen.causes, seen.gain, seen.bias
        layers = observed_gpu(*given, say=say, threads=threads) if device == "gpu" else observed(*given, threads)
        if recipe.precision_bits is not None:
            round_mantissa(layers, recipe.precision_bits, threads)
        return layers
    if isinstance(recipe, SeriesRecipe):
        return compute_series(recipe, seen, period, threads, device, say)
    raise _unknown(recipe)


def cell_template(recipe: SceneRecipe) -> CellTemplate:
    """The arrays of a cell."""
    if isinstance(recipe, FeaturesRecipe):
        return features_template(recipe)
    if isinstance(recipe, ObservationsRecipe):
        return observations_template(recipe)
    if isinstance(recipe, SeriesRecipe):
        return series_template(recipe)
    raise _unknown(recipe)


def stack_of(template: CellTemplate) -> ArrayTemplate:
    """The array of a cell that is learned from and sampled: `features`, `series` or `reflectance`."""
    return next(array for array in template.arrays if array.name in STACKS)


def stack_names(template: CellTemplate) -> tuple[str, ...]:
    """What its layers are called, in their order, as ODC names measurements: `ndvi_p50`, `ndvi_1`, `red`."""
    stack = stack_of(template)
    return tuple(name for name, (array, _) in template.measurements.items() if array == stack.name)


def cell_arrays(
    recipe: SceneRecipe, layers: NDArray[np.float32], accounts: NDArray[np.uint16]
) -> Mapping[str, NDArray[Any]]:
    """The content of each array of a cell by name, from its layers (layer, y, x) and accounts (fate, y, x)."""
    if isinstance(recipe, ObservationsRecipe):
        return {"reflectance": layers[None], "cause": cause_of(accounts)[None]}
    if isinstance(recipe, SeriesRecipe):
        series, n_observed = series_arrays(recipe, layers)
        return {"series": series, "observed": n_observed, "accounts": accounts[None]}
    return {"features": layers[None], "accounts": accounts[None]}


def _unknown(recipe: SceneRecipe) -> TypeError:
    return TypeError(f"expected a recipe whose cells are made of scenes, got {type(recipe).__name__}")
