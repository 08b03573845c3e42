"""Made-up pictures of ship tracks as files that a recipe with `lines` learns from.

For people who try that recipe, by `from flows import write_track_pictures`: no command calls it.
"""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from products.errors import RequestError
from products.simulation.ship_tracks import make_track_scene

PIXEL_M = 1000.0
PLACE = {"crs": "EPSG:32610", "transform": Affine(PIXEL_M, 0, 300_000, 0, -PIXEL_M, 4_200_000)}  # off California
MOST_TRACKS = 4


def write_track_pictures(folder: Path, count: int = 24, side_px: int = 128, seed: int = 0) -> list[str]:
    """Write `images/track_NNN.tif` (reflectance at 0.65 and 2.1 µm, kelvin at 11 µm) and `labels/track_NNN.tif` (1 = track); returns the names."""
    if folder.exists() and any(folder.iterdir()):
        raise RequestError(f"{folder} is not empty: give a new folder")
    names: list[str] = []
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    while len(names) < count:
        scene = make_track_scene(rng, side_px, int(rng.integers(1, MOST_TRACKS + 1)))
        if scene.is_track.sum() < side_px:
            continue
        names.append(f"track_{len(names):03}")
        _write(folder / "images" / f"{names[-1]}.tif", scene.bands)
        _write(folder / "labels" / f"{names[-1]}.tif", scene.is_track[None].astype(np.uint8))
    return names


def _write(path: Path, bands: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    n, rows, columns = bands.shape
    profile = {"driver": "GTiff", "count": n, "height": rows, "width": columns, "dtype": bands.dtype.name, **PLACE}
    with rasterio.open(path, "w", compress="deflate", **profile) as raster:
        raster.write(bands)
