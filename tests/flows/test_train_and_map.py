"""Train on published cells and map with the model: identity, idempotence, lineage, files, and honest refusals."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pystac
import pytest
import rasterio
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geom import box

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.cubes.passport import passport_of
from flows.steps.index.index_setup import add_product, init_index
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.mapping import MapResult, classify_cell, map_cells
from flows.steps.learning.model_files import FOREST, ModelFiles
from flows.steps.learning.models import Model, find_model
from flows.steps.learning.network_training import TrainingRoom
from flows.steps.learning.training import FeatureCells, TrainedModel, feature_cells, learn_model
from flows.steps.loading.reading import RasterAccess
from flows.steps.storage import Storage, open_storage
from products.area import Area
from products.devices import choose_backend
from products.errors import RequestError
from products.grid import Tile
from products.identity import CellKey, SourceKey, cell_id
from products.learning.recipe import MapSpec, ModelRecipe, SelectionSpec
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES
from products.spec import FeaturesRecipe
from products.template import features_template, odc_product_definition

TILE_PX = 64
FEATURES = FeaturesRecipe.model_validate(
    {
        "name": "coast_features",
        "version": 1,
        "kind": "features",
        "grid": {"crs": "EPSG:32647", "resolution_m": 30, "tile_px": TILE_PX, "anchor": "landsat"},
        "period": "P1Y",
        "sources": [{"collection": "landsat-c2-l2"}],
        "features": [{"geomedian": {"bands": ["red", "nir"]}}, {"index": {"names": ["NDVI"], "reduce": ["p50"]}}],
    }
)
MODEL = ModelRecipe.model_validate(
    {
        "name": "coast_model",
        "version": 1,
        "kind": "model",
        "title": "Coast",
        "features": "coast_features",
        "samples": {"classes": ["mangrove", "water", "other"], "edge_px": 0, "max_per_class": 800},
        "split": {"block_m": 300, "folds": 4, "buffer_m": 30},
        "estimator": {"random_forest": {"trees": 15, "max_depth": 8}},
        "map": {"name": "coast_map"},
    }
)
TILES = tuple(Tile("EPSG:32647", -276, column) for column in (359, 360))
YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
GRID = FEATURES.grid.pixel_grid(box(100.8, 4.9, 100.9, 5.0, CRS("EPSG:4326")))
MOSAIC = GRID.mosaic(TILES)
AREA = Area("coast", MOSAIC.pad(-3).extent.to_crs(CRS("EPSG:4326")))
CPU = choose_backend("cpu")


@dataclass(frozen=True)
class Coast:
    """A store and an index that hold the features of a known coast; `truth` has its class codes, (y, x)."""

    index: Index
    storage: Storage
    truth: NDArray[np.uint8]
    labels: Path

    @property
    def cells(self) -> FeatureCells:
        return feature_cells(self.index, FEATURES, AREA, YEAR)

    def train(self, labels: Path | None = None, **changed: Any) -> TrainedModel:
        recipe = MODEL.model_copy(update=changed)
        path = labels or self.labels
        return learn_model(
            self.index, self.storage, recipe, self.cells, LabelFile(str(path), path), CPU, 1, TrainingRoom(path.parent)
        )

    def map(self, name: str = "coast_model") -> MapResult:
        return map_cells(self.index, self.storage, find_model(self.index, self.storage, name), self.cells, 2)

    def row(self, number: UUID) -> Any:
        return self.index.dc.index.datasets.get(number, include_sources=True)


def truth() -> NDArray[np.uint8]:
    """Water in the west, other land in the east, mangrove between, with a wavy coast."""
    rows, columns = np.mgrid[0:TILE_PX, 0 : 2 * TILE_PX]
    wave = columns + 6 * np.sin(rows / 7)
    return np.digitize(wave, (45, 85)).astype(np.uint8).choose([2, 1, 3]).astype(np.uint8)


def features_of(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(feature, y, x): each class has a level in each feature, with noise; one pixel lacks a feature."""
    levels = np.array([[0, 0, 0], [0.03, 0.3, 0.8], [0.05, 0.02, -0.4], [0.2, 0.25, 0.1]])
    values = levels[codes].transpose(2, 0, 1) + np.random.default_rng(2).normal(0, 0.04, (3, *codes.shape))
    values[1, 10, 10] = np.nan
    return values.astype(np.float32)


def write_labels(path: Path, codes: NDArray[np.uint8], offset: int = 0) -> Path:
    """Squares of 3 x 3 pixels of one class on a lattice, in degrees."""
    features = []
    for row in range(2 + offset, TILE_PX - 4, 7):
        for column in range(2, 2 * TILE_PX - 4, 7):
            inside = codes[row : row + 3, column : column + 3]
            if (inside == inside[0, 0]).all():
                left, top = MOSAIC.affine * (column, row)
                shape = box(left, top - 90, left + 90, top, MOSAIC.crs).to_crs(CRS("EPSG:4326"))
                name = MODEL.class_names[inside[0, 0] - 1]
                features.append({"type": "Feature", "properties": {"class": name}, "geometry": shape.json})
    path.write_text(json.dumps({"type": "FeatureCollection", "simulated": True, "features": features}))
    return path


def publish_features(index: Index, storage: Storage, codes: NDArray[np.uint8]) -> None:
    values, template = features_of(codes), features_template(FEATURES)
    add_product(index.dc, odc_product_definition(template))
    for number, tile in enumerate(TILES):
        key = CellKey(FEATURES.name, FEATURES.version, tile, YEAR)
        window = values[None, :, :, number * TILE_PX : (number + 1) * TILE_PX]
        accounts = np.zeros((1, len(ACCOUNT_NAMES), TILE_PX, TILE_PX), np.uint16)
        identity = cell_id(key, [SourceKey("scene", "1")], FEATURES.digest())
        draft = CellDraft(identity, key, template, GRID, FEATURES.digest(), {})
        publish_cell(index, storage, draft, {"features": window, "accounts": accounts})


def make_coast(settings: Settings, folder: Path) -> Iterator[Coast]:
    init_index(settings, folder)
    codes = truth()
    with open_index(settings) as index:
        storage = open_storage(settings)
        publish_features(index, storage, codes)
        yield Coast(index, storage, codes, write_labels(folder / "labels.geojson", codes))


@pytest.fixture(scope="module")
def coast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coast]:
    folder = tmp_path_factory.mktemp("coast")
    yield from make_coast(Settings(home=folder / "home"), folder)


@pytest.fixture(scope="module")
def trained(coast: Coast) -> TrainedModel:
    return coast.train()


@pytest.fixture(scope="module")
def mapped(coast: Coast, trained: TrainedModel) -> MapResult:
    coast.train()
    return coast.map()


def test_a_trained_model_tells_its_metrics_and_card(coast: Coast, trained: TrainedModel) -> None:
    document = trained.document()
    assert document["model"] == str(trained.id)
    assert document["metrics"]["score"] == "regression score"
    assert document["metrics"]["holdout"]["overall"] > 0.97
    assert json.dumps(document)
    assert Path(coast.storage.from_url(document["card"])).read_text().startswith("# Coast, version 1")


def test_the_model_folder_holds_forest_metrics_card_and_pictures(coast: Coast, trained: TrainedModel) -> None:
    folder = Path(coast.storage.path("models", "coast_model", str(trained.id)))
    names = {"forest.npz", "metrics.json", "card.json", "card.md", "split.png", "confusion.png"}
    assert {path.name for path in folder.iterdir()} == names


def test_the_model_is_a_dataset_with_lineage_to_its_cells(coast: Coast, trained: TrainedModel) -> None:
    row = coast.row(trained.id)
    assert row.product.name == "coast_model"
    assert {source.id for source in row.sources.values()} == {cell.id for cell in coast.cells.cells.values()}
    assert row.metadata_doc["properties"]["neocube:simulated"] is True


def test_training_the_same_again_does_nothing(coast: Coast, trained: TrainedModel) -> None:
    path = Path(coast.storage.path("models", "coast_model", str(trained.id), FOREST))
    before = path.stat().st_mtime_ns
    again = coast.train()
    assert (again.id, again.trained) == (trained.id, False)
    assert again.document()["metrics"] == trained.document()["metrics"]
    assert path.stat().st_mtime_ns == before


def test_other_labels_make_another_model_and_the_first_can_come_back(
    coast: Coast, trained: TrainedModel, tmp_path: Path
) -> None:
    other = coast.train(write_labels(tmp_path / "other.geojson", coast.truth, offset=3))
    assert other.trained
    assert other.id != trained.id
    assert coast.row(trained.id).is_archived
    assert find_model(coast.index, coast.storage, "coast_model").id == other.id
    assert find_model(coast.index, coast.storage, str(trained.id)).id == trained.id
    back = coast.train()
    assert (back.id, back.trained) == (trained.id, False)
    assert not coast.row(trained.id).is_archived
    assert coast.row(other.id).is_archived


def test_another_recipe_under_the_same_version_is_refused(coast: Coast, trained: TrainedModel) -> None:
    with pytest.raises(RequestError, match="coast_model version 1 was built from another recipe"):
        coast.train(seed=5)
    assert find_model(coast.index, coast.storage, "coast_model").id == trained.id


def test_a_model_of_selected_features_maps_by_these_alone(coast: Coast, trained: TrainedModel) -> None:
    selection = SelectionSpec(method="permutation", keep=2)
    chosen = coast.train(selection=selection, name="lean_model", map=MapSpec(name="lean_map"))
    found = find_model(coast.index, coast.storage, "lean_model")
    told = json.loads(Path(chosen.card_path).with_name("card.json").read_text())["metrics"]["selection"]
    assert isinstance(found, Model)
    assert list(found.forest.feature_names) == told["kept"] and len(told["kept"]) == 2
    assert (open_snapshot(coast.map("lean_model").cube)["map_class"].values[0] == coast.truth).mean() > 0.95


def test_a_newer_version_is_what_the_name_means(coast: Coast, trained: TrainedModel) -> None:
    newer = coast.train(seed=5, version=2)
    assert find_model(coast.index, coast.storage, "coast_model").id == newer.id
    coast.index.dc.index.datasets.archive([newer.id])
    assert find_model(coast.index, coast.storage, "coast_model").id == trained.id


def test_the_map_agrees_with_the_known_coast(coast: Coast, mapped: MapResult) -> None:
    cube = open_snapshot(mapped.cube)
    found = cube["map_class"].values[0]
    assert found[10, 10] == 0
    assert (found == coast.truth).mean() > 0.98
    percent = cube["probability"].values[0]
    assert (percent[:, 10, 10] == 255).all()
    known = found > 0
    assert np.abs(percent[:, known].astype(int).sum(axis=0) - 100).max() <= 2
    assert list(cube["class"].values) == ["probability_mangrove", "probability_water", "probability_other"]


def test_a_map_cell_has_lineage_to_its_features_and_the_model(
    coast: Coast, trained: TrainedModel, mapped: MapResult
) -> None:
    by_tile = {tile.label: cell.id for tile, _, cell in coast.cells.placed}
    for number in (*mapped.mapped, *mapped.fresh):
        row = coast.row(number)
        tile = row.metadata_doc["properties"]["neocube:tile"]
        assert {source.id for source in row.sources.values()} == {by_tile[tile], trained.id}
        assert row.product.name == "coast_map"
        assert set(row.measurements) == {"map_class", *(f"probability_{name}" for name in MODEL.class_names)}


def test_the_passport_of_a_map_is_that_of_its_features_with_the_model(
    coast: Coast, trained: TrainedModel, mapped: MapResult
) -> None:
    at = AREA.geometry.centroid.coords[0]
    said = passport_of(coast.index, coast.storage, "coast_map", lambda _: FEATURES, at, YEAR, 1, RasterAccess())
    assert UUID(said["cell"]["id"]) in {*mapped.mapped, *mapped.fresh}
    facts = coast.row(UUID(said["cell"]["id"])).metadata_doc["properties"]
    assert said["model"] == {"id": str(trained.id), "digest": facts["neocube:model_digest"]}
    assert said["recipe"] == {"name": "coast_features", "version": 1, "digest": FEATURES.digest()}
    assert said["counts"] == dict.fromkeys(ACCOUNT_NAMES, 0)
    assert (said["scenes"], said["quality"]) == ([], None)


def test_mapping_the_same_again_does_nothing(coast: Coast, mapped: MapResult) -> None:
    cog = Path(coast.storage.from_url(mapped.files.cogs[0]))
    before = cog.stat().st_mtime_ns
    again = coast.map()
    assert (len(again.mapped), len(again.fresh)) == (0, 2)
    assert (again.cube, again.files) == (mapped.cube, mapped.files)
    assert cog.stat().st_mtime_ns == before


def test_another_model_maps_other_cells_and_replaces_the_old(coast: Coast, mapped: MapResult, tmp_path: Path) -> None:
    coast.train(write_labels(tmp_path / "other.geojson", coast.truth, offset=3))
    other = coast.map()
    old = {*mapped.mapped, *mapped.fresh}
    assert len(other.mapped) == 2
    assert old.isdisjoint(other.mapped)
    assert all(coast.row(number).is_archived for number in old)
    coast.train()
    back = coast.map()
    assert {*back.mapped, *back.fresh} == old
    assert back.cube == mapped.cube


def test_threads_and_tiles_give_the_same_pixels(coast: Coast, mapped: MapResult) -> None:
    model = find_model(coast.index, coast.storage, "coast_model")
    cell = next(iter(coast.cells.placed))[2]
    opened = open_snapshot(str(cell.location).removesuffix("/zarr.json"))
    one, three = (classify_cell(model, opened, threads) for threads in (1, 3))
    assert all((one[name] == three[name]).all() for name in one)
    assert (one["map_class"][0] == open_snapshot(mapped.cube)["map_class"].values[0, :, :TILE_PX]).all()


def test_the_cogs_are_cut_to_the_area_coloured_and_described(coast: Coast, mapped: MapResult) -> None:
    classes, shares = (coast.storage.from_url(url) for url in mapped.files.cogs)
    with rasterio.open(classes) as file:
        assert (file.crs.to_epsg(), file.res, file.nodata) == (32647, (30.0, 30.0), 0)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.colormap(1)[1] == (17, 112, 67, 255)
        assert file.tags()["classes"] == "1=mangrove, 2=water, 3=other"
        assert file.tags()["simulated"] == "yes"
        window = file.window(*MOSAIC.pad(-3).extent.boundingbox.bbox).round_offsets().round_lengths()
        assert (file.read(1, window=window) == open_snapshot(mapped.cube)["map_class"].values[0, 3:-3, 3:-3]).all()
    with rasterio.open(shares) as file:
        assert file.descriptions == ("probability_mangrove", "probability_water", "probability_other")
        assert file.nodata == 255


def test_the_collection_leads_to_items_whose_files_are_there(coast: Coast, mapped: MapResult) -> None:
    collection = pystac.Collection.from_file(coast.storage.from_url(mapped.files.collection))
    (item,) = collection.get_items()
    assert item.get_collection() is collection
    assert (item.properties["proj:code"], item.properties["neocube:simulated"]) == ("EPSG:32647", True)
    assert [each["name"] for each in item.assets["map_class"].to_dict()["classification:classes"]] == [
        "mangrove", "water", "other",
    ]  # fmt: skip
    for asset in item.get_assets().values():
        assert Path(str(asset.get_absolute_href())).is_file()
    assert "shows no real place" in collection.description


def test_pixel_areas_are_those_inside_the_area(mapped: MapResult) -> None:
    document = mapped.document()
    assert {(each["unit"], each["period"]) for each in document["pixel_area"]} == {("ha", "2020")}
    total = sum(each["area"] for each in document["pixel_area"])
    assert total == pytest.approx((TILE_PX - 6) * (2 * TILE_PX - 6) * 0.09, rel=0.01)
    assert json.dumps(document)


def test_the_quicklook_is_a_picture(coast: Coast, mapped: MapResult) -> None:
    content = Path(coast.storage.from_url(mapped.files.quicklooks[0])).read_bytes()
    assert content.startswith(b"\x89PNG")


def test_labels_elsewhere_are_refused_and_leave_nothing(coast: Coast, trained: TrainedModel, tmp_path: Path) -> None:
    shape = {"type": "Polygon", "coordinates": [[[10, 50], [10.1, 50], [10.1, 50.1], [10, 50]]]}
    feature = {"type": "Feature", "properties": {"class": "water"}, "geometry": shape}
    path = tmp_path / "elsewhere.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    before = list(Path(coast.storage.path("models", "coast_model")).iterdir())
    with pytest.raises(RequestError, match=r"elsewhere.geojson \(EPSG:4326\) share no ground with the area 'coast'"):
        coast.train(path)
    assert list(Path(coast.storage.path("models", "coast_model")).iterdir()) == before


def test_one_class_only_is_refused(coast: Coast, tmp_path: Path) -> None:
    path = write_labels(tmp_path / "one.geojson", np.ones_like(coast.truth))
    with pytest.raises(RequestError, match=r"no labelled pixels of the class water, other \(there are mangrove: "):
        coast.train(path)


def test_an_unbuilt_period_says_what_to_build(coast: Coast) -> None:
    year = Period(datetime(2011, 1, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC))
    with pytest.raises(
        RequestError, match=r"build it first \(neocube build coast_features --area coast --period 2011\)"
    ):
        feature_cells(coast.index, FEATURES, AREA, year)


@pytest.mark.parametrize("name", ["coast_modle", "coast_features", "61f9a897-7873-436a-9a46-a6d0fd2e019d"])
def test_an_unknown_model_lists_the_known(coast: Coast, trained: TrainedModel, name: str) -> None:
    with pytest.raises(RequestError, match=f"unknown model '{name}': expected the name or the id .*coast_model"):
        find_model(coast.index, coast.storage, name)


def test_a_model_file_that_was_changed_is_refused(coast: Coast, mapped: MapResult, trained: TrainedModel) -> None:
    path = Path(ModelFiles(coast.storage, "coast_model", trained.id).path(FOREST))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RequestError, match=r"forest.npz is not a readable model file"):
        find_model(coast.index, coast.storage, "coast_model")
    path.unlink()
    with pytest.raises(RequestError, match=r"the files of the model .* are not in .*: train it again"):
        find_model(coast.index, coast.storage, "coast_model")
    assert coast.train().trained
    assert path.read_bytes() == content


def test_cells_without_a_feature_of_the_model_are_refused(coast: Coast, mapped: MapResult) -> None:
    model = find_model(coast.index, coast.storage, "coast_model")
    cell = open_snapshot(mapped.cube).rename({"probability": "features", "class": "feature"})
    with pytest.raises(RequestError, match="was trained on the feature 'red', which the cells lack"):
        classify_cell(model, cell, 1)


@pytest.mark.full
def test_training_and_mapping_work_on_s3(s3_endpoint: str, tmp_path: Path) -> None:
    access = {"s3_access_key_id": "reader", "s3_secret_access_key": "secret"}
    place = {"home": tmp_path / "home", "store_url": "s3://coast/store", "s3_endpoint_url": s3_endpoint}
    settings = Settings.model_validate(access | place)
    open_storage(settings).filesystem.mkdir("coast")
    for coast in make_coast(settings, tmp_path):
        assert coast.train().trained
        assert not coast.train().trained
        found = coast.map()
        assert found.cube.startswith("s3://coast/store/cubes/coast_map-v1/coast/")
        assert (open_snapshot(found.cube, coast.storage.options)["map_class"].values[0] == coast.truth).mean() > 0.98
        assert all(coast.storage.exists(url) for url in found.files.cogs)
