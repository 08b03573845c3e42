"""A clip of a file reads like the whole file wherever it has the pixels, and is not used elsewhere."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from flows.steps.archives.source_bytes import CopyFailed, FileAccess
from flows.steps.loading.clips import as_whole_file, holds_tile, united, window_over
from flows.steps.loading.mirror_locations import read_nearest
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import UnreadBand, read_band
from flows.steps.mirroring.file_copy import Stopped
from flows.steps.mirroring.file_recode import CLIPPED, STAGED, recode_file, window_to_copy
from products.scene import BandFile, BandPlace, Clip

CORNER = (500_000.0, 300_000.0)
SHAPE = (700, 900)
WHOLE = Clip((0, 0, *SHAPE), "EPSG:32647", (10.0, 0.0, CORNER[0], 0.0, -10.0, CORNER[1]), SHAPE, ("uint16",))


@pytest.fixture
def source(tmp_path: Path) -> BandFile:
    """A file of 700 x 900 pixels of 10 m with holes, in a path that XML has to escape."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]] / 20
    pixels = (8000 + 2000 * np.sin(y) * np.cos(x) + random.integers(0, 500, y.shape)).astype(np.uint16)
    pixels[random.random(pixels.shape) < 0.02] = 0
    return written(tmp_path / "a & b <c>.tif", pixels)


def written(path: Path, pixels: NDArray[np.uint16]) -> BandFile:
    profile = {"driver": "GTiff", "height": pixels.shape[-2], "width": pixels.shape[-1], "dtype": pixels.dtype.name}
    layers = pixels if pixels.ndim == 3 else pixels[None]
    transform = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
    with rasterio.open(
        path, "w", **profile, count=len(layers), crs="EPSG:32647", nodata=0, transform=transform
    ) as file:
        file.write(layers)
    return BandFile(str(path), 1e-4, 0.0, 0)


def target(resolution_m: float, side: int, dx_m: float, dy_m: float, crs: str = "EPSG:32647") -> GeoBox:
    affine = Affine(resolution_m, 0, CORNER[0] + dx_m, 0, -resolution_m, CORNER[1] - dy_m)
    return GeoBox((side, side), affine, CRS(crs))


def recoded(source: BandFile, target_path: Path, window: tuple[int, int, int, int], encoding: str) -> BandPlace:
    made = recode_file(source.href, str(target_path), encoding, window, RasterAccess(), FileAccess(), threading.Event())
    assert Path(made.copied.href).stat().st_size == made.copied.size_bytes
    return BandPlace(made.copied.href, made.copied.size_bytes, made.clip)


@pytest.mark.parametrize("encoding", [CLIPPED, STAGED])
@pytest.mark.parametrize("method", ["nearest", "average", "bilinear", "cubic"])
@pytest.mark.parametrize(
    "geobox",
    [
        target(10, 100, 3000, 2500),
        target(10, 100, 3003.3, 2501.7),
        target(30, 40, 3015, 2505),
        target(5, 200, 3000, 2500),
        target(30, 40, 3000, 2500, "EPSG:32648").translate_pix(-22_000, 0),
    ],
    ids=["same grid", "shifted", "coarser", "finer", "other zone"],
)
def test_a_clip_gives_the_pixels_of_the_whole_file(
    source: BandFile, tmp_path: Path, geobox: GeoBox, method: str, encoding: str
) -> None:
    if str(geobox.crs) == "EPSG:32648":
        centre = WHOLE_BOX.extent.centroid.to_crs(geobox.crs).coords[0]
        geobox = GeoBox((40, 40), Affine(30, 0, centre[0] - 600, 0, -30, centre[1] + 600), geobox.crs)
    window = window_over(geobox.extent, WHOLE)
    assert window is not None
    assert window[2] * window[3] < 0.6 * SHAPE[0] * SHAPE[1]
    place = recoded(source, tmp_path / "clip.tif", window, encoding)
    expected, out = np.empty(geobox.shape, np.uint16), np.empty(geobox.shape, np.uint16)
    whole = read_band(source, geobox, method, expected)
    Path(source.href).unlink()
    read = read_nearest(replace(source, places=(place, BandPlace(source.href))), geobox, method, out)

    np.testing.assert_array_equal(out, expected)
    assert expected.any()
    assert (read.note, read.decoded_bytes) == ("", whole.decoded_bytes)
    np.testing.assert_array_equal(np.asarray(read.covered), np.asarray(whole.covered))


WHOLE_BOX = GeoBox(SHAPE, Affine(*WHOLE.transform), CRS(WHOLE.crs))


def test_a_clip_at_the_edge_of_the_file_covers_what_the_file_covers(source: BandFile, tmp_path: Path) -> None:
    geobox = target(10, 100, -500, -300)
    window = window_over(geobox.extent, WHOLE)
    assert window == (0, 0, 134, 114)
    place = recoded(source, tmp_path / "clip.tif", window, CLIPPED)
    expected, out = np.empty(geobox.shape, np.uint16), np.empty(geobox.shape, np.uint16)
    whole = read_band(source, geobox, "nearest", expected)
    read = read_nearest(replace(source, places=(place,)), geobox, "nearest", out)

    np.testing.assert_array_equal(out, expected)
    assert read.covered is not None
    np.testing.assert_array_equal(read.covered, whole.covered)


def test_a_tile_that_leaves_the_clip_is_read_from_the_source(source: BandFile, tmp_path: Path) -> None:
    place = recoded(source, tmp_path / "clip.tif", (200, 200, 300, 300), CLIPPED)
    assert place.clip is not None
    inside, outside = target(10, 100, 3000, 3000), target(10, 100, 4500, 3000)
    assert holds_tile(place.clip, inside)
    assert not holds_tile(place.clip, outside)
    expected, out = np.empty(outside.shape, np.uint16), np.empty(outside.shape, np.uint16)
    read_band(source, outside, "nearest", expected)
    read = read_nearest(replace(source, places=(place, BandPlace(source.href))), outside, "nearest", out)

    np.testing.assert_array_equal(out, expected)
    assert read.note == ""


def test_a_ground_beside_the_file_has_no_window(source: BandFile) -> None:
    assert window_over(target(10, 10, -9000, 0).extent, WHOLE) is None
    assert holds_tile(replace(WHOLE, window=(0, 0, 1, 1)), target(10, 10, -9000, 0))
    ground = target(10, 10, -9000, 0).extent
    assert window_to_copy(source.href, ground, None, RasterAccess()) is None


def test_a_clip_for_two_grounds_holds_both(source: BandFile) -> None:
    one, other = target(10, 50, 1000, 1000), target(10, 50, 6000, 4000)
    first = window_to_copy(source.href, one.extent, None, RasterAccess())
    assert first is not None
    kept = replace(WHOLE, window=first.window)
    both = window_to_copy(source.href, other.extent, kept, RasterAccess())
    assert both is not None
    assert both.window == united(first.window, window_over(other.extent, WHOLE) or first.window)
    assert not both.is_whole
    everything = window_to_copy(source.href, WHOLE_BOX.extent, None, RasterAccess())
    assert everything is not None
    assert everything.is_whole


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("encoding", [CLIPPED, STAGED])
def test_a_recoded_file_keeps_pixels_grid_and_layers(tmp_path: Path, encoding: str, dtype: str) -> None:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 250, (2, 600, 530)).astype(dtype)
    pixels[0, :9] = np.iinfo(dtype).max if dtype != "float32" else 1e30
    source = written(tmp_path / "source.tif", pixels)
    place = recoded(source, tmp_path / "there" / "copy.tif", (10, 20, 560, 500), encoding)
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["copy.tif"]

    with rasterio.open(place.href) as copy, rasterio.open(source.href) as whole:
        window = Window(20, 10, 500, 560)
        np.testing.assert_array_equal(copy.read(), pixels[:, 10:570, 20:520])
        assert (copy.dtypes, copy.nodata, copy.crs) == (whole.dtypes, whole.nodata, whole.crs)
        assert copy.transform == whole.window_transform(window)
        assert copy.block_shapes == [(512, 512)] * 2
    assert place.clip is not None
    with rasterio.open(as_whole_file(place.clip, place.href), sharing=False) as again:
        np.testing.assert_array_equal(again.read(2, window=window), pixels[1, 10:570, 20:520])


def test_a_damaged_copy_is_reported_and_the_source_is_read(source: BandFile, tmp_path: Path) -> None:
    geobox = target(10, 100, 3000, 2500)
    expected, out = np.empty(geobox.shape, np.uint16), np.empty(geobox.shape, np.uint16)
    read_band(source, geobox, "nearest", expected)
    place = recoded(source, tmp_path / "copy.tif", (0, 0, *SHAPE), STAGED)
    whole = Path(place.href).read_bytes()
    for damaged, words in (
        (whole[:1000], "it has 1000 bytes"),
        (whole[:1000] + bytes(len(whole) - 1000), "cannot read"),
        (None, "No such file"),
    ):
        Path(place.href).unlink() if damaged is None else Path(place.href).write_bytes(damaged)
        read = read_nearest(replace(source, places=(place, BandPlace(source.href))), geobox, "nearest", out)
        np.testing.assert_array_equal(out, expected)
        assert read.note.startswith(f"read from {source.href}: cannot read {place.href}")
        assert words in read.note
    Path(source.href).unlink()
    with pytest.raises(UnreadBand, match=r"copy\.tif: No such file.*; cannot read .*a & b"):
        read_nearest(replace(source, places=(place, BandPlace(source.href))), geobox, "nearest", out)


def test_a_source_that_cannot_be_recoded_says_why(source: BandFile, tmp_path: Path) -> None:
    whole = Path(source.href).read_bytes()
    Path(source.href).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CopyFailed, match=r"cannot copy .*a & b"):
        recoded(source, tmp_path / "copy.tif", (0, 0, *SHAPE), STAGED)
    with pytest.raises(CopyFailed, match="gone.tif: No such file"):
        window_to_copy(str(tmp_path / "gone.tif"), None, None, RasterAccess())
    stop = threading.Event()
    stop.set()
    Path(source.href).write_bytes(whole)
    with pytest.raises(Stopped, match="^$"):
        recode_file(source.href, str(tmp_path / "x.tif"), STAGED, (0, 0, *SHAPE), RasterAccess(), FileAccess(), stop)
    assert not (tmp_path / "x.tif").exists()
