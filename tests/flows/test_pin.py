"""neocube pin: a snapshot under a tag that outlives what it was made from, with its item and its credit lines."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pystac
import pytest
import shapely
import xarray
from click.testing import CliRunner
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_zeros
from pystac.extensions.datacube import DatacubeExtension

from datacube_config.settings import Settings
from flows.cli import main
from flows.retire import retire_selected, sweep_retired
from flows.steps.cubes.citation import Maker, citation_of
from flows.steps.cubes.credits import SIMULATED, Source, credit_lines, sources_of
from flows.steps.cubes.cube_stac import snapshot_item
from flows.steps.cubes.open_cube import open_snapshot, snapshot_asked_for
from flows.steps.cubes.pinning import pin_snapshot
from flows.steps.storage import open_storage, path_of, s3_options
from flows.steps.upkeep.retire_selection import Selection
from products.errors import RequestError
from products.grid import PixelGrid, Tile
from tests.flows.product_chain import Chain, chain

NOW = datetime(2026, 1, 2, 3, tzinfo=UTC)
COPERNICUS = "Contains modified Copernicus Sentinel data 2020"
USGS = "Landsat Collection 2 Level-2 data of 2020 courtesy of the U.S. Geological Survey"


def pinned(made: Chain, number: int, tag: str) -> dict[str, Any]:
    return pin_snapshot(made.index, made.storage, made.cubes[number], tag, NOW)


def test_a_pinned_snapshot_outlives_the_retirement_and_sweep_of_its_cells(ingested_settings: Settings) -> None:
    with chain(ingested_settings) as made:
        document = pinned(made, 0, "paper-1")
        before = open_snapshot(made.cubes[0]).features.values
        retirement = retire_selected(Selection(product="known"), yes=True)["id"]
        swept = sweep_retired([retirement], None, True)["swept"]
        assert made.cubes[0] in swept[0]["cubes"] and not Path(made.cubes[0]).exists()
        after = xarray.open_zarr(document["snapshot"])
        np.testing.assert_array_equal(after.features.values, before)
        assert after.attrs["neocube:cells"] == [str(made.cells[0])]


def test_the_shards_of_a_pinned_snapshot_are_links_not_copies(ingested_settings: Settings) -> None:
    with chain(ingested_settings) as made:
        document = pinned(made, 0, "linked")
        shard = "features/c/0/0/0/0"
        assert (Path(document["snapshot"]) / shard).samefile(Path(made.cubes[0]) / shard)


def test_a_map_is_credited_to_all_that_its_model_learned_from(ingested_settings: Settings) -> None:
    with chain(ingested_settings) as made:
        found = sources_of(made.index, made.maps[1:])
        scenes = made.index.dc.index.datasets.bulk_get(made.scenes[:3])
        assert {each.product for each in found} == {scene.product.name for scene in scenes}
        assert len(sources_of(made.index, made.cells[1:])) == 1
        assert set(pinned(made, 1, "map")["credits"]) == set(credit_lines(sources_of(made.index, made.maps[:1])))
        assert credit_lines(found) == [SIMULATED]


def test_credit_lines_name_providers_years_and_what_no_one_credits() -> None:
    sources = [
        Source("landsat_oli_c2_l2", None, "2020"),
        Source("landsat_etm_c2_l2", None, "2019"),
        Source("sentinel2_msi_l2a", None, "2020"),
        Source("gmw", "Global Mangrove Watch", "2010"),
        Source("theirs", None, "2020"),
        Source("sentinel2_msi_l2a", None, "2021", is_simulated=True),
    ]
    assert credit_lines(sources) == [
        COPERNICUS,
        "Global Mangrove Watch",
        USGS.replace("2020", "2019, 2020"),
        SIMULATED,
        "theirs: the index states no credit for this product, ask who made it",
    ]


def test_the_item_of_a_pinned_snapshot_is_stac_that_others_read(published: Any) -> None:
    storage = open_storage(published.settings)
    document = pin_snapshot(published.index, storage, published.cube_url, "v1.0", NOW)
    item = pystac.Item.from_file(document["item"])
    assert item.properties["start_datetime"] == "2019-01-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2020-12-31T23:59:59.999999Z"
    assert item.properties["proj:code"] == "EPSG:32647"
    assert len(item.properties["neocube:cells"]) == 8
    assert item.bbox == pytest.approx(published.mosaic.extent.to_crs("EPSG:4326").boundingbox.bbox)
    dimensions = DatacubeExtension.ext(item).dimensions
    assert dimensions["period"].to_dict()["values"] == ["2019-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]
    assert dimensions["feature"].to_dict()["values"] == ["red", "ndvi_p50", "smad"]
    box = published.mosaic.extent.boundingbox
    assert dimensions["y"].to_dict() == {
        "type": "spatial", "axis": "y", "extent": [box.bottom, box.top], "step": -30.0, "reference_system": 32647,
    }  # fmt: skip
    assert DatacubeExtension.ext(item).variables["accounts"].dimensions == ["period", "cause", "y", "x"]
    assert all(Path(str(asset.get_absolute_href())).exists() for asset in item.assets.values())
    citation = item.properties["sci:citation"]
    assert citation.startswith("Annual features of known values (known_features version 1) over matang, EPSG:32647")
    assert Path(document["credits_file"]).read_text().splitlines() == [citation]


def test_a_tag_is_used_once_and_again_for_the_same_only(ingested_settings: Settings) -> None:
    with chain(ingested_settings) as made:
        first = pinned(made, 0, "2020")
        assert first["new"]
        again = pin_snapshot(made.index, made.storage, made.cubes[0], "2020", datetime(2030, 1, 1, tzinfo=UTC))
        assert again == first | {"new": False}
        other = path_of(made.cubes[0])
        made.cells.append(made.publish("known", made.tile, {}))
        made.tile = made.far
        with pytest.raises(
            RequestError, match=r"the tag '2020' is used for other content .* used once, choose another"
        ):
            pin_snapshot(made.index, made.storage, made.cube("known"), "2020", NOW)
        assert pin_snapshot(made.index, made.storage, other, "2020", NOW)["content"] == first["content"]


def test_what_a_killed_pin_left_is_no_snapshot_and_is_replaced(ingested_settings: Settings) -> None:
    with chain(ingested_settings) as made:
        document = pinned(made, 0, "late")
        folder = Path(document["snapshot"]).parent
        (folder / "cube.complete").unlink()
        (folder / "cube.zarr" / "stray").write_text("half")
        assert pinned(made, 0, "late") == document
        assert not (folder / "cube.zarr" / "stray").exists()


def test_a_snapshot_whose_cells_the_index_lost_cannot_be_credited(ingested_settings: Settings) -> None:
    with chain(ingested_settings) as made:
        stranger = uuid4()
        with pytest.raises(RequestError, match=f"1 of 2 are purged, the first {stranger}: whom to credit is no longer"):
            sources_of(made.index, [made.cells[0], stranger])


def test_wrong_pins_are_refused_with_what_was_expected(published: Any, tmp_path: Path) -> None:
    storage = open_storage(published.settings)
    refused = {
        (published.cube_url, "a/b"): "expected a tag of letters, digits, dots, dashes and underscores, .* got 'a/b'",
        (published.cell_url, "t"): "expected a snapshot below .*/cubes, got file://",
        (str(tmp_path / "cube.zarr"), "t"): "expected a snapshot below .*/cubes, got ",
        (storage.path("cubes") + "/../pinned/known_features/x/cube.zarr", "t"): "expected a snapshot below",
        (storage.path("cubes", "none.zarr"), "t"): "expected a whole snapshot, .*none.zarr is not there or not whole",
    }
    for (url, tag), words in refused.items():
        with pytest.raises(RequestError, match=words):
            pin_snapshot(published.index, storage, url, tag, NOW)
    with pytest.raises(RequestError, match="expected no area and CRS with a snapshot's path, got matang with c.zarr"):
        snapshot_asked_for(published.index, "c.zarr", "matang")
    with pytest.raises(RequestError, match="expected an area with a product's name, as known_features --area AREA"):
        snapshot_asked_for(published.index, "known_features", None)


def test_pin_says_what_it_made_as_json_and_in_words(
    published: Any, neocube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_HOME", str(published.settings.home))
    monkeypatch.setenv("NEOCUBE_STORE_URL", published.settings.store_url)
    asked = ["pin", "known_features", "--area", "matang", "--crs", "EPSG:32647", "--tag", "cli"]
    done = CliRunner().invoke(main, [*asked, "--json"], catch_exceptions=False)
    document = json.loads(done.stdout)
    assert done.exit_code == 0 and document["new"]
    np.testing.assert_array_equal(xarray.open_zarr(document["snapshot"]).features.values, published.features)
    again = CliRunner().invoke(main, asked, catch_exceptions=False)
    assert again.stdout == f"pinned already as cli: {document['snapshot']}\n"
    assert UUID(json.loads(Path(document["item"]).read_text())["properties"]["neocube:cells"][0])


def test_a_snapshot_in_an_object_store_is_pinned_by_copies_there(published_on_s3: Any) -> None:
    settings = published_on_s3.settings
    storage = open_storage(settings)
    document = pin_snapshot(published_on_s3.index, storage, published_on_s3.cube_url, "s3", NOW)
    assert document["snapshot"] == "s3://cubes/published/pinned/known_features/s3/cube.zarr"
    cube = xarray.open_zarr(document["snapshot"], storage_options=s3_options(settings))
    np.testing.assert_array_equal(cube.features.values, published_on_s3.features)
    assert storage.exists(document["item"]) and storage.exists(document["credits_file"])


def cube_on(geobox: GeoBox, title: str) -> xarray.Dataset:
    """One empty period on a grid."""
    layer = xr_zeros(geobox, chunks=-1).expand_dims(period=np.array(["2020-01-01"], "datetime64[ns]"))
    ends = {"period_end": ("period", np.array(["2021-01-01"], "datetime64[ns]"))}
    cube = xarray.Dataset({"features": layer}).assign_coords(ends)
    said = {"product": title.lower(), "version": 1, "area": title, "cells": [], "missing": []}
    facts = {f"neocube:{name}": value for name, value in said.items()}
    return cube.assign_attrs({"title": title, "proj:code": str(geobox.crs), **facts})


def test_the_item_of_a_cube_across_the_antimeridian_does_not_go_round_the_world() -> None:
    cube = cube_on(PixelGrid("EPSG:32701", 30.0, 256, 15.0).geobox(Tile("EPSG:32701", -1054, 23)), "Fiji")
    item = snapshot_item(cube, "fiji", {}, [], NOW)
    west, _, east, _ = item["bbox"]
    assert west > 179.9 and east < -179.9
    assert item["geometry"]["type"] == "MultiPolygon"


@pytest.mark.parametrize(
    ("code", "bounds"),
    [
        ("EPSG:3413", (-1_000_000, -2_500_000, 1_000_000, -500_000)),
        ("EPSG:3035", (2_700_000, 1_500_000, 6_500_000, 5_000_000)),
    ],
)
def test_footprint_and_box_of_a_cube_hold_all_its_pixels_where_edges_are_bent(
    published: Any, code: str, bounds: tuple[float, float, float, float]
) -> None:
    geobox = GeoBox.from_bbox(bounds, code, resolution=50_000)
    cube = cube_on(geobox, "Ice")
    x, y = np.meshgrid(*(geobox.coordinates[axis].values for axis in ("x", "y")))
    longitudes, latitudes = CRS(code).transformer_to_crs(CRS("EPSG:4326"))(x.ravel(), y.ravel())
    item = snapshot_item(cube, "ice", {}, [], NOW)
    footprint = shapely.geometry.shape(item["geometry"])
    assert shapely.contains_xy(footprint, longitudes, latitudes).all()
    west, south, east, north = item["bbox"]
    assert west < longitudes.min() and longitudes.max() < east and south < latitudes.min() and latitudes.max() < north
    cited = citation_of(published.index, cube, Maker("A", "B", "C", NOW))["datacite"]["geoLocations"][0][
        "geoLocationBox"
    ]
    sides = ("westBoundLongitude", "southBoundLatitude", "eastBoundLongitude", "northBoundLatitude")
    assert [cited[side] for side in sides] == item["bbox"]
