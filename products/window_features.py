"""Window features of a tile from layers that reach beyond it."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from products.spec import FeaturesRecipe
from products.window.distance import distance_m, signed_distance_m
from products.window.terrain import terrain
from products.window.texture import texture
from products.window_spec import DistanceStep, RasterInput, TerrainStep, TextureStep, WindowStep

Number = TypeVar("Number", np.float32, np.uint16)
Layers = Mapping[str, NDArray[np.float32]]
Rasters = Mapping[RasterInput, NDArray[np.float32]]


def window_features(recipe: FeaturesRecipe, layers: Layers, rasters: Rasters) -> dict[str, NDArray[np.float32]]:
    """float32 (y, x) by name, of layers and rasters (y + 2 margin, x + 2 margin) with the margin of the recipe."""
    made: dict[str, NDArray[np.float32]] = {}
    for step in recipe.features:
        if isinstance(step, WindowStep):
            margin = step.margin_px(recipe.grid.resolution_m)
            made |= dict(
                zip(step.names(), _layers_of(step, recipe, layers, rasters, recipe.margin_px - margin), strict=True)
            )
    return made


def without_margin(layer: NDArray[Number], margin_px: int) -> NDArray[Number]:
    """The inner part of a layer (…, y, x)."""
    return layer[..., margin_px : layer.shape[-2] - margin_px, margin_px : layer.shape[-1] - margin_px]


def _layers_of(
    step: WindowStep, recipe: FeaturesRecipe, layers: Layers, rasters: Rasters, spare_px: int
) -> list[NDArray[np.float32]]:
    resolution_m = recipe.grid.resolution_m
    if isinstance(step, TextureStep):
        values = without_margin(layers[step.of.layer], spare_px)
        found = texture(values, step.measures, step.window_px, *step.range, step.levels)
        return [found[measure] for measure in step.measures]
    raster = step.raster()
    if isinstance(step, TerrainStep) and raster:
        elevation = without_margin(rasters[raster], spare_px)
        shaped = [measure for measure in step.measures if measure != "elevation"]
        of_shape = terrain(elevation, shaped, resolution_m, step.window_px) if shaped else {}
        inner = without_margin(elevation, step.margin_px(resolution_m))
        return [inner if measure == "elevation" else of_shape[measure] for measure in step.measures]
    if isinstance(step, DistanceStep) and raster:
        with np.errstate(invalid="ignore"):
            mask = without_margin(rasters[raster], spare_px) >= step.at_least
        return [(signed_distance_m if step.signed else distance_m)(mask, resolution_m, step.max_distance_m)]
    raise TypeError(f"{type(step).__name__} has no computation")
