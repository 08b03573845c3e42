"""Bands and a recipe become a feature stack: composes the kernels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from products.feature_spec import CountStep, GeomedianStep, IndexStep, MadsStep, quantile_of
from products.formula import Formula
from products.pixel.causes import ACCOUNT_NAMES
from products.pixel.harmonise import oli_adjustment
from products.pixel.temporal import MAX, MEAN, MIN, STD, temporal_features
from products.scene import Scene
from products.spec import FeaturesRecipe, HarmoniseSpec

_REDUCER_CODES = {"mean": MEAN, "std": STD, "min": MIN, "max": MAX}


@dataclass(frozen=True, slots=True)
class Observations:
    """The integers of a tile: block (band, scene, y, x) uint16, causes (scene, y, x) uint8 (0 = used), accounts (fate, y, x) uint16.

    Gain and bias (scene, band) make harmonised reflectance of them.
    """

    bands: tuple[str, ...]
    block: NDArray[np.uint16]
    causes: NDArray[np.uint8]
    gain: NDArray[np.float32]
    bias: NDArray[np.float32]
    accounts: NDArray[np.uint16]


def file_band(band: str, sensor: str, harmonise: HarmoniseSpec | None) -> str:
    """The band of a sensor that stands for `band`: where the HLS coefficients apply, the near infrared of MSI is B8A."""
    if sensor == "msi" and band == "nir" and harmonise is not None and harmonise.msi == "hls":
        return "nir_narrow"
    return band


def reflectance_terms(
    scenes: Sequence[Scene], bands: Sequence[str], harmonise: HarmoniseSpec | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and bias, float32 (scene, band): harmonised reflectance = DN * gain + bias; NaN for a band that a scene lacks.

    Scale, offset and band-pass adjustment in one.
    """
    gain, bias = np.empty((2, len(scenes), len(bands)), np.float64)
    for s, scene in enumerate(scenes):
        for b, band in enumerate(bands):
            file = scene.bands.get(file_band(band, scene.sensor, harmonise))
            slope, intercept = _adjustment(scene, band, harmonise)
            gain[s, b] = slope * file.scale if file else np.nan
            bias[s, b] = slope * file.offset + intercept if file else np.nan
    return gain.astype(np.float32), bias.astype(np.float32)


def compute_features(recipe: FeaturesRecipe, seen: Observations, threads: int) -> NDArray[np.float32]:
    """float32 (feature, y, x) in the order of `recipe.feature_names`."""
    place = {band: position for position, band in enumerate(seen.bands)}
    geomedian = next((step for step in recipe.features if isinstance(step, GeomedianStep)), None)
    with_mads = any(isinstance(step, MadsStep) for step in recipe.features)
    indices = [
        (f"{name}_", formula, step.reduce)
        for step in recipe.features
        if isinstance(step, IndexStep)
        for name, formula in step.formulas()
    ]
    stack = temporal_features(
        seen.block, seen.causes, seen.gain, seen.bias,
        np.array([place[band] for band in geomedian.bands()] if geomedian else [], np.int64), with_mads,
        _programs([formula for _, formula, _ in indices], place), _reducers([reduce for _, _, reduce in indices]),
        recipe.min_observations, threads,
    )  # fmt: skip
    made = [*(geomedian.names() if geomedian else ()), *(("smad", "emad", "bcmad") if with_mads else ())]
    made += [prefix + reducer for prefix, _, reduce in indices for reducer in reduce]
    layers: Mapping[str, NDArray[np.float32]] = dict(zip(made, stack, strict=True))
    return _in_recipe_order(recipe, layers, seen.accounts)


def _in_recipe_order(
    recipe: FeaturesRecipe, layers: Mapping[str, NDArray[np.float32]], accounts: NDArray[np.uint16]
) -> NDArray[np.float32]:
    if tuple(layers) == recipe.feature_names and layers:
        base = next(iter(layers.values())).base
        if base is not None and base.shape[0] == len(layers):
            return base
    out = np.empty((len(recipe.feature_names), *accounts.shape[1:]), np.float32)
    counts = {f"count_{name}": accounts[ACCOUNT_NAMES.index(name)] for name in ("used", "expected")}
    wanted = any(isinstance(step, CountStep) for step in recipe.features)
    for position, name in enumerate(recipe.feature_names):
        out[position] = counts[name] if wanted and name in counts else layers[name]
    return out


def _adjustment(scene: Scene, band: str, harmonise: HarmoniseSpec | None) -> tuple[float, float]:
    if harmonise is None:
        return 1.0, 0.0
    method = {"tm": harmonise.tm_etm, "etm": harmonise.tm_etm, "msi": harmonise.msi, "oli": "none"}[scene.sensor]
    return (1.0, 0.0) if method == "none" else oli_adjustment(scene.platform, band)


def _programs(formulas: Sequence[Formula], place: Mapping[str, int]) -> NDArray[np.float64]:
    """float64 (index, step, 2): operation and operand, padded with operation -1; bands by their place in the block."""
    longest = max((len(formula.operations) for formula in formulas), default=0) + 1
    programs = np.full((len(formulas), longest, 2), -1.0)
    for i, formula in enumerate(formulas):
        for step, (operation, operand) in enumerate(formula.operations):
            programs[i, step] = operation, place[formula.bands[int(operand)]] if operation == 0 else operand
    return programs


def _reducers(reduce: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """float32 (index, reducer): a quantile, or a negative code for mean, std, min and max, padded with NaN."""
    table = np.full((len(reduce), max((len(names) for names in reduce), default=1)), np.nan, np.float32)
    for i, names in enumerate(reduce):
        for r, name in enumerate(names):
            quantile = quantile_of(name)
            table[i, r] = _REDUCER_CODES[name] if quantile is None else quantile
    return table
