"""Scenes beside the EO3 documents that Digital Earth Africa and Australia publish of them: the same, or a named difference."""

import json
from pathlib import Path
from typing import Any

import pytest
import shapely
import yaml
from datacube.index.eo3 import prep_eo3
from odc.geo.crs import CRS

from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.scenes.footprint import grids_of, locate, lonlat_footprint, read_file_grid
from flows.steps.scenes.normalise import normalise

SITE = "https://stac.example.org/collections/c/items"
S2_NAMES = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "nir": "B08", "nir_narrow": "B8A", "swir1": "B11", "swir2": "B12", "scl": "SCL",
}  # fmt: skip
NBART = ("coastal_aerosol", "blue", "green", "red", "nir", "swir_1", "swir_2", "panchromatic")


def ours(path: Path) -> dict[str, Any]:
    place = ItemPlace(f"{SITE}/i", SITE, SITE, lambda folder: frozenset())
    return normalise(json.loads(path.read_text()), place, "test", read_file_grid).document


def difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Area of the symmetric difference of two geometries, as a part of the first."""
    first, second = shapely.geometry.shape(one), shapely.geometry.shape(other)
    return float(first.symmetric_difference(second).area / first.area)


@pytest.fixture
def published(shared_data: Path) -> dict[str, Any]:
    path = shared_data / "stac/dea_deafrica/S2A_28QCH_20200714_0_L2A.odc-metadata.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


@pytest.fixture(
    params=["earth_search/v0/S2A_28QCH_20200714_0_L2A_beta1.json", "dea_deafrica/S2A_28QCH_20200714_0_L2A.json"]
)
def document(shared_data: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The scene from Earth Search v0, of which the published document was made, and from v1."""
    return ours(shared_data / "stac" / request.param)


def test_crs_platform_and_region_are_the_published_ones(document: dict[str, Any], published: dict[str, Any]) -> None:
    assert CRS(document["crs"]) == CRS(published["crs"])
    for name in ("eo:platform", "odc:region_code", "odc:file_format"):
        assert document["properties"][name] == published["properties"][name]
    assert document["properties"]["eo:instrument"] == published["properties"]["eo:instrument"].lower()
    assert document["lineage"] == published["lineage"] == {}


def test_the_geometry_is_the_published_one_to_its_rounding(document: dict[str, Any], published: dict[str, Any]) -> None:
    """DE Africa rounds to a metre."""
    assert difference(published["geometry"], document["geometry"]) < 1e-4


def test_grids_and_paths_are_the_published_ones(document: dict[str, Any], published: dict[str, Any]) -> None:
    """DE Africa also lists the overview, aerosol, water vapour and B09, which no recipe reads."""
    for band, name in S2_NAMES.items():
        mine, theirs = document["measurements"][band], published["measurements"][name]
        assert mine["path"].rpartition("/")[2] == theirs["path"]
        here, there = document["grids"][mine.get("grid", "default")], published["grids"][theirs.get("grid", "default")]
        assert here["shape"] == there["shape"]
        assert here["transform"] == there["transform"][:6]
    assert set(published["measurements"]) - set(S2_NAMES.values()) == {"overview", "visual", "B09", "AOT", "WVP"}


def test_the_time_is_the_published_one_and_the_processing_time_the_true_one(
    document: dict[str, Any], published: dict[str, Any]
) -> None:
    """Earth Search v1 gives milliseconds; DE Africa puts the sensing time where the processing time belongs."""
    assert document["properties"]["datetime"][:19] == published["properties"]["datetime"][:19]
    assert published["properties"]["odc:processing_datetime"] == published["properties"]["datetime"]
    assert document["properties"]["odc:processing_datetime"] == "2020-07-14T19:13:10+00:00"
    assert published["properties"]["sentinel:product_id"].endswith("_20200714T191310")


def test_the_ids_differ_as_ours_are_the_same_from_every_archive(
    document: dict[str, Any], published: dict[str, Any]
) -> None:
    assert published["id"] == "503fa092-0f0f-5544-89fb-b45c1da0d5e1"
    assert document["id"] == "ae9ff1b5-c967-5d52-a881-c0880afc1e57"
    assert document["label"] == "S2A_28QCH_20200714_0_L2A"
    assert published["label"] == "S2A_MSIL2A_20200714T115221_N0214_R123_T28QCH_20200714T191310"


def test_what_the_index_adds_is_what_datacube_would_add(document: dict[str, Any]) -> None:
    bare = {key: value for key, value in document.items() if key not in ("grid_spatial", "extent")}
    theirs = prep_eo3(bare, remap_lineage=False)
    assert document["grid_spatial"] == theirs["grid_spatial"]
    for axis in ("lon", "lat"):
        ours, corners = document["extent"][axis], theirs["extent"][axis]
        assert (
            -1e-9 < corners["begin"] - ours["begin"] < 1e-4 and -1e-9 < ours["end"] - corners["end"] < 1e-4
        )  # edges bend


def test_the_place_of_a_landsat_scene_of_australia_is_the_published_one(shared_data: Path) -> None:
    """`ga_ls8c_ard_3` is another product and not taken, but its item lies where its document says; bands of 30 and 15 m."""
    stem = shared_data / "stac/dea_deafrica/ga_ls8c_ard_3-1-0_088080_2020-05-25_final"
    item = json.loads(Path(f"{stem}.stac-item.json").read_text())
    published = yaml.safe_load(Path(f"{stem}.odc-metadata.yaml").read_text())
    assets = {name: item["assets"][f"nbart_{name}"] for name in NBART}
    crs, grids = grids_of(item, assets, {name: asset["href"] for name, asset in assets.items()}, read_file_grid)
    located = locate(crs, grids["red"], lonlat_footprint(item))
    assert (located.crs, located.note) == (CRS(published["crs"]), None)
    assert difference(published["geometry"], shapely.geometry.mapping(located.footprint)) < 1e-5  # rounded to metres
    for name in NBART:
        measurement = published["measurements"][f"nbart_{name}"]
        grid = published["grids"][measurement.get("grid", "default")]
        assert list(grids[name].shape) == grid["shape"]
        assert list(grids[name].transform) == grid["transform"][:6]
        assert assets[name]["href"].rpartition("/")[2] == measurement["path"]
