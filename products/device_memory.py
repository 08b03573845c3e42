"""The device memory that a cell takes on a GPU, before it is built."""

import sys
from dataclasses import replace

from products.errors import DeviceFull
from products.feature_program import FeatureProgram, composite_limits, feature_program
from products.period import Period
from products.pixel.gpu_ordered_source import scratch_numbers, series_scratch
from products.pixel.gpu_source import LARGEST_STACK
from products.pixel.gpu_strips import StripShape, device_bytes, pinned_bytes, strip_rows
from products.pixel.gpu_temporal import band_order
from products.scene_recipe import SceneRecipe
from products.series import filling
from products.series_spec import SeriesRecipe
from products.spec import FeaturesRecipe
from products.window_features import window_device_bytes


def tile_shape(recipe: SceneRecipe, period: Period) -> StripShape:
    """The most that the GPU leaf is given of one scene of a tile with its margin, undivided, and makes of it."""
    side = recipe.grid.tile_px + 2 * recipe.margin_px
    plain = StripShape(len(recipe.used_bands), 1, recipe.n_layers, side, side)
    if isinstance(recipe, FeaturesRecipe):
        limits = ((), *composite_limits(recipe))
        shapes = [_program_shape(feature_program(recipe, (), period, limit), plain) for limit in limits]
        return max(shapes, key=lambda shape: device_bytes(replace(shape, n_scenes=100)))
    if isinstance(recipe, SeriesRecipe):
        asked = filling(recipe, (), period)
        terms = asked.at_scenes.shape[1]
        return replace(
            plain,
            room_numbers=series_scratch(asked),
            scene_numbers=1 + terms,
            step_numbers=(1 + terms) * asked.middles.size,
        )
    return plain


def cell_device_bytes(tile: StripShape, n_scenes: int, rows: int, free_bytes: int | None = None) -> int:
    """Bytes of arrays on the device for `rows` rows of a tile; DeviceFull where it cannot hold them.

    What the leaf allocates in the free bytes, or on a device that has enough; the CUDA context and the compiled kernels are not in it.
    """
    return device_bytes(_strip(tile, n_scenes, rows, free_bytes))


def window_bytes(recipe: SceneRecipe, rows: int) -> int:
    """About the most device memory of the window features of `rows` rows of a tile, after the statistics over time have left theirs."""
    if not isinstance(recipe, FeaturesRecipe):
        return 0
    return window_device_bytes(recipe, rows + 2 * recipe.margin_px, recipe.grid.tile_px + 2 * recipe.margin_px)


def cell_pinned_bytes(tile: StripShape, n_scenes: int, rows: int, free_bytes: int | None = None) -> int:
    """Bytes of pinned host memory beside them; DeviceFull likewise."""
    return pinned_bytes(_strip(tile, n_scenes, rows, free_bytes))


def _strip(tile: StripShape, n_scenes: int, rows: int, free_bytes: int | None) -> StripShape:
    if n_scenes > LARGEST_STACK:
        raise DeviceFull(
            f"a stack of {n_scenes} observations: the GPU takes at most {LARGEST_STACK}; shorten the period"
        )
    whole = replace(tile, n_scenes=n_scenes, rows=rows)
    return replace(whole, rows=strip_rows(whole, sys.maxsize if free_bytes is None else free_bytes))


def _program_shape(program: FeatureProgram, plain: StripShape) -> StripShape:
    bands = band_order(program.geomedian_bands, program.programs, program.ordered)
    shape = replace(plain, n_bands=len(bands), n_features=len(program.names))
    if program.ordered is None:
        return shape
    folds = program.ordered.folds
    numbers = program.ordered.base.shape[1] + 1 + len(folds.asked)
    room = scratch_numbers(program.ordered)
    return replace(shape, room_numbers=room, scene_numbers=numbers, step_numbers=folds.days.size)
