"""Made-up pictures of vehicles as files that a recipe with `boxes` learns from.

For people who try that recipe, by `from flows import write_vehicle_pictures`: no command calls it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from affine import Affine

from products.errors import RequestError
from products.simulation.vehicles import RESOLUTION_M, make_vehicle_scene

PLACE = {"crs": "EPSG:32632", "transform": Affine(RESOLUTION_M, 0, 500_000, 0, -RESOLUTION_M, 5_300_000)}
MOST_VEHICLES = 16


def write_vehicle_pictures(folder: Path, count: int = 12, side_px: int = 192, seed: int = 0) -> list[str]:
    """Write `images/road_NN.tif` (8 bits: red, green, blue) and `labels/road_NN.csv` (xmin, ymin, xmax, ymax, label); returns the names."""
    if folder.exists() and any(folder.iterdir()):
        raise RequestError(f"{folder} is not empty: give a new folder")
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    rng, names = np.random.default_rng(seed), [f"road_{number:02}" for number in range(count)]
    for name in names:
        scene = make_vehicle_scene(rng, side_px, MOST_VEHICLES)
        table = pd.DataFrame(scene.boxes.round(2), columns=["xmin", "ymin", "xmax", "ymax"]).assign(label=scene.names)
        table.to_csv(folder / "labels" / f"{name}.csv", index=False)
        bands = np.rint(255 * scene.bands).astype(np.uint8)
        profile = {"driver": "GTiff", "count": 3, "height": side_px, "width": side_px, "dtype": "uint8", **PLACE}
        with rasterio.open(
            folder / "images" / f"{name}.tif", "w", photometric="RGB", compress="deflate", **profile
        ) as raster:
            raster.write(bands)
    return names
