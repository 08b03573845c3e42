"""Made-up ground for window features: a raster of elevation and land, beyond the demo area."""

from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from datacube_config.sources import SourceTable
from flows.steps.areas import find_area
from flows.steps.ingesting.ingest_rasters import ingest_rasters
from products.registry import features_recipe

AREA = "demo"
TABLE = SourceTable.model_validate(
    {
        "rasters": {
            "hill": {
                "title": "A hill", "kind": "elevation", "license": "CC0-1.0", "credit": "made up", "files": ["hill_*.tif"],
                "name": r"hill_(?P<tile>[a-z]+)\.tif", "time": "static",
                "bands": {"elevation": {"dtype": "float32", "nodata": -9999, "units": "metre"}, "land": {"dtype": "float32", "nodata": -9999, "layer": 2}},
            },
            "shore": {
                "title": "Land of some days", "kind": "label", "license": "CC0-1.0", "credit": "made up", "files": ["shore_*.tif"],
                "name": r"shore_(?P<date>\d{8})\.tif", "time": "date",
                "bands": {"land": {"dtype": "float32", "nodata": -9999, "layer": 2}},
            },
        }
    }
)  # fmt: skip


def write_hill(folder: Path, ground: GeoBox, name: str = "whole", step: float = 10.0) -> Path:
    """Elevation and land with pixels of `step` metres, over the ground and a bit more."""
    box = ground.boundingbox
    margin = 1500.0
    width, height = int((box.right - box.left + 2 * margin) // step), int((box.top - box.bottom + 2 * margin) // step)
    x, y = np.meshgrid(np.arange(width) * step, np.arange(height) * step)
    elevation = (0.02 * x + 40 * np.sin(y / 500)).astype("float32")
    land = (np.sin(x / 700) + np.cos(y / 900) > 0).astype("float32")
    folder.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 2,
        "dtype": "float32",
        "crs": str(ground.crs),
    }
    transform = from_origin(box.left - margin, box.top + margin, step, step)
    with rasterio.open(folder / f"hill_{name}.tif", "w", **profile, nodata=-9999, transform=transform) as file:
        file.write(elevation, 1)
        file.write(land, 2)
    return folder


def take_in(settings: Settings, folder: Path, name: str = "hill", n_rasters: int = 1) -> None:
    with open_index(settings) as index:
        report = ingest_rasters(index, name, str(folder), TABLE)
    assert (report.added + report.unchanged, report.quarantined) == (n_rasters, [])


def ground_of(recipe: str) -> GeoBox:
    made = features_recipe(recipe)
    grid = made.grid.pixel_grid(find_area(AREA).geometry)
    return grid.mosaic(grid.tiles(find_area(AREA).geometry))
