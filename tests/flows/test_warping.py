"""Files of another CRS on the pixels of a tile: as GDAL resamples them with an exact transformation, and the same for any crop."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from scipy.ndimage import binary_erosion, gaussian_filter

from flows.steps.loading.warping import WARP_TOLERANCE_PX, warp
from products.window.lattice_warp import NODE_PX

TARGET = GeoBox.from_bbox((690_000, 440_000, 702_000, 451_010), CRS("EPSG:32647"), resolution=30, tight=True)
NODATA = 7


def scene(
    path: Path, crs: str, resolution: float, dtype: str, target: GeoBox = TARGET, nodata: int = NODATA, **options: Any
) -> Path:
    """A file of smooth ground with noise, holes and lone missing pixels, over the most of a target; its right edge lies in it."""
    random = np.random.default_rng(3)
    box = target.extent.to_crs(crs).boundingbox
    shape = int(box.span_y / resolution * 1.2), int(box.span_x / resolution * 0.8)
    largest = 250 if dtype == "uint8" else 60_000
    field = gaussian_filter(random.random(shape), 3)
    values = ((field - 0.4) * largest * 4 + random.normal(0, largest / 100, shape)).clip(0, largest)
    values[gaussian_filter(random.random(shape), 2) > 0.55] = nodata
    values[random.random(shape) < 0.01] = nodata
    place = from_origin(
        round(box.left / resolution) * resolution - 2.37 * resolution,
        round(box.top + 0.1 * box.span_y, 0 if resolution > 1 else 6) + 0.21 * resolution,
        resolution,
        resolution,
    )
    profile = {"driver": "GTiff", "height": shape[0], "width": shape[1], "count": 1, "dtype": dtype, "crs": crs}
    tiles = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate", **options}
    with rasterio.open(path, "w", transform=place, **profile, **tiles) as file:
        file.write(values.astype(dtype), 1)
    return path


def by_gdal(path: Path, target: GeoBox, method: str, nodata: int) -> NDArray[Any]:
    with rasterio.open(path) as source:
        scale = {"XSCALE": source.res[0] / target.resolution.x, "YSCALE": source.res[1] / target.resolution.x}
        with WarpedVRT(
            source, crs=str(target.crs), transform=target.affine, height=target.height, width=target.width,
            resampling=Resampling[method], src_nodata=nodata, nodata=nodata, tolerance=WARP_TOLERANCE_PX,
            **{key: repr(value) for key, value in scale.items()},
        ) as warped:  # fmt: skip
            return np.asarray(warped.read(1))


def warped_here(
    path: Path, target: GeoBox, method: str, dtype: str, nodata: float = NODATA
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    out = np.full(target.shape, 99, dtype)
    with rasterio.open(path) as source:
        _, covered = warp(source, 1, nodata, target, method, out)
    return out, covered


@pytest.mark.parametrize("crs", ["EPSG:32648", "EPSG:3857", "EPSG:32747"])
@pytest.mark.parametrize(("method", "resolution"), [("average", 10), ("average", 30), ("cubic", 30), ("nearest", 20)])
def test_pixels_are_those_of_gdal_but_where_a_file_ends(
    tmp_path: Path, crs: str, method: str, resolution: float
) -> None:
    path = scene(tmp_path / "scene.tif", crs, resolution, "uint16")
    ours, covered = warped_here(path, TARGET, method, "uint16")
    gdal = by_gdal(path, TARGET, method, NODATA).astype(int)
    assert 0.4 < covered.mean() < 0.9 and 0.3 < (ours != NODATA).mean() < 0.8
    inside = binary_erosion(covered, iterations=2, border_value=1)
    is_missing, gdal_misses = (ours == NODATA), (gdal == NODATA)
    apart = np.abs(ours.astype(int) - gdal)[inside & ~is_missing & ~gdal_misses]
    if method == "average":  # what a millionth of a pixel is counted by GDAL alone; and it rounds otherwise
        assert (is_missing != gdal_misses)[inside].mean() < 1e-4 and apart.max() <= 1 and (apart > 0).mean() < 0.02
    else:
        assert np.array_equal(is_missing, gdal_misses) and apart.max() <= 1 and (apart > 0).mean() < 1e-4


@pytest.mark.parametrize("method", ["average", "cubic", "nearest"])
def test_any_crop_gives_the_same_pixels(tmp_path: Path, method: str) -> None:
    path = scene(tmp_path / "scene.tif", "EPSG:32648", 30, "uint16")
    whole, covered = warped_here(path, TARGET, method, "uint16")
    for rows, columns in (
        (slice(3, 4), slice(0, 300)),
        (slice(100, 231), slice(77, 150)),
        (slice(200, 367), slice(5, 6)),
    ):
        part, part_covered = warped_here(path, TARGET[rows, columns], method, "uint16")
        assert np.array_equal(part, whole[rows, columns]) and np.array_equal(part_covered, covered[rows, columns])


def test_where_a_file_ends_within_a_pixel_the_mean_is_of_what_there_is(tmp_path: Path) -> None:
    path = scene(tmp_path / "scene.tif", "EPSG:32648", 10, "uint16")
    with rasterio.open(path, "r+") as file:
        values = np.where(np.arange(file.width) < file.width - 1, 1000, 5000).astype("uint16")
        file.write(np.broadcast_to(values, file.shape), 1)
    ours, covered = warped_here(path, TARGET, "average", "uint16")
    last = np.array([np.nonzero(row)[0].max() for row in covered if row.any() and not row.all()])
    assert len(last) > 100 and set(np.unique(ours[covered])) - {1000} != set()
    edge = np.array(
        [
            row[max(at - 1, 0) : at + 2].max()
            for row, at in zip(ours[covered.any(1) & ~covered.all(1)], last, strict=True)
        ]
    )
    assert (edge > 1300).all() and (edge <= 5000).all()


def test_small_integers_go_into_larger_ones_and_signed_or_fractional_ones_to_gdal(tmp_path: Path) -> None:
    path = scene(tmp_path / "classes.tif", "EPSG:32648", 20, "uint8")
    wide, _ = warped_here(path, TARGET, "nearest", "uint16")
    narrow, _ = warped_here(path, TARGET, "nearest", "uint8")
    assert np.array_equal(wide, narrow) and wide.max() > 100
    assert np.array_equal(narrow, by_gdal(path, TARGET, "nearest", NODATA))
    signed = scene(tmp_path / "signed.tif", "EPSG:32648", 30, "int16", nodata=-9)
    ours, covered = warped_here(signed, TARGET, "average", "int16", -9)
    assert np.array_equal(ours, by_gdal(signed, TARGET, "average", -9)) and covered.any()


def test_a_result_that_equals_nodata_is_moved_off_it(tmp_path: Path) -> None:
    path = scene(tmp_path / "scene.tif", "EPSG:32648", 30, "uint16")
    with rasterio.open(path, "r+") as file:
        file.write(
            np.full(
                file.shape, [NODATA - 1] * (file.width // 2) + [NODATA + 1] * (file.width - file.width // 2), "uint16"
            ),
            1,
        )
    ours, covered = warped_here(path, TARGET, "average", "uint16")
    inside = binary_erosion(covered, iterations=2, border_value=1)
    assert set(np.unique(ours[inside])) == {NODATA - 1, NODATA + 1}


def test_a_file_that_lies_elsewhere_is_not_read(tmp_path: Path) -> None:
    path = scene(tmp_path / "scene.tif", "EPSG:32648", 30, "uint16")
    away = GeoBox.from_bbox((500_000, 40_000, 503_000, 43_000), CRS("EPSG:32647"), resolution=30, tight=True)
    ours, covered = warped_here(path, away, "cubic", "uint16")
    assert (ours == NODATA).all() and not covered.any()


@pytest.mark.parametrize(
    ("crs", "west", "north"),
    [
        ("EPSG:32647", 500_000, 30_000),
        ("EPSG:32760", 810_000, 8_170_000),
        ("EPSG:3035", 4_500_000, 3_030_000),
        ("EPSG:6933", 11_000_000, 630_000),
        ("EPSG:3031", -15_000, 15_000),
    ],
)
@pytest.mark.parametrize("tall", [True, False])
def test_a_raster_of_the_world_is_read_under_any_tile(
    tmp_path: Path, crs: str, west: float, north: float, tall: bool
) -> None:
    target = GeoBox.from_bbox((west, north - 30_000, west + 30_000, north), CRS(crs), resolution=300, tight=True)
    top = 90 if tall or crs == "EPSG:3031" else 60
    profile = {
        "driver": "GTiff",
        "height": 2 * top * 5,
        "width": 1800,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:4326",
    }
    with rasterio.open(tmp_path / "world.tif", "w", transform=from_origin(-180, top, 0.2, 0.2), **profile) as file:
        file.write(np.ones(file.shape, "uint8"), 1)
    read, covered = warped_here(tmp_path / "world.tif", target, "nearest", "uint8", 0)
    assert (read == 1).all() and covered.all()


def test_a_target_smaller_than_the_distance_of_nodes_is_one_pixel_of_the_whole(tmp_path: Path) -> None:
    path = scene(tmp_path / "scene.tif", "EPSG:32648", 10, "uint16")
    whole, _ = warped_here(path, TARGET, "average", "uint16")
    at = np.s_[NODE_PX : NODE_PX + 1, NODE_PX - 1 : NODE_PX]
    assert np.array_equal(warped_here(path, TARGET[at], "average", "uint16")[0], whole[at])


ORIENTATIONS = {
    "south-up": (Affine(1, 0, 0, 0, -1, 1), lambda pixels: pixels[::-1]),
    "east to west": (Affine(-1, 0, 1, 0, 1, 0), lambda pixels: pixels[:, ::-1]),
    "turned by 90 degrees": (Affine(0, 1, 0, 1, 0, 0), lambda pixels: pixels.T),
    "turned by 270 degrees": (Affine(0, -1, 1, 1, 0, 0), lambda pixels: pixels.T[::-1]),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize(
    ("crs", "dtype"), [("EPSG:32648", "uint16"), ("EPSG:32648", "float32"), ("EPSG:4326", "float32")]
)
def test_a_file_is_read_the_same_however_its_rows_run(
    tmp_path: Path, crs: str, dtype: str, method: str, orientation: str
) -> None:
    resolution = 20.0 if crs != "EPSG:4326" else 20 / 111_320
    north_up = scene(tmp_path / "up.tif", crs, resolution, dtype)
    upright, covered = warped_here(north_up, TARGET[:200, :150], method, dtype)
    assert covered.mean() > 0.4
    unit, turned = ORIENTATIONS[orientation]
    with rasterio.open(north_up) as file:
        pixels, whole, profile = file.read(1), file.transform * Affine.scale(file.width, file.height), file.profile
    shown = turned(pixels)
    place = whole * unit * Affine.scale(1 / shown.shape[1], 1 / shown.shape[0])
    profile.update(height=shown.shape[0], width=shown.shape[1], transform=place)
    with rasterio.open(tmp_path / "turned.tif", "w", **profile) as file:
        file.write(shown, 1)
    ours, ours_covered = warped_here(tmp_path / "turned.tif", TARGET[:200, :150], method, dtype)
    assert (ours_covered != covered).mean() < 0.01
    inside = binary_erosion(covered, iterations=3)
    one, other = upright.astype(float)[inside], ours.astype(float)[inside]
    assert (np.isfinite(one) == np.isfinite(other)).mean() > 0.99
    both = np.isfinite(one) & np.isfinite(other) & (one != NODATA) & (other != NODATA)
    assert both.mean() > 0.3 and (np.abs(one - other)[both] <= 1 + 1e-5 * one[both]).mean() > 0.99


@pytest.mark.parametrize("method", ["bilinear", "cubic", "average"])
def test_strips_of_a_file_in_degrees_are_those_of_the_whole(tmp_path: Path, method: str) -> None:
    target = GeoBox.from_bbox((690_000, 6_640_000, 702_000, 6_651_010), CRS("EPSG:32647"), resolution=30, tight=True)
    path = scene(tmp_path / "degrees.tif", "EPSG:4326", 10 / 111_320, "float32", target)
    whole, covered = warped_here(path, target, method, "float32")
    assert np.isfinite(whole).mean() > 0.3
    for first in range(0, target.height, 60):
        rows = slice(first, min(first + 60, target.height))
        part, part_covered = warped_here(path, target[rows, :], method, "float32")
        np.testing.assert_array_equal(part, whole[rows])
        np.testing.assert_array_equal(part_covered, covered[rows])


def test_the_average_of_a_grid_that_is_turned_is_of_all_that_lies_under_a_pixel(tmp_path: Path) -> None:
    target = GeoBox.from_bbox(
        (-1_603_000, -1_503_000, -1_597_000, -1_497_000), CRS("EPSG:3031"), resolution=30, tight=True
    )
    path = scene(tmp_path / "polar.tif", "EPSG:32708", 10, "uint16", target)
    ours, covered = warped_here(path, target, "average", "uint16")
    n = 15
    fine, _ = warped_here(path, target.zoom_to(resolution=30 / n), "nearest", "uint16")
    blocks = fine.reshape(target.height, n, target.width, n).astype(float)
    is_valid = blocks != NODATA
    truth = (blocks * is_valid).sum((1, 3)) / np.maximum(is_valid.sum((1, 3)), 1)
    inside = binary_erosion(covered, iterations=2) & (is_valid.mean((1, 3)) > 0.3)
    assert inside.mean() > 0.2 and (ours[inside] != NODATA).all()
    assert np.corrcoef(ours[inside], truth[inside])[0, 1] > 0.99
    part, _ = warped_here(path, target[37:90, 21:160], "average", "uint16")
    np.testing.assert_array_equal(part, ours[37:90, 21:160])
