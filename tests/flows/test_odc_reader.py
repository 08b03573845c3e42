"""dc.load of cells: plainly, by the odc.loader driver, warped, shrunk, lazily, in another time zone, from S3."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from datacube import Datacube
from datacube.drivers.readers import reader_drivers
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_reproject

from flows.steps.cubes.odc_io_plugin import block_px, shrink
from flows.steps.cubes.odc_reader import CellDriver, UnreadableCellError, open_layer
from flows.steps.cubes.open_cube import features_apart, open_snapshot
from flows.steps.storage import s3_options
from products.errors import RequestError

FEATURES = ["red", "ndvi_p50", "smad"]
PRODUCT = "known_features"
IN_ZONE = """
import sys
from datacube import Datacube
from flows.steps.cubes.odc_reader import BY_PERIOD
dc = Datacube(raw_config={"default": {"index_driver": "postgres", "db_url": sys.argv[1]}})
query = {"product": "known_features", "measurements": ["red"], "output_crs": "EPSG:32647", "resolution": 30}
for group_by in ("time", BY_PERIOD):
    print(*dc.load(**query, align=(15, 15), group_by=group_by).time.values)
"""


@pytest.fixture(scope="module")
def cube(published: Any) -> xarray.Dataset:
    return features_apart(open_snapshot(published.cube_url)).load()


@pytest.fixture(scope="module")
def dc(published: Any) -> Datacube:
    return published.index.dc


def test_odc_knows_the_plugin_once_neocube_is_installed() -> None:
    assert "neocube" in reader_drivers()


def test_the_three_ways_give_the_same_pixels(published: Any, dc: Datacube, cube: xarray.Dataset) -> None:
    plain = dc.load(product=PRODUCT, like=published.mosaic)
    driven = dc.load(product=PRODUCT, like=published.mosaic, driver=CellDriver())
    for way in (plain, driven, cube):
        for layer, name in enumerate(FEATURES):
            np.testing.assert_array_equal(way[name].values, published.features[:, layer])
            assert way[name].dtype == np.float32
        np.testing.assert_array_equal(way["class_map"].values, published.arrays["class_map"])
        assert way.odc.geobox == published.mosaic


@pytest.mark.parametrize("driver", [None, CellDriver(), "flows.steps.cubes.odc_reader.CellDriver"])
def test_a_window_across_four_cells_is_a_crop_of_the_whole(
    published: Any, dc: Datacube, driver: CellDriver | str | None
) -> None:
    rows, columns = slice(20, 50), slice(10, 40)
    found = dc.load(product=PRODUCT, measurements=FEATURES, like=published.mosaic[rows, columns], driver=driver)
    np.testing.assert_array_equal(stacked(found), published.features[:, :, rows, columns])


def test_a_year_is_found_by_its_name_and_no_other_with_it(published: Any, dc: Datacube) -> None:
    found = dc.load(product=PRODUCT, measurements=["red"], like=published.mosaic, time="2020")
    np.testing.assert_array_equal(found.red.values, published.features[1:, 0])


@pytest.mark.parametrize("driver", [None, CellDriver()])
def test_dask_chunks_make_a_lazy_load_of_the_same_pixels(
    published: Any, dc: Datacube, driver: CellDriver | None
) -> None:
    chunks = {"x": 24, "y": 40}
    lazy = dc.load(product=PRODUCT, measurements=FEATURES, like=published.mosaic, dask_chunks=chunks, driver=driver)
    assert lazy.red.chunks == ((1, 1), (40, 24), (24, 24, 16))
    np.testing.assert_array_equal(stacked(lazy), published.features)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
def test_reprojection_uses_the_resampling_asked_for(
    published: Any, dc: Datacube, cube: xarray.Dataset, resampling: str
) -> None:
    inside_one_cell = published.mosaic[5:27, 37:59].extent.to_crs("EPSG:4326").boundingbox
    target = GeoBox.from_bbox(inside_one_cell, resolution=0.0003)
    expected = xr_reproject(cube.ndvi_p50, target, resampling=resampling).values
    query = {"product": PRODUCT, "measurements": ["ndvi_p50"], "like": target}
    for way in (dc.load(**query, resampling=resampling), dc.load(**query, driver=CellDriver(resampling))):
        same = np.isclose(way.ndvi_p50.values, expected, atol=2e-3, equal_nan=True)
        assert same.mean() > 0.97
        is_copy = np.isin(way.ndvi_p50.values, published.features)[np.isfinite(way.ndvi_p50.values)]
        assert is_copy.all() if resampling == "nearest" else is_copy.mean() < 0.1


def test_a_reprojected_window_has_no_gap_where_cells_meet(published: Any, dc: Datacube, cube: xarray.Dataset) -> None:
    target = GeoBox.from_bbox(published.mosaic.pad(-4).extent.to_crs("EPSG:4326").boundingbox, resolution=0.0003)
    expected = xr_reproject(cube.class_map, target, resampling="nearest").values
    query = {"product": PRODUCT, "measurements": ["class_map"], "like": target}
    for way in (dc.load(**query), dc.load(**query, driver=CellDriver("nearest"))):
        assert (way.class_map.values == expected).mean() > 0.97
        np.testing.assert_array_equal(way.class_map.values == 255, expected == 255)


def test_a_half_pixel_shift_with_bilinear_is_the_mean_of_four(published: Any, dc: Datacube) -> None:
    shifted = published.mosaic[2:12, 34:44].translate_pix(0.5, 0.5)
    source = published.features[0, 0, 2:13, 34:45].astype("float64")
    expected = (source[:-1, :-1] + source[1:, :-1] + source[:-1, 1:] + source[1:, 1:]) / 4
    query = {"product": PRODUCT, "measurements": ["red"], "like": shifted, "time": "2019"}
    whole = np.isfinite(expected)
    for way in (dc.load(**query, resampling="bilinear"), dc.load(**query, driver=CellDriver("bilinear"))):
        np.testing.assert_allclose(way.red.values[0][whole], expected[whole], atol=1e-5)


def test_time_is_utc_in_any_zone_and_the_start_of_the_period_on_request(published: Any) -> None:
    url = published.index.engine.url.render_as_string(hide_password=False)
    environment = {**os.environ, "TZ": "Asia/Kuala_Lumpur"}
    command = [sys.executable, "-c", IN_ZONE, url]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    middle, start = printed.splitlines()
    assert middle == "2019-07-02T11:59:59.999999000 2020-07-01T23:59:59.999999000"
    assert start == "2019-01-01T00:00:00.000000000 2020-01-01T00:00:00.000000000"


def test_a_load_by_driver_in_a_local_zone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.timezone", -28800)
    with pytest.raises(RequestError, match="leave driver= out"):
        CellDriver().capture_env()
    assert CellDriver(caller="odc.loader").capture_env() == {}


def test_coarse_loads_average_floats_and_pick_centres_of_classes(published: Any, dc: Datacube) -> None:
    coarse = published.mosaic.zoom_out(4)
    found = dc.load(product=PRODUCT, measurements=["red", "class_map"], like=coarse, resampling="average")
    blocks = published.features[0, 0].astype("float64").reshape(16, 4, 16, 4)
    np.testing.assert_allclose(found.red.values[0], np.nanmean(blocks, axis=(1, 3)), atol=1e-6)
    np.testing.assert_array_equal(found.class_map.values, published.arrays["class_map"][:, 2::4, 2::4])


def test_shrinking_keeps_a_block_without_values_missing() -> None:
    pixels = np.array([[np.nan, np.nan, 1.0], [np.nan, np.nan, np.nan]], "float32")
    np.testing.assert_array_equal(shrink(pixels, (1, 2)), np.array([[np.nan, 1.0]], "float32"))


def test_a_block_size_fits_both_sides() -> None:
    assert block_px((9, 17), (3, 5)) == 4
    with pytest.raises(ValueError, match="shrunk by a whole number"):
        block_px((9, 17), (3, 17))


def test_a_layer_that_is_not_there_is_named(published: Any) -> None:
    url = f"{published.cell_url}/features"
    assert open_layer(url, 3).read((slice(0, 2), slice(0, 5))).shape == (2, 5)
    with pytest.raises(UnreadableCellError, match=r"expected a layer from 1 to 3 of .*/features, the dataset says 4"):
        open_layer(url, 4)


def test_a_cell_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnreadableCellError, match=rf"cannot read file://{tmp_path}/gone/features, which the index names"
    ):
        open_layer(f"{tmp_path.as_uri()}/gone/features")


def test_cells_in_a_postgis_index_are_read_like_those_in_a_postgres_one(published_on_postgis: Any) -> None:
    found = published_on_postgis.index.dc.load(product=PRODUCT, measurements=FEATURES, like=published_on_postgis.mosaic)
    np.testing.assert_array_equal(stacked(found), published_on_postgis.features)


def test_cells_on_s3_are_read_with_the_access_of_the_settings(
    published_on_s3: Any, neocube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_s3_access(published_on_s3, monkeypatch)
    dc, mosaic = published_on_s3.index.dc, published_on_s3.mosaic
    cube = features_apart(open_snapshot(published_on_s3.cube_url, s3_options(published_on_s3.settings)))
    for driver in (None, CellDriver()):
        found = dc.load(product=PRODUCT, measurements=FEATURES, like=mosaic, driver=driver)
        np.testing.assert_array_equal(stacked(found), published_on_s3.features)
    np.testing.assert_array_equal(stacked(cube[FEATURES]), published_on_s3.features)


def set_s3_access(product: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_options(product.settings)["client_kwargs"].items():
        monkeypatch.setenv({"endpoint_url": "NEOCUBE_S3_ENDPOINT_URL", "region_name": "NEOCUBE_S3_REGION"}[name], value)
    monkeypatch.setenv("NEOCUBE_S3_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("NEOCUBE_S3_SECRET_ACCESS_KEY", "secret")


def stacked(dataset: xarray.Dataset) -> np.ndarray:
    """(period, feature, y, x)."""
    return np.stack([dataset[name].values for name in FEATURES], axis=1)
