"""A band file lands on the pixels of a tile: exactly where grids agree, resampled where not, and any crop the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio._env import get_gdal_config

from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import UnreadBand, gdal_path, read_band, warp_band
from products.scene import BandFile

CORNER = (500_000.0, 300_000.0)


def written(
    path: Path, resolution_m: float = 10.0, crs: str = "EPSG:32647", corner: tuple[float, float] = CORNER
) -> BandFile:
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:240, 0:240] / 20
    pixels = (8000 + 2000 * np.sin(y) * np.cos(x) + random.integers(0, 500, y.shape)).astype(np.uint16)
    pixels[random.random(pixels.shape) < 0.02] = 0
    profile = {"driver": "GTiff", "height": 240, "width": 240, "count": 1, "dtype": "uint16", "crs": crs, "nodata": 0}
    transform = Affine(resolution_m, 0, corner[0], 0, -resolution_m, corner[1])
    with rasterio.open(path, "w", **profile, transform=transform, tiled=True, blockxsize=64, blockysize=64) as file:
        file.write(pixels, 1)
    return BandFile(str(path), 1e-4, 0.0, 0)


def target(resolution_m: float, side: int, dx_m: float = 0.0, dy_m: float = 0.0) -> GeoBox:
    affine = Affine(resolution_m, 0, CORNER[0] + dx_m, 0, -resolution_m, CORNER[1] - dy_m)
    return GeoBox((side, side), affine, CRS("EPSG:32647"))


def read(file: BandFile, geobox: GeoBox, method: str = "nearest") -> NDArray[np.uint16]:
    out = np.full(geobox.shape, 7, np.uint16)
    read_band(file, geobox, method, out)
    return out


def stored(file: BandFile) -> NDArray[np.uint16]:
    with rasterio.open(file.href) as source:
        return np.asarray(source.read(1))


@pytest.mark.parametrize("method", ["nearest", "average", "bilinear", "cubic"])
def test_on_the_same_grid_pixels_are_read_as_they_are(tmp_path: Path, method: str) -> None:
    file = written(tmp_path / "band.tif")
    out = np.empty((50, 50), np.uint16)
    done = read_band(file, target(10, 50, 300, 700), method, out)

    np.testing.assert_array_equal(out, stored(file)[70:120, 30:80])
    assert (done.decoded_bytes, done.covered, done.note) == (5000, None, "")


def test_partly_outside_the_file_is_nodata_and_not_covered(tmp_path: Path) -> None:
    file = written(tmp_path / "band.tif")
    out = np.empty((40, 40), np.uint16)
    done = read_band(file, target(10, 40, -100, -200), "nearest", out)

    assert done.covered is not None
    np.testing.assert_array_equal(done.covered[20:, 10:], True)
    assert done.covered.sum() == 20 * 30
    assert (out[~done.covered] == 0).all()
    np.testing.assert_array_equal(out[20:, 10:], stored(file)[:20, :30])


@pytest.mark.parametrize("method", ["nearest", "average", "cubic"])
@pytest.mark.parametrize("resolution_m", [10, 30])
def test_wholly_outside_the_file_is_nodata(tmp_path: Path, method: str, resolution_m: int) -> None:
    out = np.full((20, 20), 7, np.uint16)
    done = read_band(written(tmp_path / "band.tif"), target(resolution_m, 20, 90_000), method, out)

    assert (out == 0).all()
    assert done.covered is not None
    assert not done.covered.any()


def test_ten_metres_become_thirty_by_area_average(tmp_path: Path) -> None:
    file = written(tmp_path / "band.tif")
    blocks = stored(file).reshape(80, 3, 80, 3).astype(float)
    mean = blocks.sum((1, 3)) / (blocks > 0).sum((1, 3))

    np.testing.assert_array_equal(read(file, target(30, 80), "average"), np.floor(mean + 0.5))


def test_twenty_metre_masks_are_repeated_at_ten(tmp_path: Path) -> None:
    file = written(tmp_path / "mask.tif", resolution_m=20)

    np.testing.assert_array_equal(read(file, target(10, 480)), stored(file).repeat(2, 0).repeat(2, 1))


def test_a_shifted_grid_is_interpolated_by_cubic(tmp_path: Path) -> None:
    file = written(tmp_path / "band.tif", resolution_m=30, corner=(CORNER[0] - 15, CORNER[1] + 15))
    out = read(file, target(30, 60, 900, 900), "cubic").astype(float)
    around = stored(file)[30:92, 30:92].astype(float)
    low, high = around[around > 0].min(), around.max()

    assert (out > 0).mean() > 0.9
    assert (out[out > 0] > low - 1500).all()
    assert (out < high + 1500).all()


OTHER_ZONE = ("EPSG:32648", (-168_300.0, 300_300.0))
CROPS = [np.s_[0:30, 0:30], np.s_[13:41, 21:60], np.s_[31:60, 5:6], np.s_[58:60, 0:60]]


@pytest.mark.parametrize("method", ["nearest", "average", "bilinear", "cubic"])
@pytest.mark.parametrize(
    ("file_m", "target_m", "shift_m", "crs", "corner"),
    [
        (10, 10, 0, "EPSG:32647", CORNER),
        (10, 30, 15, "EPSG:32647", CORNER),
        (20, 10, 0, "EPSG:32647", CORNER),
        (30, 30, 15, "EPSG:32647", CORNER),
        (17.3, 30, 4, "EPSG:32647", CORNER),
        (10, 30, 0, *OTHER_ZONE),
        (30, 30, 0, *OTHER_ZONE),
        (30, 10, 2400, *OTHER_ZONE),
    ],
)
def test_a_crop_of_the_whole_gives_the_same_pixels(
    tmp_path: Path, method: str, file_m: float, target_m: float, shift_m: float, crs: str, corner: tuple[float, float]
) -> None:
    file = written(tmp_path / "band.tif", file_m, crs, corner)
    geobox = target(target_m, 60, shift_m, shift_m)
    whole = np.empty(geobox.shape, np.uint16)
    covered = read_band(file, geobox, method, whole).covered
    assert (whole > 0).any()
    for crop in CROPS:
        part = np.empty(geobox[crop].shape, np.uint16)
        done = read_band(file, geobox[crop], method, part)
        np.testing.assert_array_equal(part, whole[crop])
        everywhere = np.ones(geobox.shape, bool) if covered is None else covered
        np.testing.assert_array_equal(
            np.ones(part.shape, bool) if done.covered is None else done.covered, everywhere[crop]
        )


def test_another_zone_puts_pixels_where_they_lie(tmp_path: Path) -> None:
    here, there = written(tmp_path / "here.tif"), tmp_path / "there.tif"
    from rasterio.warp import Resampling, calculate_default_transform, reproject

    with rasterio.open(here.href) as source:
        transform, width, height = calculate_default_transform(
            source.crs, "EPSG:32648", 240, 240, *source.bounds, resolution=5
        )
        profile = source.profile | {"crs": "EPSG:32648", "transform": transform, "width": width, "height": height}
        with rasterio.open(there, "w", **profile) as file:
            reproject(rasterio.band(source, 1), rasterio.band(file, 1), resampling=Resampling.nearest)
    geobox = target(10, 100, 500, 500)
    agree = read(BandFile(str(there), 1, 0, 0), geobox) == read(here, geobox)

    assert agree.mean() > 0.95


def test_a_truncated_file_is_unread_and_named(tmp_path: Path) -> None:
    file = written(tmp_path / "broken.tif")
    path = Path(file.href)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(UnreadBand, match=r"cannot read .*broken\.tif: .+"):
        read(file, target(10, 240))


@pytest.mark.parametrize("content", [None, b"", b"not a picture"])
def test_a_missing_or_foreign_file_is_unread_and_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "band.tif"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UnreadBand, match=r"cannot read .*band\.tif"):
        read(BandFile(str(path), 1, 0, 0), target(10, 10))


def test_a_layer_that_the_file_lacks_is_unread(tmp_path: Path) -> None:
    file = written(tmp_path / "band.tif")

    with pytest.raises(UnreadBand, match=r"cannot read .*band\.tif: it has 1 layers, expected a layer 3"):
        read(BandFile(file.href, 1, 0, 0, layer=3), target(10, 10))


LOCAL = 'LOCAL_CS["somewhere",UNIT["metre",1]]'


@pytest.mark.parametrize(
    ("crs", "dtype", "message"),
    [
        (None, "uint16", "it has no coordinate system, expected a georeferenced raster"),
        (LOCAL, "uint16", ".+"),
        ("EPSG:32647", "float32", "its layer 1 holds float32, expected digital numbers: integers of 8 or 16 bit"),
        ("EPSG:32647", "uint32", "its layer 1 holds uint32, expected digital numbers"),
        ("EPSG:32648", "float64", "its layer 1 holds float64, expected digital numbers"),
    ],
)
def test_a_file_of_nowhere_or_of_odd_numbers_is_unread_and_named(
    tmp_path: Path, crs: str | None, dtype: str, message: str
) -> None:
    path = tmp_path / "odd.tif"
    profile = {"driver": "GTiff", "height": 240, "width": 240, "count": 1, "dtype": dtype, "nodata": 0}
    place = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
    with rasterio.open(path, "w", **profile, transform=place, **({"crs": crs} if crs else {})) as file:
        file.write(np.full((240, 240), 1, dtype), 1)
    for factor in (1, 3):
        with pytest.raises(UnreadBand, match=rf"cannot read .*odd\.tif: {message}"):
            read(BandFile(str(path), 1e-4, 0.0, 0, by_overview=factor > 1), target(10 * factor, 20), "average")


@pytest.mark.parametrize("crs", [None, LOCAL])
def test_a_raster_of_nowhere_is_unread_and_named(tmp_path: Path, crs: str | None) -> None:
    path = tmp_path / "elevation.tif"
    profile = {"driver": "GTiff", "height": 40, "width": 40, "count": 1, "dtype": "float32"}
    place = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
    with rasterio.open(path, "w", **profile, transform=place, **({"crs": crs} if crs else {})) as file:
        file.write(np.ones((40, 40), "float32"), 1)
    with pytest.raises(UnreadBand, match=r"cannot read .*elevation\.tif: .+"):
        warp_band(str(path), 1, -9999.0, target(10, 20), "bilinear", np.empty((20, 20), np.float32))


def test_a_file_that_is_not_as_large_as_catalogued_is_believed_with_a_note(tmp_path: Path) -> None:
    file = written(tmp_path / "band.tif")
    catalogued = BandFile(file.href, 1, 0, 0, shape=(10_980, 10_980))
    done = read_band(catalogued, target(10, 20), "nearest", np.empty((20, 20), np.uint16))

    assert done.note == "the file has 240 x 240 pixels, the catalogue says 10980 x 10980: the file is believed"


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("s3://bucket/key.tif", "/vsis3/bucket/key.tif"),
        ("https://host/a.tif", "/vsicurl/https://host/a.tif"),
        ("file:///data/a.tif", "/data/a.tif"),
        ("/data/a.tif", "/data/a.tif"),
    ],
)
def test_an_href_becomes_a_gdal_path(href: str, path: str) -> None:
    assert gdal_path(href) == path


OTHERS = GeoBox((40, 40), Affine(30, 0, 500_300, 0, -30, 299_600), CRS("EPSG:32647"))
POLAR = GeoBox((40, 40), Affine(30, 0, -1.6e6, 0, -30, -1.5e6), CRS("EPSG:3031"))
GRIDS: dict[str, tuple[float, str, tuple[float, float] | None, GeoBox]] = {
    "of the same map": (10, "EPSG:32647", CORNER, OTHERS),
    "of the same map, half a pixel off": (30, "EPSG:32647", (499_215.0, 301_200.0), OTHERS),
    "of another zone": (30, "EPSG:32646", None, OTHERS),
    "in degrees": (0.0003, "EPSG:4326", None, OTHERS),
    "turned": (30, "EPSG:32708", None, POLAR),
}


@pytest.mark.parametrize("grids", GRIDS)
@pytest.mark.parametrize("method", ["average", "bilinear", "cubic"])
def test_what_a_saturated_pixel_counts_in_is_saturated_and_all_else_as_without_it(
    tmp_path: Path, method: str, grids: str
) -> None:
    resolution, crs, corner, geobox = GRIDS[grids]
    if corner is None:
        box = geobox.extent.to_crs(crs).boundingbox
        corner = (box.left - 20.3 * resolution, box.top + 20.6 * resolution)
    file = written(tmp_path / "band.tif", resolution, crs, corner)
    with rasterio.open(file.href, "r+") as source:
        smooth = np.maximum(source.read(1), 1)
        source.write(smooth, 1)
        row, column = (int(each) for each in source.index(*_middle(geobox, crs)))
    reads = {}
    for number in (8000, 9000, 65535):
        with rasterio.open(file.href, "r+") as source:
            numbers = smooth.copy()
            numbers[row, column], numbers[row, column + 2] = number, 0
            source.write(numbers, 1)
        reads[number] = read(file, geobox, method)
    weighed, marked = reads[8000] != reads[9000], reads[65535] == 65535
    assert weighed.sum() >= 1 and marked[weighed].all()
    assert marked.sum() <= (weighed.sum() if method == "average" and grids != "turned" else 30)
    np.testing.assert_array_equal(reads[65535][~marked], reads[8000][~marked])
    np.testing.assert_array_equal(read(file, geobox[11:31, 9:35], method), reads[65535][11:31, 9:35])


def _middle(geobox: GeoBox, crs: str) -> tuple[float, float]:
    x, y = geobox.extent.centroid.to_crs(crs).coords[0]
    return x, y


@pytest.mark.parametrize("method", ["nearest", "average", "bilinear", "cubic"])
def test_a_nodata_of_65535_is_not_saturated(tmp_path: Path, method: str) -> None:
    file = written(tmp_path / "band.tif")
    with rasterio.open(file.href, "r+") as source:
        source.nodata = 65535
        numbers = np.full(source.shape, 8000, np.uint16)
        numbers[50:53, 50:53] = 65535
        source.write(numbers, 1)
    found = read(replace(file, nodata=65535), target(30, 40), method)
    assert set(np.unique(found)) <= {8000, 65535} and (found == 65535).sum() <= 4


def test_gdal_keeps_a_row_of_blocks_so_that_a_coarse_look_decodes_each_once() -> None:
    blocks_of_a_row = 11 * 1024 * 1024 * 2  # bytes of 10 m Sentinel-2 of 10,980 pixels
    with RasterAccess().env():
        assert get_gdal_config("GDAL_CACHEMAX") > blocks_of_a_row
