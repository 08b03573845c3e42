"""A simulated archive on disk: a catalogue others can read, files true to their items, faults as told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from rasterio.errors import RasterioIOError
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom

from flows.steps.areas import find_area
from flows.steps.simulation.archive import FaultLevel, Simulation, write_archive
from flows.steps.simulation.items import MSI_ASSETS
from products.errors import RequestError
from products.period import parse_period

SIZE_PX = 64


def _simulate(
    directory: Path, faults: FaultLevel = "none", period: str = "2020", limit: int = 3, **other: Any
) -> dict[str, Any]:
    area = find_area(other.get("area", "demo"))
    simulation = Simulation(
        area, parse_period(period), other.get("seed", 1), other.get("size_px", SIZE_PX), faults, limit
    )
    return write_archive(directory, simulation)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("archives") / "clean"
    _simulate(directory)
    return directory


@pytest.fixture(scope="module")
def harsh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("archives") / "harsh"
    return directory, _simulate(directory, "harsh", limit=5)


def _items(directory: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted(directory.glob("*/*/*.json"))]
    assert found
    return found


def _faults(told: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = [fault for fault in told["faults"] if fault["kind"] == kind]
    assert found, kind
    return found


def _path(directory: Path, item: dict[str, Any], asset: str) -> Path:
    return directory / item["collection"] / item["id"] / item["assets"][asset]["href"]


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def test_pystac_walks_the_catalogue_and_finds_every_file(clean: Path) -> None:
    catalogue = pystac.Catalog.from_file(str(clean / "catalog.json"))
    items = list(catalogue.get_items(recursive=True))
    assert len(items) == 24
    assert {item.get_collection().id for item in items} == {"landsat-c2-l2", "sentinel-2-l2a"}
    for item in items:
        assert item.geometry
        assert all(Path(asset.get_absolute_href()).is_file() for asset in item.assets.values())


def test_the_item_collection_lists_the_same_items_and_files(clean: Path) -> None:
    collection = pystac.ItemCollection.from_file(str(clean / "items.json"))
    assert {item.id for item in collection} == {item["id"] for item in _items(clean)}
    for feature in json.loads((clean / "items.json").read_text())["features"]:
        assert all((clean / asset["href"]).is_file() for asset in feature["assets"].values())


def test_items_have_the_fields_of_real_ones(clean: Path, shared_data: Path) -> None:
    landsat = json.loads(
        (shared_data / "stac/planetary_computer/landsat/LC08_L2SP_047027_20201204_02_T1.json").read_text()
    )
    msi = json.loads((shared_data / "stac/earth_search/v1/31UDQ_2023_3_items.json").read_text())["features"][0]
    optional = ("s2:", "sci:", "description", "earthsearch:", "processing:", "landsat:cloud_cover_land")
    for item in _items(clean):
        real = msi if item["collection"] == "sentinel-2-l2a" else landsat
        missing = {name for name in real["properties"] if not name.startswith(optional)} - set(item["properties"])
        assert not missing
        assert set(item["assets"]) <= set(real["assets"])
        asset, model = item["assets"]["red"], real["assets"]["red"]
        assert {"href", "type", "eo:bands", "raster:bands"} <= set(asset) & set(model)
        assert asset["raster:bands"][0]["scale"] == model["raster:bands"][0]["scale"]


def test_files_have_the_grid_their_item_states(clean: Path) -> None:
    for item in _items(clean):
        for name, asset in item["assets"].items():
            stated = asset if "proj:shape" in asset else item["properties"]
            with rasterio.open(_path(clean, item, name)) as file:
                assert list(file.shape) == stated["proj:shape"]
                assert list(file.transform)[:6] == stated["proj:transform"]
                assert file.crs.to_epsg() == item["properties"]["proj:epsg"]
                assert file.nodata == asset["raster:bands"][0].get("nodata")
                assert file.dtypes[0] == asset["raster:bands"][0]["data_type"]
                assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_footprints_enclose_the_valid_pixels_and_little_else(clean: Path) -> None:
    for item in _items(clean):
        with rasterio.open(_path(clean, item, "blue")) as file:
            valid, crs = file.read(1) > 0, file.crs
            outline = transform_geom("EPSG:4326", crs, item["geometry"])
            outside = geometry_mask([outline], file.shape, file.transform)
        assert shapely.geometry.shape(item["geometry"]).bounds == pytest.approx(item["bbox"], abs=1e-5)
        assert (valid & outside).mean() < 0.03
        if item["properties"]["platform"] != "landsat-7":
            assert (valid != ~outside).mean() < 0.03


def test_a_landsat_row_has_a_tilted_edge_of_fill(clean: Path) -> None:
    item = next(item for item in _items(clean) if item["properties"]["platform"] == "landsat-8")
    red, quality = _read(_path(clean, item, "red")), _read(_path(clean, item, "qa_pixel"))
    assert 0.02 < (red == 0).mean() < 0.3
    assert ((red == 0) == (quality == 1)).all()


def test_two_rows_and_two_tiles_share_each_pass(clean: Path) -> None:
    by_pass: dict[tuple[str, str], set[str]] = {}
    for item in _items(clean):
        properties = item["properties"]
        frame = properties.get("grid:code") or properties["landsat:wrs_row"]
        by_pass.setdefault((properties["platform"], properties["datetime"]), set()).add(frame)
    assert len(by_pass) == 12
    assert {frozenset(frames) for frames in by_pass.values()} == {
        frozenset({"056", "057"}),
        frozenset({"MGRS-47NPF", "MGRS-47NQF"}),
    }


def test_stated_scales_give_the_cloud_free_truth_back(tmp_path: Path) -> None:
    """Over clear vegetation the red of every Sentinel-2 scene, scaled as its item says, is that of vegetation."""
    _simulate(tmp_path / "a", period="2020-01/2020-04", limit=4)
    seen: set[tuple[str, Any]] = set()
    for item in _items(tmp_path / "a"):
        properties = item["properties"]
        if properties["platform"].startswith("landsat"):
            continue
        stated = item["assets"]["red"]["raster:bands"][0]
        offset = 0 if properties.get("earthsearch:boa_offset_applied") else stated["offset"]
        scl = np.kron(_read(_path(tmp_path / "a", item, "scl")), np.ones((2, 2), dtype=np.uint8))
        sky = np.kron(_read(tmp_path / "a" / "truth" / "sky" / f"{item['id']}.tif"), np.ones((2, 2), dtype=np.uint8))
        red = _read(_path(tmp_path / "a", item, "red"))
        water = (scl == 6) & (sky == 1) & (red > 0)
        vegetation = (scl == 4) & (sky == 1) & (red > 0)
        if vegetation.sum() > 200 and water.sum() > 200:
            assert 0.015 < np.median(red[vegetation] * stated["scale"] + offset) < 0.09
            seen.add((properties["s2:processing_baseline"], properties.get("earthsearch:boa_offset_applied")))
    assert len(seen) >= 2


def test_truth_rasters_lie_on_the_landsat_grid(clean: Path) -> None:
    names = json.loads((clean / "truth/classes.json").read_text())["classes"]
    assert set(names.values()) == {"mangrove", "water", "other_vegetation", "bare", "built_up"}
    with rasterio.open(clean / "truth/classes.tif") as file:
        assert file.shape == (SIZE_PX, SIZE_PX)
        assert file.transform.c % 30 == file.transform.f % 30 == 15
        assert set(np.unique(file.read(1)).tolist()) <= {int(code) for code in names}
    with rasterio.open(clean / "truth/reflectance.tif") as file:
        assert file.count == 6
        assert 0 < file.read().mean() < 0.5


def test_labels_agree_with_the_true_classes(clean: Path) -> None:
    labels = json.loads((clean / "truth/labels.geojson").read_text())["features"]
    names = json.loads((clean / "truth/classes.json").read_text())["classes"]
    with rasterio.open(clean / "truth/classes.tif") as file:
        classes, transform, crs = file.read(1), file.transform, file.crs
    for label in labels:
        inside = geometry_mask(
            [transform_geom("EPSG:4326", crs, label["geometry"])], classes.shape, transform, invert=True
        )
        assert {names[str(code)] for code in np.unique(classes[inside])} == {label["properties"]["subclass"]}
        assert inside.sum() == 9
    assert {label["properties"]["class"] for label in labels} == {"mangrove", "water", "other"}


def test_acquisitions_tell_tide_sky_and_offset(clean: Path) -> None:
    acquisitions = json.loads((clean / "truth/acquisitions.json").read_text())
    assert {each["item_id"] for each in acquisitions} == {item["id"] for item in _items(clean)}
    for each in acquisitions:
        assert abs(each["tide_m"]) < 1.4
        assert sum(each["sky"].values()) == pytest.approx(1, abs=1e-4)
        assert (clean / "truth" / each["sky_raster"]).is_file()
    assert len({each["tide_m"] for each in acquisitions}) == 12


def test_the_same_seed_writes_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    simulation = Simulation(find_area("demo"), parse_period("2020-01-01/2020-01-31"), 4, SIZE_PX, "usual", None)
    for name, workers in (("one", 1), ("three", 3)):
        write_archive(tmp_path / name, simulation, workers)
    first = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert first == sorted(
        path.relative_to(tmp_path / "three") for path in (tmp_path / "three").rglob("*") if path.is_file()
    )
    for path in first:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "three" / path).read_bytes(), path


def test_another_seed_makes_another_coast(tmp_path: Path, clean: Path) -> None:
    _simulate(tmp_path / "other", period="2020-01", limit=1, seed=2)
    assert (_read(tmp_path / "other/truth/classes.tif") != _read(clean / "truth/classes.tif")).mean() > 0.05


def test_usual_faults_are_the_four_that_archives_always_have(tmp_path: Path) -> None:
    told = _simulate(tmp_path / "usual", "usual", limit=2)
    kinds = [fault["kind"] for fault in told["faults"]]
    assert sorted(set(kinds)) == ["corrupt_asset", "duplicate", "missing_asset", "reprocessing"]
    assert told["items"] == 16 + kinds.count("duplicate") + kinds.count("reprocessing")
    assert json.loads((tmp_path / "usual/truth/faults.json").read_text()) == told["faults"]
    assert told["truth"] == str(tmp_path / "usual" / "truth")


def test_a_missing_asset_is_gone_and_a_corrupt_one_cannot_be_read(harsh: tuple[Path, dict[str, Any]]) -> None:
    directory, told = harsh
    for fault in _faults(told, "missing_asset"):
        assert not (directory / fault["file"]).exists()
    for fault in _faults(told, "corrupt_asset"):
        with pytest.raises(RasterioIOError, match="Read failed"):
            _read(directory / fault["file"])


def test_a_duplicate_is_the_same_rendition_under_another_id(harsh: tuple[Path, dict[str, Any]]) -> None:
    directory, told = harsh
    items = {item["id"]: item for item in _readable(directory, told)}
    for fault in _faults(told, "duplicate"):
        copy, original = items[fault["item_id"]], items[fault["of"]]
        assert copy["properties"] == original["properties"]
        assert _path(directory, copy, "red").read_bytes() == _path(directory, original, "red").read_bytes()


def test_a_reprocessing_is_newer_and_its_pixels_differ_as_told(harsh: tuple[Path, dict[str, Any]]) -> None:
    directory, told = harsh
    items = {item["id"]: item for item in _readable(directory, told)}
    found = _faults(told, "reprocessing")
    for fault in found:
        new, old = items[fault["item_id"]], items[fault["of"]]
        assert new["properties"]["created"] > old["properties"]["created"]
        before, after = (_read(_path(directory, item, "red")).astype(int) for item in (old, new))
        assert set((after - before)[before > 0].tolist()) == {fault["step_dn"]}
        assert ((after == 0) == (before == 0)).all()
        if new["collection"] == "sentinel-2-l2a":
            assert (old["properties"]["s2:processing_baseline"], new["properties"]["s2:processing_baseline"]) == (
                "02.14",
                "05.00",
            )
            assert new["assets"]["red"]["raster:bands"][0]["offset"] == -0.1
            assert old["assets"]["red"]["raster:bands"][0]["offset"] == 0
            assert new["assets"]["red"]["href"] == f"./{MSI_ASSETS['red'][1]}.tif"
    assert {items[fault["item_id"]]["collection"] for fault in found} == {"landsat-c2-l2", "sentinel-2-l2a"}


def test_harsh_items_lack_what_the_truth_says(harsh: tuple[Path, dict[str, Any]]) -> None:
    directory, told = harsh
    items = {item["id"]: item for item in _readable(directory, told)}
    by_kind = {fault["kind"]: fault["item_id"] for fault in told["faults"]}
    assert items[by_kind["no_geometry"]]["geometry"] is None
    bare = items[by_kind["no_proj"]]
    assert not [
        key for part in (bare["properties"], *bare["assets"].values()) for key in part if key.startswith("proj:")
    ]
    scale = items[by_kind["wrong_scale"]]["assets"]["red"]["raster:bands"][0]["scale"]
    assert scale == pytest.approx(2.75e-4) or scale == pytest.approx(1e-3)
    broken = next(directory.glob(f"*/{by_kind['not_json']}/*.json"))
    with pytest.raises(json.JSONDecodeError, match="line"):
        json.loads(broken.read_text())
    assert len({fault["item_id"] for fault in told["faults"]}) == len(told["faults"])


def _readable(directory: Path, told: dict[str, Any]) -> list[dict[str, Any]]:
    broken = {fault["item_id"] for fault in told["faults"] if fault["kind"] == "not_json"}
    return [json.loads(path.read_text()) for path in directory.glob("*/*/*.json") if path.stem not in broken]


def test_the_southern_hemisphere_has_its_two_kinds_of_northing(tmp_path: Path) -> None:
    _simulate(tmp_path / "south", period="2020-01", limit=1, area="151.1,-33.95,151.2,-33.85")
    codes = {item["collection"]: item["properties"]["proj:epsg"] for item in _items(tmp_path / "south")}
    assert codes == {"landsat-c2-l2": 32656, "sentinel-2-l2a": 32756}
    for item in _items(tmp_path / "south"):
        assert shapely.geometry.shape(item["geometry"]).centroid.y == pytest.approx(-33.9, abs=0.02)


def test_a_directory_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"expected an empty or new directory, got .* with files in it"):
        _simulate(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_an_interrupted_run_is_swept_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "a" / ".partial" / "truth").mkdir(parents=True)
    (tmp_path / "a" / ".partial" / "truth" / "left.tif").write_text("half")
    _simulate(tmp_path / "a", period="2020-01", limit=1)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["catalog.json", "items.json", "landsat-c2-l2", "sentinel-2-l2a", "truth"]
    assert not (tmp_path / "a" / "truth" / "left.tif").exists()


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"cannot write to .*file: File exists; choose another folder"):
        _simulate(tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"period": "1975"}, "no simulated platform passes 'demo' in 1975: the archives start on 1984-03-16"),
        ({"size_px": 4}, "expected a size from 48 to 2048 Landsat pixels, got 4"),
        ({"limit": 0}, "expected at least 1 scene per platform, got 0"),
        ({"seed": -1}, "expected a seed of 0 or more, got -1"),
        ({"area": "0,80,1,81"}, "expected an area between 75 south and 75 north"),
        ({"area": "demmo"}, r"unknown area 'demmo'.*demo"),
    ],
)
def test_a_wrong_request_names_what_is_wrong_and_writes_nothing(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        _simulate(tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()
