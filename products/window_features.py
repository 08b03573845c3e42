"""Window features of a tile from layers that reach beyond it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing

from products.devices import Device
from products.raster import RasterLayer
from products.spec import FeaturesRecipe
from products.window.device_strips import device_strips, strip_bytes
from products.window.distance import distance_m, known_distance_m, signed_distance_m
from products.window.sliding import Array
from products.window.terrain import terrain
from products.window.texture import HISTOGRAM_MEASURES, texture
from products.window_spec import GAP_PX, DistanceStep, RasterInput, TerrainStep, TextureStep, WindowStep

Number = TypeVar("Number", np.float32, np.uint16, np.uint8, np.bool_)
Layers = Mapping[str, NDArray[np.float32]]
Rasters = Mapping[RasterInput, RasterLayer]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """Where window features are computed; on a GPU, who is told of what goes otherwise than planned."""

    device: Device = "cpu"
    say: Say | None = None


ON_CPU = DeviceContext()


def window_features(
    recipe: FeaturesRecipe, layers: Layers, rasters: Rasters, context: DeviceContext = ON_CPU
) -> dict[str, NDArray[np.float32]]:
    """float32 (y, x) by name, of layers and rasters (y + 2 margin, x + 2 margin) with the margin of the recipe.

    On a GPU, terrain is computed there, and texture but for the measures of HISTOGRAM_MEASURES; DeviceFull where it has too little memory.
    """
    made: dict[str, NDArray[np.float32]] = {}
    for step in recipe.features:
        if isinstance(step, WindowStep):
            made |= dict(zip(step.names(), _layers_of(step, recipe, layers, rasters, context), strict=True))
    return made


def device_measures(step: WindowStep) -> tuple[str, ...]:
    """The measures of a step that a GPU computes.

    Not those of the whole histogram: on the CPU it slides along, a GPU would count each pair of grey levels by itself (528 pairs of 32 levels).
    """
    if isinstance(step, TextureStep):
        return tuple(measure for measure in step.measures if measure not in HISTOGRAM_MEASURES)
    return _shaped(step) if isinstance(step, TerrainStep) else ()


def window_device_bytes(recipe: FeaturesRecipe, rows: int, width: int) -> int:
    """About the most device memory of the window features of so many rows and pixels a row, margin included."""
    return max(
        (
            strip_bytes(rows, width, step.margin_px(recipe.grid.resolution_m))
            for step in recipe.features
            if isinstance(step, WindowStep) and device_measures(step)
        ),
        default=0,
    )


def without_margin(layer: NDArray[Number], margin_px: int) -> NDArray[Number]:
    """The inner part of a layer (…, y, x)."""
    return layer[..., margin_px : layer.shape[-2] - margin_px, margin_px : layer.shape[-1] - margin_px]


def _layers_of(
    step: WindowStep, recipe: FeaturesRecipe, layers: Layers, rasters: Rasters, context: DeviceContext
) -> list[NDArray[np.float32]]:
    resolution_m = recipe.grid.resolution_m
    halo_px = step.margin_px(resolution_m)
    spare_px = recipe.margin_px - halo_px
    if isinstance(step, TextureStep):
        values = without_margin(layers[step.of.layer], spare_px)
        found = _computed(step, step.measures, values, halo_px, partial(_texture, step), context)
        return [found[measure] for measure in step.measures]
    raster = step.raster()
    if isinstance(step, TerrainStep) and raster:
        elevation = without_margin(rasters[raster].values, spare_px)
        found = _computed(step, _shaped(step), elevation, halo_px, partial(_terrain, step, resolution_m), context)
        inner = without_margin(elevation, halo_px)
        return [inner if measure == "elevation" else found[measure] for measure in step.measures]
    if isinstance(step, DistanceStep) and raster:
        return [_distance(step, rasters[raster], spare_px, resolution_m)]
    raise TypeError(f"{type(step).__name__} has no computation")


def _computed(
    step: WindowStep, measures: Sequence[str], values: NDArray[np.float32], halo_px: int,
    kernel: Callable[[Sequence[str], Array], dict[str, Array]], context: DeviceContext,
) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """float32 (y, x) by measure, of values (y + 2 halo, x + 2 halo), each measure in its place."""
    there = device_measures(step) if context.device == "gpu" else ()
    here = [measure for measure in measures if measure not in there]
    found = kernel(here, values) if here else {}
    return found | (device_strips(values, halo_px, partial(kernel, there), context.say) if there else {})


def _distance(step: DistanceStep, raster: RasterLayer, spare_px: int, resolution_m: float) -> NDArray[np.float32]:
    inner_px = spare_px + GAP_PX
    with np.errstate(invalid="ignore"):
        mask = without_margin(raster.values, inner_px) >= step.at_least
    if raster.covered is None:
        return (signed_distance_m if step.signed else distance_m)(mask, resolution_m, step.max_distance_m)
    closed = binary_closing(without_margin(raster.covered, spare_px), np.ones((3, 3)))
    covered = without_margin(closed, GAP_PX)
    return known_distance_m(mask, covered, resolution_m, step.max_distance_m, step.signed)


def _texture(step: TextureStep, measures: Sequence[str], values: Array) -> dict[str, Array]:
    return texture(values, measures, step.window_px, *step.range, step.levels)


def _terrain(step: TerrainStep, resolution_m: float, measures: Sequence[str], elevation: Array) -> dict[str, Array]:
    return terrain(elevation, measures, resolution_m, step.window_px)


def _shaped(step: TerrainStep) -> tuple[str, ...]:
    """The measures that take computing."""
    return tuple(measure for measure in step.measures if measure != "elevation")
