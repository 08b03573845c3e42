"""Versions of a product: they have the same features, share one ODC product, and are told apart in it."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import flows
from datacube_config.connection import open_index
from datacube_config.settings import Settings
from products.errors import RequestError

AREA = "100.838,4.94,100.842,4.944"
RECIPE = """
name: {name}
version: {version}
kind: features
grid: {{crs: utm, resolution_m: 30, tile_px: 64, anchor: landsat}}
period: P1Y
sources:
  - {{collection: {collection}, clear: {{dilate_px: 1}}}}
features:
  - index: {{names: [NDVI], reduce: {reduce}}}
"""


@pytest.fixture
def build_version(ingested_settings: Settings, tmp_path: Path) -> object:
    assert ingested_settings.home.is_dir()

    def build(version: int, reduce: str, collection: str = "landsat-c2-l2", name: str = "small") -> xr.Dataset:
        path = tmp_path / f"{name}_{version}.yaml"
        path.write_text(RECIPE.format(name=name, version=version, reduce=reduce, collection=collection))
        assert flows.build(str(path), AREA, "2020")["failed"] == []
        return flows.open_cube(name, area=AREA)

    return build


def test_a_version_may_be_made_otherwise_and_dc_load_tells_versions_apart(
    ingested_settings: Settings, build_version: object
) -> None:
    assert callable(build_version)
    first, second = build_version(1, "[p50]"), build_version(2, "[p50]", "sentinel-2-l2a")
    with open_index(ingested_settings) as index:
        for version, cube in ((1, first), (2, second)):
            where = {"product": "small", "product_version": version, "like": cube.odc.geobox, "time": "2020"}
            np.testing.assert_array_equal(index.dc.load(**where).ndvi_p50.values, cube.ndvi_p50.values)
    assert not np.array_equal(first.ndvi_p50.values, second.ndvi_p50.values, equal_nan=True)


def test_a_version_with_other_features_is_refused_by_the_plan_and_its_number_stays_free(
    build_version: object, tmp_path: Path
) -> None:
    assert callable(build_version)
    build_version(1, "[p10, p50]")
    words = r"small version 2 has other features .*: it lacks ndvi_p10; adds ndvi_p90\. .*: take another `name:`"
    with pytest.raises(RequestError, match=words):
        build_version(2, "[p50, p90]")
    with pytest.raises(RequestError, match=words):
        flows.plan(str(tmp_path / "small_2.yaml"), AREA, "2020")
    build_version(2, "[p10, p50]", "sentinel-2-l2a")


def test_a_name_of_other_data_is_refused_by_the_plan_and_binds_nothing(
    ingested_settings: Settings, build_version: object, tmp_path: Path
) -> None:
    assert callable(build_version)
    with pytest.raises(RequestError, match="the index has landsat_tm_c2_l2 as a product of .*: take another `name:`"):
        build_version(1, "[p50]", name="landsat_tm_c2_l2")
    with pytest.raises(RequestError, match="the index has landsat_tm_c2_l2 as a product of"):
        flows.plan(str(tmp_path / "landsat_tm_c2_l2_1.yaml"), AREA, "2020")
    with open_index(ingested_settings) as index, index.engine.connect() as connection:
        assert connection.exec_driver_sql("select count(*) from neocube.product_binding").scalar() == 0
