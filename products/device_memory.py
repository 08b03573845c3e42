"""The device memory that a cell takes on a GPU, before it is built."""

import sys
from dataclasses import replace

from products.errors import DeviceFull
from products.feature_program import feature_program
from products.period import Period
from products.pixel.gpu_source import LARGEST_STACK
from products.pixel.gpu_temporal import StripShape, band_order, device_bytes, strip_rows
from products.spec import FeaturesRecipe


def tile_shape(recipe: FeaturesRecipe, period: Period) -> StripShape:
    """What the GPU leaf is given of one scene of a tile with its margin, undivided, and makes of it."""
    program = feature_program(recipe, (), period)
    bands = band_order(program.geomedian_bands, program.programs)
    side = recipe.grid.tile_px + 2 * recipe.margin_px
    return StripShape(len(bands), 1, len(program.names), side, side)


def cell_device_bytes(tile: StripShape, n_scenes: int, rows: int, free_bytes: int | None = None) -> int:
    """Bytes of arrays on the device, and as many of pinned host memory, for `rows` rows of a tile; DeviceFull where it cannot hold them.

    What `temporal_features_gpu` allocates in the free bytes, or on a device that has enough; the CUDA context and the compiled kernels are not in it.
    """
    if n_scenes > LARGEST_STACK:
        raise DeviceFull(
            f"a stack of {n_scenes} observations: the GPU takes at most {LARGEST_STACK}; shorten the period"
        )
    whole = replace(tile, n_scenes=n_scenes, rows=rows)
    return device_bytes(replace(whole, rows=strip_rows(whole, sys.maxsize if free_bytes is None else free_bytes)))
