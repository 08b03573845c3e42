"""The bench tile as users build it: its recipe, its area, and its scenes in an index of their own."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tile_archive import CRS, SIDE_PX, tile_geobox

from products.grid import PixelGrid

RECIPE = """
name: {name}
version: {version}
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 10, tile_px: 2048, anchor: edge}}
period: P1Y
sources:
  - {{collection: sentinel-2-l2a, clear: {{dilate_px: 0}}}}
features:
{features}
"""
FEATURES = """  - geomedian: {bands: [blue, green, red, nir, swir1, swir2]}
  - mads: {}
  - index: {names: [NDVI, MNDWI, MVI], reduce: [p10, p50, p90]}
  - count: {}"""


def ingested(root: Path, items: Path) -> None:
    """A home in `root`, named by NEOCUBE_HOME, whose index has the items."""
    os.environ["NEOCUBE_HOME"] = str(root / "home")
    for command in (["init"], ["ingest", str(items)]):
        subprocess.run([sys.executable, "-m", "flows.cli", *command], check=True, stdout=subprocess.DEVNULL)


def new_recipe(root: Path, features: str = FEATURES, name: str = "bench_features") -> str:
    """The bench recipe under a version that was never built."""
    recipe = root / "bench.recipe.yaml"
    recipe.write_text(RECIPE.format(name=name, version=int(time.time() * 1000) % 2_000_000_000, features=features))
    return str(recipe)


def tile_area() -> str:
    """A patch inside the one tile, which is a tile of the recipe's grid too: both ways have the same pixels to make."""
    grid = PixelGrid(CRS, 10, SIDE_PX, 0.0)
    patch = tile_geobox()[900:1100, 900:1100].extent
    (tile,) = grid.tiles(patch)
    assert grid.geobox(tile) == tile_geobox(), (grid.geobox(tile), tile_geobox())
    inside = patch.to_crs("EPSG:4326").boundingbox
    return f"{inside.left},{inside.bottom},{inside.right},{inside.top}"
