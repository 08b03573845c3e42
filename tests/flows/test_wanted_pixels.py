"""What lies beneath clouds alone is not decoded, and no wanted pixel changes by that."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from flows.steps.loading.reading import UnreadBand, read_band
from flows.steps.loading.wanted_pixels import SQUARE_PX, WantedPixels
from products.pixel.causes import Cause
from products.scene import BandFile

SIDE, BLOCK, CRS = 320, 64, "EPSG:32647"
PLACE = from_origin(0, 0, 10, 10)
CLEAR = np.arange(256) == Cause.USED


def written(path: Path, compress: str, place: Affine = PLACE) -> BandFile:
    """Random numbers in blocks of 64 pixels."""
    numbers = np.random.default_rng(8).integers(1, 9000, (SIDE, SIDE)).astype(np.uint16)
    profile = {
        "driver": "GTiff",
        "width": SIDE,
        "height": SIDE,
        "count": 1,
        "dtype": "uint16",
        "crs": CRS,
        "tiled": True,
    }
    blocks = {"blockxsize": BLOCK, "blockysize": BLOCK, "compress": compress, "predictor": 2}
    with rasterio.open(path, "w", transform=place, **profile, **blocks) as raster:
        raster.write(numbers, 1)
    return BandFile(str(path), 1.0, 0.0, 0)


def damage(file: BandFile, damaged: BandFile, blocks: list[str]) -> None:
    """Write a file anew with nothing in some blocks, named by column and row."""
    content = bytearray(Path(file.href).read_bytes())
    with rasterio.open(file.href) as source:
        for block in blocks:
            offset, size = (
                int(source.get_tag_item(f"BLOCK_{what}_{block}", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")
            )
            content[offset : offset + size] = bytes(size)
    Path(damaged.href).write_bytes(content)


@pytest.fixture(scope="module", params=["deflate", "lzw"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BandFile:
    """A file that is decoded here, and one that GDAL decodes."""
    return written(tmp_path_factory.mktemp("wanted") / "a.tif", request.param)


def masked(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Clouds but for some rectangles."""
    random, causes = np.random.default_rng(seed), np.full(shape, Cause.CLOUD, np.uint8)
    for _ in range(random.integers(0, 4)):
        (top, left), (height, width) = random.integers(0, shape), random.integers(1, 90, 2)
        causes[top : top + height, left : left + width] = Cause.USED
    return causes


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(-60, 60), st.integers(-60, 60), st.sampled_from([10, 20, 30, 5]))
def test_wanted_pixels_are_those_of_a_read_of_all(file: BandFile, seed: int, down: int, across: int, step: int) -> None:
    shape = (SIDE * 10 // step, (SIDE - 50) * 10 // step)
    geobox = GeoBox(shape, from_origin(10 * across, 10 * down, step, step), CRS)
    causes, whole, part = masked(shape, seed), np.empty(shape, np.uint16), np.empty(shape, np.uint16)
    read_band(file, geobox, "average", whole)
    read_band(file, geobox, "average", part, WantedPixels.of(causes, CLEAR))
    np.testing.assert_array_equal(part[causes == Cause.USED], whole[causes == Cause.USED])


# of the target: its CRS, and a side of its pixels in those of the file
GRIDS = [("EPSG:32648", 1.0), ("EPSG:32648", 3.0), ("EPSG:3995", 2.0), ("EPSG:3857", 1.4), ("EPSG:6933", 9.0)]


@pytest.mark.parametrize("pixel_m", [10, 400])
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32), grid=st.sampled_from(GRIDS), method=st.sampled_from(["nearest", "average", "cubic"]),
    north_m=st.sampled_from([5_000, 450_000, 7_900_000]), away=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)  # fmt: skip
def test_wanted_pixels_of_another_crs_are_those_of_a_read_of_all(
    tmp_path_factory: pytest.TempPathFactory, pixel_m: int, seed: int, grid: tuple[str, float], method: str, north_m: int,
    away: tuple[float, float],
) -> None:  # fmt: skip
    crs, step = grid
    file = written(
        tmp_path_factory.mktemp("turned") / "a.tif", "deflate", from_origin(480_000, north_m, pixel_m, pixel_m)
    )
    centre = GeoBox((SIDE, SIDE), from_origin(480_000, north_m, pixel_m, pixel_m), CRS).extent.centroid.to_crs(crs)
    ((x, y),), side = centre.coords, pixel_m * step
    shape = (round(250 / step) + 21, round(250 / step) + 40)
    left, top = x + away[0] * SIDE * pixel_m - shape[1] / 2 * side, y + away[1] * SIDE * pixel_m + shape[0] / 2 * side
    geobox = GeoBox(shape, from_origin(left, top, side, side), crs)
    causes, whole, part = masked(shape, seed), np.empty(shape, np.uint16), np.empty(shape, np.uint16)
    every, wanted = read_band(file, geobox, method, whole), WantedPixels.of(causes, CLEAR)
    found = read_band(file, geobox, method, part, wanted)
    np.testing.assert_array_equal(part[causes == Cause.USED], whole[causes == Cause.USED])
    np.testing.assert_array_equal(found.covered, every.covered)


def test_a_block_of_another_crs_is_decoded_only_where_a_pixel_of_it_is_wanted(tmp_path: Path) -> None:
    file = written(tmp_path / "whole.tif", "deflate", from_origin(200_000, 450_000, 10, 10))
    damaged = BandFile(str(tmp_path / "damaged.tif"), 1.0, 0.0, 0)
    damage(file, damaged, ["2_1"])
    ground = GeoBox((SIDE, SIDE), from_origin(200_000, 450_000, 10, 10), CRS)
    box = ground.extent.to_crs("EPSG:32646").boundingbox
    geobox = GeoBox((300, 300), from_origin(box.left, box.top, 10, 10), "EPSG:32646")
    block = ground[BLOCK : 2 * BLOCK, 2 * BLOCK : 3 * BLOCK].extent.to_crs("EPSG:32646").boundingbox
    columns, rows = ~geobox.affine * (np.array([block.left, block.right]), np.array([block.top, block.bottom]))
    causes, whole, part = np.zeros((300, 300), np.uint8), *(np.empty((300, 300), np.uint16) for _ in range(2))
    top, bottom = int(rows[0]) - SQUARE_PX - 8, int(rows[1]) + SQUARE_PX + 8
    left, right = int(columns[0]) - SQUARE_PX - 8, int(columns[1]) + SQUARE_PX + 8
    causes[top:bottom, left:right] = Cause.CLOUD
    read_band(file, geobox, "cubic", whole)
    read_band(damaged, geobox, "cubic", part, WantedPixels.of(causes, CLEAR))
    np.testing.assert_array_equal(part[causes == Cause.USED], whole[causes == Cause.USED])
    assert len(np.unique(part)) > 1000
    causes[(top + bottom) // 2, (left + right) // 2] = Cause.USED
    with pytest.raises(UnreadBand, match="the block of row 64 and column 128 cannot be decompressed"):
        read_band(damaged, geobox, "cubic", part, WantedPixels.of(causes, CLEAR))


def test_a_block_is_decoded_only_where_a_pixel_of_it_is_wanted(tmp_path: Path) -> None:
    file = written(tmp_path / "whole.tif", "deflate")
    damaged = BandFile(str(tmp_path / "damaged.tif"), 1.0, 0.0, 0)
    damage(file, damaged, ["2_1"])
    geobox, causes = GeoBox((SIDE, SIDE), from_origin(0, 0, 10, 10), CRS), np.zeros((SIDE, SIDE), np.uint8)
    around = (
        slice(BLOCK - 2 * SQUARE_PX, 2 * BLOCK + 2 * SQUARE_PX),
        slice(2 * BLOCK - 2 * SQUARE_PX, 3 * BLOCK + 2 * SQUARE_PX),
    )
    causes[around] = Cause.CLOUD
    whole, part = np.empty((SIDE, SIDE), np.uint16), np.empty((SIDE, SIDE), np.uint16)
    read_band(file, geobox, "nearest", whole)
    read_band(damaged, geobox, "nearest", part, WantedPixels.of(causes, CLEAR))
    assert (part[BLOCK : 2 * BLOCK, 2 * BLOCK : 3 * BLOCK] == 0).all()
    np.testing.assert_array_equal(part[causes == Cause.USED], whole[causes == Cause.USED])
    causes[BLOCK, 2 * BLOCK] = Cause.USED
    with pytest.raises(UnreadBand, match="the block of row 64 and column 128 cannot be decompressed"):
        read_band(damaged, geobox, "nearest", part, WantedPixels.of(causes, CLEAR))


@pytest.mark.parametrize("compress", ["deflate", "lzw"])
def test_nothing_is_read_around_what_is_wanted(compress: str, tmp_path: Path) -> None:
    file = written(tmp_path / "whole.tif", compress)
    damaged = BandFile(str(tmp_path / "damaged.tif"), 1.0, 0.0, 0)
    damage(file, damaged, [place for number in range(SIDE // BLOCK) for place in (f"{number}_0", f"0_{number}")])
    geobox, causes = GeoBox((SIDE, SIDE), from_origin(0, 0, 10, 10), CRS), np.full((SIDE, SIDE), Cause.CLOUD, np.uint8)
    whole, part = np.empty((SIDE, SIDE), np.uint16), np.empty((SIDE, SIDE), np.uint16)
    read_band(file, geobox, "nearest", whole)
    read_band(damaged, geobox, "nearest", part, WantedPixels.of(causes, CLEAR))
    assert (part == 0).all()
    causes[BLOCK + SQUARE_PX : 200, BLOCK + SQUARE_PX : 300] = Cause.USED
    read_band(damaged, geobox, "nearest", part, WantedPixels.of(causes, CLEAR))
    np.testing.assert_array_equal(part[causes == Cause.USED], whole[causes == Cause.USED])
    assert (part[:BLOCK] == 0).all() and (part[:, :BLOCK] == 0).all()
    with pytest.raises(UnreadBand, match=r"damaged\.tif"):
        read_band(damaged, geobox, "nearest", part)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 100), st.integers(1, 100))
def test_a_square_is_wanted_where_a_pixel_of_it_is(seed: int, height: int, width: int) -> None:
    causes = masked((height, width), seed)
    found = WantedPixels.of(causes, CLEAR)
    squares = [
        [
            (causes[top : top + SQUARE_PX, left : left + SQUARE_PX] == Cause.USED).any()
            for left in range(0, width, SQUARE_PX)
        ]
        for top in range(0, height, SQUARE_PX)
    ]
    np.testing.assert_array_equal(found.squares, squares)
    assert bool(found) == bool((causes == Cause.USED).any())
    assert not found.any_in(-90, -90, 0, 0) and not found.any_in(height + 90, 0, height + 99, 9)
    assert found.any_in(-5.5, -0.5, height + 3, width + 0.5) == bool(found)
