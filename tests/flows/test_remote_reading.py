"""Files in an object store: how many requests an asset takes, how many are under way at once, and the same pixels as from a disk."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import rasterio
import s3fs
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from datacube_config.settings import Settings
from flows.cell_memory import cell_bytes, fitting_strip_px
from flows.steps.loading.gdal_options import GDAL_OPTIONS, HEADER_BYTES
from flows.steps.loading.raster_access import RasterAccess, raster_access
from flows.steps.loading.reading import UnreadBand, read_band
from flows.steps.loading.tile_block import load_observations
from flows.steps.storage import s3_options
from products.registry import parse_recipe
from products.scene import REMOTE_WINDOW_BYTES, BandFile, BandPlace, Scene, reading_threads
from products.spec import FeaturesRecipe
from tests.flows.distant_store import DistantStore, distant_store

CORNER = (500_010.0, 300_000.0)
RECIPE = """
name: one_band
version: 1
kind: features
grid: {crs: "EPSG:32647", resolution_m: 30, tile_px: 256}
period: P1Y
sources:
  - {collection: landsat-c2-l2, clear: {dilate_px: 0}}
features:
  - band: {names: [red], reduce: [p50]}
"""
CLEAR = 21824


@dataclass
class Bucket:
    """A bucket behind a relay that counts: `put` takes pixels there, `access` reads them."""

    store: DistantStore
    access: RasterAccess
    put: Callable[..., BandFile]
    settings: Settings


@pytest.fixture
def bucket(neocube_home: Path, s3_endpoint: str, tmp_path: Path) -> Iterator[Bucket]:
    """A round trip to it takes 20 ms."""
    keys = {"s3_access_key_id": "who", "s3_secret_access_key": "secret", "s3_region": "eu-west-2"}
    near = Settings.model_validate({"home": neocube_home, "s3_endpoint_url": s3_endpoint, **keys})
    files = s3fs.S3FileSystem(**s3_options(near), skip_instance_cache=True)
    name = f"far-{tmp_path.name.replace('_', '-')[:40].lower().strip('-')}"
    files.mkdir(name)

    def put(key: str, pixels: NDArray[np.uint16], blocksize: int = 256, compress: str = "deflate") -> BandFile:
        path = tmp_path / f"{key}.tif"
        transform = Affine(30, 0, CORNER[0], 0, -30, CORNER[1])
        profile = {
            "driver": "COG",
            "count": 1,
            "dtype": "uint16",
            "crs": "EPSG:32647",
            "transform": transform,
            "nodata": 0,
        }
        shape = {"height": pixels.shape[0], "width": pixels.shape[1]}
        with rasterio.open(path, "w", **profile, **shape, blocksize=blocksize, compress=compress) as file:
            file.write(pixels, 1)
        files.put(str(path), f"{name}/{key}.tif")
        return BandFile(f"s3://{name}/{key}.tif", 2.75e-5, -0.2, 0)

    with distant_store(s3_endpoint, 0.02) as store:
        far = near.model_copy(update={"s3_endpoint_url": store.url, "decode_threads": 1, "remote_threads": 6})
        yield Bucket(store, raster_access(far), put, far)


def noise(side: int) -> NDArray[np.uint16]:
    return np.random.default_rng(side).integers(1, 60_000, (side, side)).astype(np.uint16)


def window(side: int, first: int) -> GeoBox:
    return GeoBox(
        (side, side), Affine(30, 0, CORNER[0] + 30 * first, 0, -30, CORNER[1] - 30 * first), CRS("EPSG:32647")
    )


def read(bucket: Bucket, file: BandFile, geobox: GeoBox) -> NDArray[np.uint16]:
    out = np.empty(geobox.shape, np.uint16)
    bucket.store.forget()
    with bucket.access.env():
        read_band(file, geobox, "nearest", out)
    return out


def test_an_asset_takes_one_request_for_its_header_and_one_for_each_row_of_blocks(bucket: Bucket) -> None:
    pixels = noise(1600)
    file = bucket.put("band", pixels)

    np.testing.assert_array_equal(read(bucket, file, window(700, 300)), pixels[300:1000, 300:1000])
    assert {method for method, _, _ in bucket.store.asked} == {"GET"}
    spans = [span for _, _, span in bucket.store.asked]
    assert spans[0] == (0, HEADER_BYTES - 1)
    assert len(spans) == 1 + len(range(300 // 256, 1000 // 256 + 1))
    assert bucket.store.answered_bytes < 1.5 * 2 * (3 * 256) ** 2


def test_a_window_beyond_ten_megabytes_is_asked_for_at_once_too(bucket: Bucket) -> None:
    pixels = noise(2816)
    file = bucket.put("large", pixels, blocksize=512, compress="none")

    np.testing.assert_array_equal(read(bucket, file, window(2300, 260)), pixels[260:2560, 260:2560])
    assert 10_000_000 < bucket.store.answered_bytes < REMOTE_WINDOW_BYTES
    assert len(bucket.store.asked) == 1 + 5
    assert bucket.store.most_open > 3


def test_a_second_look_at_a_file_asks_for_no_header(bucket: Bucket) -> None:
    pixels = noise(1600)
    file = bucket.put("twice", pixels)
    read(bucket, file, window(200, 600))

    np.testing.assert_array_equal(read(bucket, file, window(200, 900)), pixels[900:1100, 900:1100])
    assert all(span is not None and span[0] > 0 for _, _, span in bucket.store.asked)
    assert len(bucket.store.asked) == 2


def test_the_next_piece_of_work_reads_what_a_file_was_replaced_by(bucket: Bucket) -> None:
    before, after = noise(1600), noise(1600) // 2 + 1
    file = bucket.put("replaced", before)
    np.testing.assert_array_equal(read(bucket, file, window(200, 600)), before[600:800, 600:800])
    n_asked = len(bucket.store.asked)

    bucket.put("replaced", after)
    bucket.access = raster_access(bucket.settings)
    np.testing.assert_array_equal(read(bucket, file, window(200, 600)), after[600:800, 600:800])
    assert len(bucket.store.asked) == n_asked == 1 + 2


def test_a_file_that_failed_once_is_asked_for_again(bucket: Bucket) -> None:
    pixels = noise(512)
    beside = bucket.put("soon", pixels)
    missing = replace(beside, href=beside.href.replace("soon", "late"))
    with pytest.raises(UnreadBand, match="late.tif"):
        read(bucket, missing, window(100, 100))
    file = bucket.put("late", pixels)
    np.testing.assert_array_equal(read(bucket, file, window(100, 100)), pixels[100:200, 100:200])


def scenes_of(bucket: Bucket, n_scenes: int) -> list[Scene]:
    clear, nothing = np.full((256, 256), CLEAR, np.uint16), np.zeros((256, 256), np.uint16)
    masks = {"qa_pixel": replace(bucket.put("qa", clear), nodata=1), "qa_radsat": bucket.put("radsat", nothing)}
    found = []
    for number in range(n_scenes):
        bands = {"red": bucket.put(f"red_{number}", noise(256) // 4 + 8000 + number), **masks}
        acquired = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=16 * number)
        ground = window(256, 0).extent.to_crs("EPSG:4326")
        found.append(
            Scene(
                UUID(int=number),
                f"s{number}",
                "landsat_oli_c2_l2",
                "landsat-c2-l2",
                "oli",
                "landsat-8",
                acquired,
                f"s{number}",
                "1",
                f"s{number}",
                ground,
                bands,
            )
        )
    return found


def test_a_store_that_falls_silent_is_given_up_and_asked_again(bucket: Bucket) -> None:
    assert 10 <= int(GDAL_OPTIONS["GDAL_HTTP_LOW_SPEED_TIME"]) <= 60
    hasty = replace(
        bucket, access=replace(bucket.access, options={**bucket.access.options, "GDAL_HTTP_LOW_SPEED_TIME": "1"})
    )
    pixels = noise(1600)
    file = bucket.put("silent", pixels)
    read(bucket, file, window(200, 100))
    bucket.store.silences.append(15.0)

    began = time.monotonic()
    np.testing.assert_array_equal(read(hasty, file, window(200, 900)), pixels[900:1100, 900:1100])
    assert time.monotonic() - began < 10
    assert not bucket.store.silences


def test_a_tile_is_read_by_more_threads_than_decode_and_no_more_than_are_set(bucket: Bucket) -> None:
    recipe = parse_recipe(RECIPE, "one_band.yaml")
    assert isinstance(recipe, FeaturesRecipe)
    scenes = scenes_of(bucket, 8)
    bucket.store.forget()
    loaded = load_observations(recipe, scenes, window(256, 0), 1, bucket.access)
    assert loaded.manifest.document()["read"] == 8 * 3
    assert 2 < bucket.store.most_open <= 6 + 1
    assert len(bucket.store.asked) <= 2 * 8 * 3

    few = load_observations(recipe, scenes, window(256, 0), 1, replace(bucket.access, remote_threads=1))
    np.testing.assert_array_equal(few.seen.block, loaded.seen.block)
    np.testing.assert_array_equal(few.seen.causes, loaded.seen.causes)


@pytest.mark.parametrize(
    ("href", "places", "is_remote"),
    [
        ("s3://bucket/a.tif", (), True),
        ("https://host/a.tif", (), True),
        ("/data/a.tif", (), False),
        ("file:///data/a.tif", (), False),
        ("s3://bucket/a.tif", (BandPlace("/mirror/a.tif"), BandPlace("s3://bucket/a.tif")), False),
    ],
)
def test_a_file_is_remote_where_its_first_place_is(href: str, places: tuple[BandPlace, ...], is_remote: bool) -> None:
    file = BandFile(href, 1.0, 0.0, 0, places=places)
    scene = Scene(
        UUID(int=1), "s", "p", "c", "oli", "landsat-8", datetime(2020, 1, 1, tzinfo=UTC), "s", "1", "s",
        window(8, 0).extent, {"red": file},
    )  # fmt: skip
    assert scene.is_remote == is_remote
    assert reading_threads([scene], 2, 16) == (16 if is_remote else 2)
    assert reading_threads([scene], 20, 16) == 20


def test_what_reading_threads_fetch_is_in_the_plan_of_memory() -> None:
    recipe = parse_recipe(RECIPE.replace("tile_px: 256", "tile_px: 2048"), "one_band.yaml")
    assert isinstance(recipe, FeaturesRecipe)
    near, far = cell_bytes(recipe, 40, 16), cell_bytes(recipe, 40, 16, is_remote=True)
    assert far - near == 16 * 2 * 2048**2
    assert fitting_strip_px(recipe, 40, 16, near) == 2048
    assert fitting_strip_px(recipe, 40, 16, near, is_remote=True) < 2048


def test_the_threads_that_read_remotely_follow_those_that_decode_unless_set(neocube_home: Path) -> None:
    assert Settings(decode_threads=2).remote_thread_count == 16
    assert Settings(decode_threads=8).remote_thread_count == 32
    assert Settings(decode_threads=2, remote_threads=5).remote_thread_count == 5
