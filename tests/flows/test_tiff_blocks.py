"""A window read straight from the blocks of a TIFF file has the pixels that GDAL reads, and files of other kinds are left to GDAL."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from rasterio.windows import Window

from flows.steps.loading.reading import UnreadBand, read_band
from flows.steps.loading.tiff_blocks import block_layout, read_window
from products.scene import BandFile

HEIGHT, WIDTH = 75, 100
TILES = {"tiled": True, "blockxsize": 32, "blockysize": 16}
STRIPS = {"blockysize": 8}
DEFLATE: Mapping[str, Any] = {"compress": "deflate"}


def write(path: Path, dtype: str, bands: int = 1, **options: Any) -> Path:
    """Random integers of the whole range of a type; few of them, so that differences run over its ends."""
    rng = np.random.default_rng(3)
    ends = np.iinfo(dtype)
    pixels = rng.choice(np.array([ends.min, ends.max, 0, 1, 77], dtype), (bands, HEIGHT, WIDTH))
    profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": bands, "dtype": dtype, "crs": "EPSG:32647"}
    with rasterio.open(path, "w", transform=from_origin(0, 0, 10, 10), **profile, **options) as file:
        file.write(pixels)
    return path


def read_both(path: Path, window: Window, layer: int, out: NDArray[Any]) -> tuple[bool, NDArray[Any]]:
    """Whether the blocks were read here, and what GDAL reads."""
    with rasterio.open(path) as source:
        read_window(source, layer, window, out)
        return block_layout(source, layer, window, out) is not None, source.read(layer, window=window)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("blocks", [TILES, STRIPS], ids=["tiles", "strips"])
def test_any_window_has_the_pixels_that_gdal_reads(
    dtype: str, predictor: int, blocks: Mapping[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tif", dtype, 2, predictor=predictor, interleave="band", **DEFLATE, **blocks)

    @settings(max_examples=12, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        top, left = data.draw(st.integers(0, HEIGHT - 1)), data.draw(st.integers(0, WIDTH - 1))
        height, width = data.draw(st.integers(1, HEIGHT - top)), data.draw(st.integers(1, WIDTH - left))
        room = np.full((height + 4, width + 4), 9, dtype)
        window, layer = Window(left, top, width, height), data.draw(st.integers(1, 2))
        is_ours, expected = read_both(path, window, layer, room[2:-2, 2:-2])
        assert is_ours
        np.testing.assert_array_equal(room[2:-2, 2:-2], expected)
        room[2:-2, 2:-2] = 9
        assert (room == 9).all()

    check()


def test_bytes_are_read_into_wider_integers(tmp_path: Path) -> None:
    out = np.empty((HEIGHT, WIDTH), np.uint16)
    path = write(tmp_path / "a.tif", "uint8", predictor=2, **DEFLATE, **TILES)
    is_ours, expected = read_both(path, Window(0, 0, WIDTH, HEIGHT), 1, out)
    assert is_ours
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("dtype", "bands", "options"),
    [
        ("uint16", 1, {"compress": "lzw"}),
        ("uint16", 1, {}),
        ("uint16", 1, {**DEFLATE, "ENDIANNESS": "BIG", "predictor": 2}),
        ("uint16", 3, {**DEFLATE, "interleave": "pixel"}),
        ("uint8", 1, {**DEFLATE, "nbits": 7}),
        ("int32", 1, {**DEFLATE, "predictor": 2}),
    ],
    ids=["lzw", "plain", "big-endian", "interleaved", "seven bits", "wide"],
)
def test_files_of_other_kinds_are_read_by_gdal(
    dtype: str, bands: int, options: Mapping[str, Any], tmp_path: Path
) -> None:
    out = np.empty((HEIGHT, WIDTH), dtype)
    path = write(tmp_path / "a.tif", dtype, bands, **options)
    is_ours, expected = read_both(path, Window(0, 0, WIDTH, HEIGHT), bands, out)
    assert not is_ours
    np.testing.assert_array_equal(out, expected)


def test_a_file_that_lacks_a_block_is_read_by_gdal(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 1, "dtype": "uint16", "nodata": 5}
    blocks = {"tiled": True, "blockxsize": 32, "blockysize": 32}
    with rasterio.open(
        path, "w", crs="EPSG:32647", transform=from_origin(0, 0, 10, 10), sparse_ok=True, **profile, **DEFLATE, **blocks
    ) as file:
        file.write(np.full((32, 32), 7, np.uint16), 1, window=Window(0, 0, 32, 32))
    out = np.empty((64, 64), np.uint16)
    is_ours, expected = read_both(path, Window(0, 0, 64, 64), 1, out)
    assert not is_ours and (out[:32, :32] == 7).all() and (out[32:] == 5).all()
    np.testing.assert_array_equal(out, expected)


def test_an_overview_has_blocks_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", "uint16", predictor=2, **DEFLATE, **TILES)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    with rasterio.open(path, overview_level=0) as source:
        out = np.empty(source.shape, np.uint16)
        read_window(source, 1, Window(0, 0, source.width, source.height), out)
        np.testing.assert_array_equal(out, source.read(1))


@pytest.mark.parametrize("damage", ["changed", "cut off"])
def test_a_damaged_block_is_unread_and_named(damage: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", "uint16", predictor=2, **DEFLATE, **TILES)
    with rasterio.open(path) as source:
        offset, size = (int(source.get_tag_item(f"BLOCK_{what}_1_2", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    content = bytearray(path.read_bytes())
    if damage == "changed":
        content[offset + size // 2] ^= 0xFF
    else:
        del content[offset + 5 :]
    path.write_bytes(content)
    geobox = GeoBox((HEIGHT, WIDTH), from_origin(0, 0, 10, 10), "EPSG:32647")
    file = BandFile(str(path), 1.0, 0.0, 0)
    with pytest.raises(UnreadBand, match="a.tif: the block of row 32 and column 32 cannot be decompressed"):
        read_band(file, geobox, "nearest", np.empty((HEIGHT, WIDTH), np.uint16))
