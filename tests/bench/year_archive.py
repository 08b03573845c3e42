"""The archive of the job as users have it: a year over one 30 m tile, in files as Landsat 5, 7 and 8 and 100 Sentinel-2 passes would leave them.

Half of the Landsat passes and one of the two tiles of each Sentinel-2 pass lie in the neighbouring UTM zone, so they are warped; the rows and tiles of a
pass overlap. No such year was: Landsat 5 ended before Sentinel-2 began. Pixels repeat after some dates, by hard link, so that the archive is quickly written.
"""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

from flows.steps.simulation.items import Processing, file_name, scene_item
from products.simulation.passes import PLATFORMS, Pass, sun_over

TILE_PX, RESOLUTION_M = 512, 30
LEFT, TOP = 15 + 45 * 15_360, 15 + 30 * 15_360  # a corner of the grid of tiles, anchored as Landsat's pixels
SIDE_M = TILE_PX * RESOLUTION_M
HOME_ZONE, NEXT_ZONE = "EPSG:32647", "EPSG:32648"
DISTINCT = 8  # dates of other pixels, per kind of scene
MSI_M = {"blue": 10, "green": 10, "red": 10, "nir_narrow": 20, "swir1": 20, "swir2": 20, "scl": 20}
MSI_SAME = {
    "coastal": "nir_narrow",
    "nir": "red",
    "rededge1": "nir_narrow",
    "rededge2": "nir_narrow",
    "rededge3": "nir_narrow",
}
LANDSAT = ("blue", "green", "red", "nir", "swir1", "swir2", "qa_pixel", "qa_radsat")
REFLECTANCE = {"blue": 0.05, "green": 0.08, "red": 0.07, "nir": 0.3, "nir_narrow": 0.3, "swir1": 0.18, "swir2": 0.1}
EVERY = {"landsat-5": 16, "landsat-7": 16, "landsat-8": 16, "sentinel-2a": 7.3, "sentinel-2b": 7.3}  # days
OPTIONS = {"driver": "COG", "compress": "deflate", "predictor": 2, "level": 1, "blocksize": 512, "overviews": "none"}


@dataclass(frozen=True)
class Kind:
    """A row or tile of a pass: its zone, its name, and the part of the tile's height or width that it covers, in shares."""

    zone: str
    name: str
    rows: tuple[float, float]
    columns: tuple[float, float]


KINDS = {
    "landsat-5": (Kind(HOME_ZONE, "127057", (-0.05, 0.7), (-0.05, 1.05)), Kind(HOME_ZONE, "127058", (0.4, 1.05), (-0.05, 1.05))),
    "landsat-7": (Kind(NEXT_ZONE, "126057", (-0.05, 0.7), (-0.05, 1.05)), Kind(NEXT_ZONE, "126058", (0.4, 1.05), (-0.05, 1.05))),
    "landsat-8": (Kind(HOME_ZONE, "127057", (-0.05, 0.7), (-0.05, 1.05)), Kind(HOME_ZONE, "127058", (0.4, 1.05), (-0.05, 1.05))),
    "sentinel-2": (Kind(HOME_ZONE, "47NPF", (-0.05, 1.05), (-0.05, 0.7)), Kind(NEXT_ZONE, "48NTL", (-0.05, 1.05), (0.5, 1.05))),
}  # fmt: skip


def tile_geobox() -> GeoBox:
    """The 30 m pixels of the tile."""
    return GeoBox.from_bbox(
        (LEFT, TOP - SIDE_M, LEFT + SIDE_M, TOP), CRS(HOME_ZONE), resolution=RESOLUTION_M, tight=True
    )


def write_year_archive(folder: Path) -> Path:
    """Write the archive unless it is there; returns its item collection."""
    items = folder / "items.json"
    if items.is_file():
        return items
    shutil.rmtree(folder, ignore_errors=True)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(partial(_write_scene, folder), *zip(*_scenes(), strict=True)))
    items.write_text(json.dumps({"type": "FeatureCollection", "features": made}))
    return items


def _scenes() -> Iterator[tuple[Pass, Kind, int]]:
    """Every pass with each of its rows or tiles; the number says whose pixels it has."""
    for platform in PLATFORMS:
        if platform.name not in EVERY:
            continue
        start = datetime(2020, 1, 2 + 3 * list(EVERY).index(platform.name), 3, 40, tzinfo=UTC)
        n_passes = int((366 - start.timetuple().tm_yday) / EVERY[platform.name]) + 1
        for number in range(n_passes):
            instant = start + timedelta(days=round(number * EVERY[platform.name]))
            kinds = KINDS["sentinel-2" if platform.sensor == "msi" else platform.name]
            for kind in kinds:
                track = 18 if platform.sensor == "msi" else int(kind.name[:3])
                yield Pass(platform, instant, track), kind, number % DISTINCT


def _write_scene(folder: Path, one: Pass, kind: Kind, number: int) -> dict[str, Any]:
    layers = dict(MSI_M) if one.is_msi else dict.fromkeys(LANDSAT, RESOLUTION_M)
    geoboxes = {layer: _geobox(kind, one.is_msi, metres) for layer, metres in layers.items()}
    if one.is_msi:
        geoboxes |= {layer: geoboxes[same] for layer, same in MSI_SAME.items()}
    elif one.platform.sensor == "oli":
        geoboxes["coastal"] = geoboxes["blue"]
    ground = geoboxes["blue"].extent.to_crs("EPSG:4326")
    processing = Processing(one.instant + timedelta(days=20), "02.14" if one.is_msi else "")
    item = scene_item(one, kind.name, geoboxes, ground, sun_over(101.0, 4.0, one.instant), 30.0, processing)
    place = folder / str(item["id"]).lower()  # no product id, which names of folders are read for
    place.mkdir(parents=True, exist_ok=True)
    for layer, geobox in geoboxes.items():
        drawn = (
            MSI_SAME.get(layer, "blue" if layer == "coastal" else layer) if one.is_msi or layer == "coastal" else layer
        )
        path = _pixels(folder, one, kind, number, drawn, geobox)
        (place / file_name(one, kind.name, layer, processing)).hardlink_to(path)
    for asset in item["assets"].values():
        asset["href"] = f"./{place.name}/{asset['href'].removeprefix('./')}"
    return item


def _geobox(kind: Kind, is_msi: bool, metres: int) -> GeoBox:
    """The part of the tile that a row or tile covers, on the sensor's grid in its zone."""
    whole = tile_geobox().extent.to_crs(CRS(kind.zone)).boundingbox
    across, down = whole.span_x, whole.span_y
    step, anchor = (60, 0) if is_msi else (30, 15)

    def snapped(value: float) -> float:
        return round((value - anchor) / step) * step + anchor

    left, right = (snapped(whole.left + across * share) for share in kind.columns)
    top, bottom = (snapped(whole.top - down * share) for share in kind.rows)
    return GeoBox.from_bbox((left, bottom, right, top), CRS(kind.zone), resolution=metres, tight=True)


def _pixels(folder: Path, one: Pass, kind: Kind, number: int, layer: str, geobox: GeoBox) -> Path:
    """The file of some pixels, written the first time that a scene asks for it."""
    path = folder / "pixels" / f"{'msi' if one.is_msi else one.platform.sensor}_{kind.name}_{number}_{layer}.tif"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    values = _values(one.is_msi, number, layer, geobox.shape)
    place = {"height": geobox.height, "width": geobox.width, "crs": str(geobox.crs), "transform": geobox.affine}
    partial_path = path.with_name(f"{path.stem}_{kind.zone[-2:]}_{one.instant:%j}.partial")
    nodata = {"nodata": 1 if layer == "qa_pixel" else 0} if layer != "qa_radsat" else {}
    with rasterio.open(partial_path, "w", **OPTIONS, count=1, dtype=values.dtype, **place, **nodata) as file:
        file.write(values, 1)
    partial_path.replace(path)
    return path


def _values(is_msi: bool, number: int, layer: str, shape: tuple[int, int]) -> NDArray[Any]:
    """Smooth ground with noise, clouds over a third: the same for all layers of a scene, drawn coarse."""
    random = np.random.default_rng(number)
    coarse = [gaussian_filter(random.standard_normal((64, 64)), sigma, mode="wrap") for sigma in (6, 2)]
    ground, cloud = (_stretched(field / field.std(), shape) for field in coarse)
    is_cloud = cloud > 0.45
    if layer == "scl":
        return np.where(is_cloud, 9, 4).astype(np.uint8)
    if layer == "qa_pixel":
        return np.where(is_cloud, 22280, 21824).astype(np.uint16)
    if layer == "qa_radsat":
        return np.zeros(shape, np.uint16)
    noise = np.random.default_rng([number, len(layer)]).normal(0, 0.004, shape)
    level = REFLECTANCE[layer] * (1 + 0.15 * ground)
    reflectance = np.where(is_cloud, 0.55 + 0.03 * ground, level) + noise
    numbers = reflectance / 1e-4 if is_msi else (reflectance + 0.2) / 2.75e-5
    return numbers.clip(1, 60_000).astype(np.uint16)


def _stretched(field: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    rows, columns = (np.arange(side) * 64 // side for side in shape)
    return field[rows[:, None], columns[None, :]]
