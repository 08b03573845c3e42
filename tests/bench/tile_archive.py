"""The bench archive: one 2048 x 2048 tile of 20 Sentinel-2 dates, 6 bands and SCL, visible and NIR at 10 m, SWIR and SCL at 20 m."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter, zoom

SIDE_PX, DATES = 2048, 20
CRS, LEFT, TOP = "EPSG:32647", 34 * 20_480.0, 29 * 20_480.0  # a corner of the grid of tiles
BANDS = {"blue": 10, "green": 10, "red": 10, "nir": 10, "swir16": 20, "swir22": 20, "scl": 20}
NAMES = {"swir16": "swir1", "swir22": "swir2"}
LEVEL = {"blue": 500, "green": 800, "red": 700, "nir": 3000, "swir16": 1800, "swir22": 1000}


def tile_geobox() -> GeoBox:
    """The 10 m pixels of the tile."""
    return GeoBox((SIDE_PX, SIDE_PX), from_origin(LEFT, TOP, 10, 10), CRS)


def write_tile_archive(folder: Path) -> Path:
    """Write the archive unless it is there; returns its item collection."""
    items = folder / "items.json"
    if items.is_file():
        return items
    rng = np.random.default_rng(20)
    smooth = _field(rng, 60) + 0.5 * _field(rng, 4)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda number: _scene(folder, number, smooth), range(DATES)))
    items.write_text(json.dumps({"type": "FeatureCollection", "features": made}))
    return items


def _field(rng: np.random.Generator, sigma: float) -> NDArray[np.float32]:
    field = gaussian_filter(rng.standard_normal((SIDE_PX, SIDE_PX)).astype("float32"), sigma, mode="wrap")
    return field / field.std()


def _scene(folder: Path, number: int, smooth: NDArray[np.float32]) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    when = datetime(2020, 1, 6, 3, 40, tzinfo=UTC) + timedelta(days=15 * number)
    name = f"S2A_47NPD_{when:%Y%m%d}_0_L2A"
    cloud = zoom(_field(rng, 40)[::4, ::4], 2, order=1) > 0.4
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for band, resolution in BANDS.items():
        step = resolution // 10
        if band == "scl":
            pixels = np.where(cloud, 9, 4).astype("uint8")
        else:
            white = np.repeat(np.repeat(cloud, 2 // step, 0), 2 // step, 1)
            ground = LEVEL[band] * (1 + 0.2 * smooth[::step, ::step] + 0.05 * np.sin(number / 3))
            noise = rng.normal(0, 25, ground.shape)
            pixels = (
                (np.where(white, 6000 + 400 * smooth[::step, ::step], ground) + noise).clip(1, 20000).astype("uint16")
            )
        _write(place / f"{band}.tif", pixels, resolution)
    return _item(name, when, place)


def _write(path: Path, pixels: NDArray[Any], resolution: int) -> None:
    profile = {
        "driver": "COG",
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "count": 1,
        "dtype": pixels.dtype,
        "crs": CRS,
    }
    options = {"compress": "deflate", "predictor": 2, "blocksize": 512, "overviews": "none", "nodata": 0}
    with rasterio.open(
        path, "w", transform=from_origin(LEFT, TOP, resolution, resolution), **profile, **options
    ) as file:
        file.write(pixels, 1)


def _item(name: str, when: datetime, place: Path) -> dict[str, Any]:
    lonlat = tile_geobox().extent.to_crs("EPSG:4326")
    assets = {}
    for band, resolution in BANDS.items():
        side = SIDE_PX * 10 // resolution
        raster = {"data_type": "uint8" if band == "scl" else "uint16", "nodata": 0, "spatial_resolution": resolution}
        assets[band] = {
            "href": f"{place.name}/{band}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "proj:shape": [side, side],
            "proj:transform": [resolution, 0, LEFT, 0, -resolution, TOP],
            "raster:bands": [raster if band == "scl" else {**raster, "scale": 0.0001, "offset": 0}],
        }
    for band in ("coastal", "rededge1", "rededge2", "rededge3", "nir08"):
        assets[band] = assets["nir"]
    box = lonlat.boundingbox
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a", "geometry": lonlat.json,
        "bbox": [box.left, box.bottom, box.right, box.top], "links": [], "assets": assets,
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "properties": {
            "datetime": when.isoformat().replace("+00:00", "Z"), "platform": "sentinel-2a", "constellation": "sentinel-2",
            "instruments": ["msi"], "proj:epsg": 32647, "mgrs:utm_zone": 47, "mgrs:latitude_band": "N", "mgrs:grid_square": "PD",
            "grid:code": "MGRS-47NPD", "sat:relative_orbit": 18, "s2:processing_baseline": "02.14", "earthsearch:boa_offset_applied": False,
            "s2:generation_time": when.isoformat().replace("+00:00", "Z"), "created": when.isoformat(),
        },
    }  # fmt: skip
