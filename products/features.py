"""Bands and a recipe become a feature stack: composes the kernels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from products.devices import Device
from products.feature_program import FeatureProgram, Operand, composite_limits, feature_program
from products.feature_spec import CountStep
from products.feature_step import Limit
from products.kept_memory import kept_empty
from products.period import Period
from products.pixel.brdf import c_factor
from products.pixel.causes import ACCOUNT_NAMES, NOT_EXPECTED
from products.pixel.gpu_strips import Say
from products.pixel.gpu_temporal import temporal_features_gpu
from products.pixel.harmonise import oli_adjustment
from products.pixel.precision import round_mantissa
from products.pixel.rows import in_row_tasks
from products.pixel.temporal import temporal_features
from products.scene import Scene
from products.source_spec import HarmoniseSpec, file_band
from products.spec import FeaturesRecipe
from products.tide import TideSpec, at_tide
from products.window_features import DeviceContext, Rasters, window_features, without_margin
from products.window_spec import WindowStep

Stack = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Observations:
    """The integers of a tile: block (band, scene, y, x) uint16, causes (scene, y, x) uint8 (0 = used), accounts (fate, y, x) uint16.

    Gain and bias (scene, band) make harmonised reflectance of them; NaN for a band that a scene lacks. `agreement` (y, x) is the share of scenes on which
    the delivered masks and those of a model agree, where that is asked for.
    """

    scenes: tuple[Scene, ...]
    bands: tuple[str, ...]
    block: NDArray[np.uint16]
    causes: NDArray[np.uint8]
    gain: NDArray[np.float32]
    bias: NDArray[np.float32]
    accounts: NDArray[np.uint16]
    agreement: NDArray[np.float32] | None = None


def reflectance_terms(
    scenes: Sequence[Scene],
    bands: Sequence[str],
    harmonise: HarmoniseSpec | None,
    brdf: str = "none",
    *,
    is_adjusted: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and bias, float32 (scene, band): harmonised reflectance = DN * gain + bias; NaN for a band that a scene lacks.

    Scale, offset, c-factor and band-pass adjustment in one, in this order; scale and offset of the same files only where it is not to be adjusted.
    """
    gain, bias = np.empty((2, len(scenes), len(bands)), np.float64)
    for s, scene in enumerate(scenes):
        for b, band in enumerate(bands):
            name = file_band(band, scene.sensor, harmonise)
            file = scene.bands.get(name)
            slope, intercept = _adjustment(scene, band, harmonise) if is_adjusted else (1.0, 0.0)
            slope *= _nadir_factor(scene, name, brdf) if is_adjusted and file else 1.0
            gain[s, b] = slope * file.scale if file else np.nan
            bias[s, b] = slope * file.offset + intercept if file else np.nan
    return gain.astype(np.float32), bias.astype(np.float32)


def compute_features(
    recipe: FeaturesRecipe, seen: Observations, period: Period, threads: int, rasters: Rasters | None = None,
    device: Device = "cpu", say: Say | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """float32 (feature, y, x) in the order of `recipe.feature_names`, of the observations in a period, and of rasters (y, x).

    Observations and rasters reach `recipe.margin_px` beyond the features on all sides. Rounded to `recipe.precision_bits`, last of all.
    On the device `gpu` the statistics over time, terrain and texture are computed there, to the tolerances of docs/gpu.md. What goes otherwise than
    planned there is said, or logged.
    """
    stack = _full_features(recipe, seen, period, threads, rasters, device, say)
    if recipe.precision_bits is not None:
        round_mantissa(stack, recipe.precision_bits, threads)
    return stack


def _full_features(
    recipe: FeaturesRecipe, seen: Observations, period: Period, threads: int, rasters: Rasters | None, device: Device,
    say: Say | None,
) -> NDArray[np.float32]:  # fmt: skip
    layers, whole = dict[str, Stack](), None
    times = [scene.acquired for scene in seen.scenes]
    for limit in ((), *composite_limits(recipe)):
        program = feature_program(recipe, times, period, limit)
        if not program.names:
            continue
        room, part = (None, None) if limit or device == "gpu" else _room(recipe, program.names, seen.causes.shape[1:])
        stack = _over_time(recipe, _limited(seen, limit), program, threads, device, say, part)
        layers |= dict(zip(program.names, stack, strict=True))
        whole = (
            stack if program.names == recipe.feature_names and stack.base is None else whole if room is None else room
        )
    if seen.agreement is not None:
        layers["mask_agreement"] = seen.agreement
    counts = without_margin(seen.accounts, recipe.margin_px)
    if not any(isinstance(step, WindowStep) for step in recipe.features):
        return _in_recipe_order(recipe, layers, counts, threads, whole)
    inner = {name: without_margin(layer, recipe.margin_px) for name, layer in layers.items()}
    shaped = window_features(recipe, layers, rasters or {}, DeviceContext(device, say))
    return _in_recipe_order(recipe, inner | shaped, counts, threads)


def _over_time(
    recipe: FeaturesRecipe, seen: Observations, program: FeatureProgram, threads: int, device: Device, say: Say | None,
    out: Stack | None,
) -> Stack:  # fmt: skip
    """float32 (name, y, x): the layers of a program."""
    rows = np.array([seen.bands.index(band) for band, _ in program.operands], np.int64)
    gain, bias = _operand_terms(seen, program.operands, rows)
    given = (
        seen.causes, gain, bias, program.geomedian_bands, program.with_mads, program.programs, program.reducers, recipe.min_observations,
    )  # fmt: skip
    if device == "gpu":
        return temporal_features_gpu(seen.block, *given, say=say, layers=rows, ordered=program.ordered, threads=threads)
    return temporal_features(seen.block, *given, threads, rows, program.ordered, out)


def _limited(seen: Observations, limit: Limit) -> Observations:
    """The observations of the scenes within a limit: those of others are not expected."""
    if not limit:
        return seen
    used = _used(seen.scenes, limit)
    return replace(seen, causes=np.where(used[:, None, None], seen.causes, np.uint8(NOT_EXPECTED)))


def _operand_terms(
    seen: Observations, operands: Sequence[Operand], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and bias, float32 (scene, operand); NaN for scenes of collections and tides that an operand leaves out."""
    gain, bias = seen.gain[:, rows], seen.bias[:, rows]
    for number, (_, limit) in enumerate(operands):
        left_out = ~_used(seen.scenes, limit)
        gain[left_out, number] = bias[left_out, number] = np.nan
    return gain, bias


def _used(scenes: Sequence[Scene], limit: Limit) -> NDArray[np.bool_]:
    collections = [each for each in limit if isinstance(each, str)]
    used = np.array([not collections or scene.collection in collections for scene in scenes], bool)
    for tide in limit:
        if isinstance(tide, TideSpec):
            used = at_tide(scenes, tide, used)
    return used


def _room(recipe: FeaturesRecipe, names: Sequence[str], shape: tuple[int, ...]) -> tuple[Stack | None, Stack | None]:
    """An empty stack of all features, float32 (feature, y, x), and the part of it where those of some names belong.

    None where these do not stand side by side in it, or are wanted with the margin that window features need.
    """
    every = recipe.feature_names
    if not names or names[0] not in every or any(isinstance(step, WindowStep) for step in recipe.features):
        return None, None
    part = slice(every.index(names[0]), every.index(names[0]) + len(names))
    if every[part] != tuple(names):
        return None, None
    stack: Stack = kept_empty((len(every), *shape), np.float32)
    return stack, stack[part]


def _in_recipe_order(
    recipe: FeaturesRecipe, layers: Mapping[str, Stack], accounts: NDArray[np.uint16], threads: int,
    stack: Stack | None = None,
) -> Stack:  # fmt: skip
    """All features, float32 (feature, y, x); `stack` has those already that share its memory."""
    out = kept_empty((len(recipe.feature_names), *accounts.shape[1:]), np.float32) if stack is None else stack
    counts = {f"count_{name}": accounts[ACCOUNT_NAMES.index(name)] for name in ("used", "expected")}
    wanted = any(isinstance(step, CountStep) for step in recipe.features)
    made = {**layers, **counts} if wanted else layers
    lacking = {
        position: made[name]
        for position, name in enumerate(recipe.feature_names)
        if stack is None or not np.may_share_memory(made[name], stack)
    }

    def copy_rows(first: int, last: int) -> None:
        for position, layer in lacking.items():
            out[position, first:last] = layer[first:last]

    if lacking:
        in_row_tasks(copy_rows, out.shape[1], threads)
    return out


def _nadir_factor(scene: Scene, band: str, brdf: str) -> float:
    """What reflectance is multiplied with to be as seen from the zenith; ValueError for a scene without angles."""
    if brdf == "none":
        return 1.0
    if scene.has_pixel_angles:
        return 1.0  # the block is as seen from the zenith
    if scene.angles is None:
        raise ValueError(f"brdf: {brdf} needs the angles of sun and view, {scene.item_id} has none")
    return c_factor(band, scene.angles)


def _adjustment(scene: Scene, band: str, harmonise: HarmoniseSpec | None) -> tuple[float, float]:
    if harmonise is None or not harmonise.is_adjusted(scene.sensor):
        return 1.0, 0.0
    return oli_adjustment(scene.platform, band)
