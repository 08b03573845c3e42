"""Recipes of window features, and the arrays that they are computed from."""

from typing import Any

import numpy as np

from products.raster import RasterLayer
from products.registry import parse_recipe
from products.spec import FeaturesRecipe
from products.window.terrain import MEASURES as TERRAIN
from products.window.texture import MEASURES as TEXTURE
from products.window_spec import RasterInput

SIDE = 40
RECIPE = f"""
name: shaped
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: {SIDE}}}
period: P1Y
sources: [{{collection: sentinel-2-l2a}}]
features:
  - index: {{names: [NDVI], reduce: [p50]}}
"""
TEXTURE_LINE = (
    f"  - texture: {{of: {{feature: ndvi_p50}}, window_px: 5, levels: 8, measures: [{', '.join(TEXTURE)}]}}\n"
)
TERRAIN_LINE = f"  - terrain: {{source: hill, window_px: 9, measures: [elevation, {', '.join(TERRAIN)}]}}\n"
DISTANCE_LINE = "  - distance: {source: hill, band: land, at_least: 1, max_distance_m: 90, name: coast}\n"


def recipe(*lines: str) -> FeaturesRecipe:
    found = parse_recipe(RECIPE + "".join(lines), "shaped.yaml")
    assert isinstance(found, FeaturesRecipe)
    return found


def given(asked: FeaturesRecipe) -> tuple[dict[str, Any], dict[RasterInput, Any]]:
    random = np.random.default_rng(3)
    side = SIDE + 2 * asked.margin_px
    layer, hill, land = random.uniform(-1, 1, (3, side, side)).astype(np.float32)
    layer[random.random(layer.shape) < 0.05] = np.nan
    hill[random.random(layer.shape) < 0.02] = np.nan
    rasters = {
        RasterInput("hill", "elevation", "bilinear"): RasterLayer(100 * hill),
        RasterInput("hill", "land", "nearest"): RasterLayer(2 * land),
    }
    return {"ndvi_p50": layer}, rasters
