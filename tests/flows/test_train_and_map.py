"""Train on published cells and map with the model: identity, idempotence, lineage, files, and honest refusals."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geom import Geometry, box
from pyproj import Geod
from pystac.extensions.mlm import MLMExtension

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows import read_model
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.cubes.passport import passport_of
from flows.steps.index.index_setup import init_index
from flows.steps.learning.feature_cells import FeatureCells, feature_cells
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.mapping import MapResult, classify_cell, map_cells
from flows.steps.learning.model_export import answers, export_model, largest_difference
from flows.steps.learning.model_files import ModelFiles, learned_file
from flows.steps.learning.models import Model, find_model
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.training import TrainedModel, learn_model
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.storage import Storage, open_storage, path_of
from products.area import Area
from products.devices import choose_backend
from products.errors import RequestError
from products.grid import Tile
from products.learning.estimator_spec import EstimatorSpec
from products.learning.learned import PixelModel
from products.learning.onnx_model import onnx_graph
from products.learning.recipe import ExplainSpec, MapSpec, ModelRecipe, SelectionSpec
from products.learning.tune_spec import TuneSpec
from products.period import Period, parse_period
from products.pixel.causes import ACCOUNT_NAMES
from tests.flows.geojson_files import write_shapes
from tests.flows.sampled_coast import (
    AREA,
    FEATURES,
    GRID,
    MOSAIC,
    TILE_PX,
    TILES,
    YEAR,
    features_of,
    publish_features,
    truth,
)

FOREST = "random_forest.npz"
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
            self.index,
            self.storage,
            recipe,
            self.cells,
            LabelFile(str(path), path),
            CPU,
            1,
            TrainingResources(path.parent),
        )

    def map(self, name: str = "coast_model") -> MapResult:
        return map_cells(self.index, self.storage, find_model(self.index, self.storage, name), self.cells, 2)

    def row(self, number: UUID) -> Any:
        return self.index.dc.index.datasets.get(number, include_sources=True)


def write_labels(path: Path, codes: NDArray[np.uint8], offset: int = 0) -> Path:
    """Squares of 3 x 3 pixels of one class on a lattice, in degrees."""
    shapes, classes = [], []
    for row in range(2 + offset, TILE_PX - 4, 7):
        for column in range(2, 2 * TILE_PX - 4, 7):
            inside = codes[row : row + 3, column : column + 3]
            if (inside == inside[0, 0]).all():
                left, top = MOSAIC.affine * (column, row)
                shapes.append(box(left, top - 90, left + 90, top, MOSAIC.crs).to_crs(CRS("EPSG:4326")))
                classes.append({"class": MODEL.class_names[inside[0, 0] - 1]})
    return write_shapes(path, shapes, classes, simulated=True)


def make_coast(settings: Settings, folder: Path) -> Iterator[Coast]:
    init_index(settings, folder)
    codes = truth()
    with open_index(settings) as index:
        storage = open_storage(settings)
        publish_features(index, storage, features_of(codes), recipe=FEATURES)
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
    assert Path(path_of(document["card"])).read_text().startswith("# Coast, version 1")


def test_the_model_folder_holds_forest_metrics_card_and_pictures(coast: Coast, trained: TrainedModel) -> None:
    folder = Path(coast.storage.path("models", "coast_model", str(trained.id)))
    names = {
        FOREST,
        "metrics.json",
        "card.json",
        "card.md",
        "split.png",
        "confusion.png",
        "importance.png",
        "item.json",
    }
    names |= {"split.parquet", "calibration.png", "applicability.npz"}
    assert {path.name for path in folder.iterdir()} == names


def test_the_model_is_a_dataset_with_lineage_to_its_cells(coast: Coast, trained: TrainedModel) -> None:
    row = coast.row(trained.id)
    assert row.product.name == "coast_model"
    assert {source.id for source in row.sources.values()} == {cell.id for cell in coast.cells.cells.values()}
    assert row.metadata_doc["properties"]["neocube:simulated"] is True


def test_the_card_says_how_sure_its_numbers_are(coast: Coast, trained: TrainedModel) -> None:
    metrics, card = trained.card["metrics"], Path(trained.card_path).read_text()
    low, high = metrics["intervals"]["overall"]
    assert low <= metrics["holdout"]["overall"] <= high
    assert metrics["calibration"]["ece"] < 0.1
    assert metrics["split"]["buffer_m"] == 30
    assert sum(each["pixels"] for each in metrics["by_edge_distance"]) == metrics["holdout"]["pixels"]
    assert all(leak["accepted"] for leak in metrics["leaks"])
    for words in (
        "## How sure this is",
        "## The split",
        "## Area of applicability",
        "The variogram of the features about",
    ):
        assert words in card


def test_the_split_is_stored_as_a_layer_of_blocks(coast: Coast, trained: TrainedModel) -> None:
    blocks = geopandas.read_parquet(Path(trained.card_path).with_name("split.parquet"))
    assert blocks.crs.to_epsg() == 32647
    assert set(blocks["fold"]) == {0, 1, 2, 3}
    assert (blocks["fold"][blocks["is_holdout"]] == 3).all()
    assert blocks["trained_on"][blocks["is_holdout"]].sum() == 0
    assert blocks["trained_on"].sum() == sum(trained.card["metrics"]["trained_on"].values())
    assert (blocks.area == 300.0**2).all()


def test_labels_of_real_ground_that_one_feature_tells_apart_are_refused_unless_accepted(
    coast: Coast, tmp_path: Path
) -> None:
    path = write_labels(tmp_path / "real.geojson", coast.truth)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"simulated": False}))
    asked: dict[str, Any] = {"name": "real_model", "map": MapSpec(name="real_map")}
    with pytest.raises(
        RequestError, match=r"the test would know its answers: ndvi_p50 alone tells the classes apart .* split.accept"
    ):
        coast.train(path, **asked)
    accepted = coast.train(path, **asked, split=MODEL.split.model_copy(update={"accept": ("ndvi_p50",)}))
    assert [each["accepted"] for each in accepted.card["metrics"]["leaks"]] == [True]
    assert "Accepted: ndvi_p50 alone tells the classes apart" in Path(accepted.card_path).read_text()


def test_sites_are_left_out_by_name_and_must_hold_all_samples(coast: Coast, tmp_path: Path) -> None:
    whole, path = MOSAIC.extent.boundingbox, tmp_path / "sites.geojson"
    middle = whole.bottom + 900
    halves = [(whole.bottom, middle, "south"), (middle, whole.top, "north")]
    shapes = [shapely.box(whole.left, low, whole.right, high) for low, high, _ in halves]
    sites = geopandas.GeoDataFrame({"name": [name for *_, name in halves]}, geometry=shapes, crs=32647)
    sites.to_file(path)
    asked: dict[str, Any] = {"name": "sited_model", "map": MapSpec(name="sited_map")}
    first = coast.train(**asked, split=MODEL.split.model_copy(update={"sites": str(path)}))
    found = first.card["metrics"]["by_site"]
    assert set(found["sites"]) == {"south", "north"}
    assert found["lowest"] > 0.9 and found["variance"] is not None
    moved = tmp_path / "moved.geojson"
    moved.write_bytes(path.read_bytes())
    again = coast.train(**asked, split=MODEL.split.model_copy(update={"sites": str(moved)}))
    assert (again.trained, again.id) == (False, first.id)
    sites.assign(name=["below", "above"]).to_file(moved)
    other = coast.train(**asked, split=MODEL.split.model_copy(update={"sites": str(moved)}))
    assert other.trained and set(other.card["metrics"]["by_site"]["sites"]) == {"below", "above"}
    overlapping = [shapely.box(whole.left, whole.bottom, whole.right, middle + 90), shapes[1]]
    sites.set_geometry(overlapping, crs=32647).to_file(path)
    with pytest.raises(
        RequestError, match=r"samples lie in both south and north of .*sites.geojson: .* cut the polygons"
    ):
        coast.train(**asked, seed=9, split=MODEL.split.model_copy(update={"sites": str(path)}))
    for missing in (None, " "):
        sites.assign(name=["south", missing]).to_file(path)
        with pytest.raises(
            RequestError, match=r"1 of 2 polygons of .* have no `name`, the first is feature 2: name each"
        ):
            coast.train(**asked, seed=9, split=MODEL.split.model_copy(update={"sites": str(path)}))
    sites[:1].to_file(path)
    with pytest.raises(RequestError, match=r"samples lie in no site of .*sites.geojson"):
        coast.train(**asked, seed=9, split=MODEL.split.model_copy(update={"sites": str(path)}))
    sites.drop(columns="name").to_file(path)
    with pytest.raises(RequestError, match="expected polygons with a column `name` and a CRS"):
        coast.train(**asked, seed=9, split=MODEL.split.model_copy(update={"sites": str(path)}))
    with pytest.raises(RequestError, match=r"no file of sites at none.gpkg"):
        coast.train(**asked, seed=9, split=MODEL.split.model_copy(update={"sites": "none.gpkg"}))
    with pytest.raises(RequestError, match="no sample lies in the holdout_periods 2011"):
        coast.train(**asked, seed=9, split=MODEL.split.model_copy(update={"holdout_periods": ("2011",)}))


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
    assert list(found.learned.feature_names) == told["kept"] and len(told["kept"]) == 2
    assert (open_snapshot(coast.map("lean_model").cube)["map_class"].values[0] == coast.truth).mean() > 0.95


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        ({"gradient_boosting": {"rounds": 10}}, "gradient-boosted trees, 30 in 10 rounds"),
        ({"linear": {}}, "a multinomial logistic regression"),
        ({"knn": {"neighbours": 3}}, "the 3 nearest of"),
        ({"kmeans": {"clusters": 6, "starts": 2}}, "6 k-means clusters, found without labels"),
    ],
)
def test_every_estimator_trains_maps_and_stands_in_its_card(
    coast: Coast, estimator: dict[str, Any], words: str
) -> None:
    kind = next(iter(estimator))
    asked = EstimatorSpec.model_validate(estimator)
    made = coast.train(estimator=asked, name=f"{kind}_model", map=MapSpec(name=f"{kind}_map"))
    assert (Path(made.card_path).parent / f"{kind}.npz").is_file()
    assert f", {words}" in Path(made.card_path).read_text()
    assert made.card["metrics"]["holdout"]["overall"] > 0.9
    mapped = open_snapshot(coast.map(f"{kind}_model").cube)["map_class"].values[0]
    assert mapped[10, 10] == 0
    assert (mapped == coast.truth).mean() > 0.95


def test_a_tuned_model_has_its_study_in_card_metrics_and_item(coast: Coast) -> None:
    pytest.importorskip("optuna", reason="optuna, of the extra tune, is not installed")
    tune = TuneSpec(parameters={"neighbours": (1, 30)}, trials=3)
    knn = EstimatorSpec.model_validate({"knn": {"neighbours": 300}})
    made = coast.train(estimator=knn, tune=tune, name="tuned_model", map=MapSpec(name="tuned_map"))
    found, folder = made.card["metrics"]["tuning"], Path(made.card_path).parent
    assert len(found["trials"]) == 3 and found["best"]["neighbours"] <= 30
    assert json.loads((folder / "metrics.json").read_text())["tuning"] == found
    card = Path(made.card_path).read_text()
    assert "## Settings tuned" in card and f", the {found['best']['neighbours']} nearest of" in card
    assert (folder / "tuning.png").read_bytes().startswith(b"\x89PNG")
    said = json.loads((folder / "item.json").read_text())["properties"]["mlm:hyperparameters"]
    assert said["knn"] == found["best"] and made.card["recipe"]["estimator"]["knn"] == {"neighbours": 300}


def test_shapley_values_stand_in_the_card_where_they_are_asked_for(coast: Coast) -> None:
    made = coast.train(explain=ExplainSpec(shap=True, repeats=2), name="told_model", map=MapSpec(name="told_map"))
    found = made.card["metrics"]["shap"]
    assert (found["unit"], found["background"]) == ("share", 100)
    assert set(found["mean_absolute"]) == {"red", "nir", "ndvi_p50"}
    assert "Shapley values of" in Path(made.card_path).read_text()
    assert Path(made.card_path).with_name("shap.png").read_bytes().startswith(b"\x89PNG")


def test_the_file_of_a_model_is_read_by_its_name_and_asked(coast: Coast, trained: TrainedModel) -> None:
    path = Path(trained.card_path).with_name(FOREST)
    model, pixels = read_model(path), features_of(coast.truth).reshape(3, -1)
    assert isinstance(model, PixelModel)
    shares = model.probabilities(pixels)
    assert np.isnan(shares[:, 10 * 2 * TILE_PX + 10]).all()
    assert (1 + shares[:, :1000].argmax(axis=0) == coast.truth.ravel()[:1000]).mean() > 0.98


def test_a_file_that_no_reader_knows_is_named() -> None:
    with pytest.raises(
        RequestError, match=r"the model m has card.md, tree.pkl: expected one of random_forest.npz, .*; a"
    ):
        learned_file(["card.md", "tree.pkl"], "the model m")
    with pytest.raises(RequestError, match="models/m has tree.pkl: expected one of random_forest.npz, "):
        read_model(Path("models/m/tree.pkl"))


def test_the_item_of_a_model_says_what_the_mlm_extension_asks_for(coast: Coast, trained: TrainedModel) -> None:
    """Required by https://stac-extensions.github.io/mlm/v1.4.0/schema.json: name, architecture, tasks, input, output, an mlm:model asset."""
    path = Path(trained.card_path).with_name("item.json")
    item = pystac.Item.from_file(path)
    told = MLMExtension.ext(item)
    assert MLMExtension.get_schema_uri() in item.stac_extensions
    assert (told.mlm_name, told.architecture, told.tasks) == ("coast_model", "Random Forest", ["classification"])
    (asked,), (given,) = told.input, told.output
    assert (asked.bands, asked.input.shape, asked.input.dim_order) == (
        ["red", "nir", "ndvi_p50"], [-1, 3], ["batch", "channel"],
    )  # fmt: skip
    assert (given.result.shape, given.result.dim_order) == ([-1, 3], ["batch", "class"])
    assert [each["name"] for each in item.properties["bands"]] == asked.bands
    names = [each["name"] for each in item.properties["mlm:output"][0]["classification:classes"]]
    assert names == list(MODEL.class_names)
    assert told.hyperparameters is not None
    assert told.hyperparameters.to_dict()["random_forest"]["trees"] == 15
    (model,) = [each for each in item.assets.values() if each.has_role("mlm:model")]
    assert model.extra_fields["mlm:artifact_type"] == "npz"
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", told.mlm_name)


def test_the_item_of_a_model_leads_to_its_files_and_says_where_it_came_from(
    coast: Coast, trained: TrainedModel
) -> None:
    item = pystac.Item.from_file(Path(trained.card_path).with_name("item.json"))
    for asset in item.assets.values():
        content = Path(str(asset.get_absolute_href())).read_bytes()
        assert asset.extra_fields["file:size"] == len(content)
        assert asset.extra_fields["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    facts = item.properties
    assert set(facts["neocube:cells"]) == {str(cell.id) for cell in coast.cells.cells.values()}
    assert facts["neocube:digest"] == coast.row(trained.id).metadata_doc["properties"]["neocube:content_digest"]
    assert facts["neocube:metrics"]["holdout"] == trained.card["metrics"]["holdout"]
    assert (facts["neocube:split"]["block_m"], facts["neocube:simulated"]) == (300, True)
    assert "say nothing about accuracy on real ground" in facts["description"]


@pytest.mark.parametrize("kind", ["random_forest", "gradient_boosting", "linear", "kmeans"])
def test_an_exported_model_answers_as_the_model(coast: Coast, trained: TrainedModel, tmp_path: Path, kind: str) -> None:
    name = f"out_{kind}"
    asked = EstimatorSpec.model_validate({kind: {}})
    coast.train(estimator=asked, name=name, map=MapSpec(name=f"{name}_map"))
    document = export_model(coast.index, coast.storage, name, str(tmp_path))
    assert [Path(path).name for path in document["files"]] == ["card.json", "card.md", "item.json", f"{name}.onnx"]
    assert document["largest_difference"] <= document["tolerance"]
    features = features_of(coast.truth).reshape(3, -1)
    model = find_model(coast.index, coast.storage, name)
    assert isinstance(model, Model) and isinstance(model.learned, PixelModel)
    shares, codes = answers((tmp_path / f"{name}.onnx").read_bytes(), features)
    np.testing.assert_allclose(shares, model.learned.probabilities(features).T, atol=document["tolerance"])
    assert (codes == model.learned.classify(features)[0]).mean() > 0.9999


def test_a_graph_of_another_model_is_not_handed_out(coast: Coast, trained: TrainedModel) -> None:
    first = find_model(coast.index, coast.storage, "coast_model")
    coast.train(seed=9, name="ninth_model", map=MapSpec(name="ninth_map"))
    other = find_model(coast.index, coast.storage, "ninth_model")
    assert isinstance(first, Model) and isinstance(other, Model)
    assert isinstance(first.learned, PixelModel) and isinstance(other.learned, PixelModel)
    with pytest.raises(RuntimeError, match=r"differs from the model by 0\.\d+ in a share.*; it is not handed out"):
        largest_difference(first.learned, onnx_graph(other.learned))


def test_neighbours_have_no_graph(coast: Coast, tmp_path: Path) -> None:
    asked = EstimatorSpec.model_validate({"knn": {}})
    coast.train(estimator=asked, name="near_model", map=MapSpec(name="near_map"))
    with pytest.raises(
        RequestError, match="no ONNX graph for the 5 nearest of .*: expected a forest, boosted trees, a"
    ):
        export_model(coast.index, coast.storage, "near_model", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


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


def test_the_map_says_where_the_model_is_applicable_and_how_sure_it_is(coast: Coast, mapped: MapResult) -> None:
    cube = open_snapshot(mapped.cube)
    index, applicable, uncertainty = (cube[name].values[0] for name in ("dissimilarity", "applicable", "uncertainty"))
    assert np.isnan(index[10, 10]) and (applicable[10, 10], uncertainty[10, 10]) == (255, 255)
    known = np.isfinite(index)
    assert known.sum() == known.size - 1
    share = (applicable[known] == 1).mean()
    assert 0.9 < share < 1
    assert index[applicable == 0].min() > index[applicable == 1].max()
    top = cube["probability"].values[0].max(axis=0)
    assert uncertainty[top == 100].max() == 0 and uncertainty[known & (top < 60)].min() > 40
    (said,) = mapped.document()["applicability"]
    assert said["period"] == "2020" and said["inside_share"] == pytest.approx(share, abs=0.02)


def test_a_model_without_its_applicability_is_trained_again(
    coast: Coast, mapped: MapResult, trained: TrainedModel
) -> None:
    path = Path(trained.card_path).with_name("applicability.npz")
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(RequestError, match=r"applicability.npz is not a readable model file"):
        find_model(coast.index, coast.storage, "coast_model")
    path.unlink()
    assert coast.train().trained
    assert path.read_bytes() == content


def test_a_map_cell_has_lineage_to_its_features_and_the_model(
    coast: Coast, trained: TrainedModel, mapped: MapResult
) -> None:
    by_tile = {tile.label: cell.id for tile, _, cell in coast.cells.placed}
    assert len({*mapped.mapped, *mapped.fresh}) == len(by_tile) > 0
    for number in (*mapped.mapped, *mapped.fresh):
        row = coast.row(number)
        tile = row.metadata_doc["properties"]["neocube:tile"]
        assert {source.id for source in row.sources.values()} == {by_tile[tile], trained.id}
        assert row.product.name == "coast_map"
        layers = {"map_class", "dissimilarity", "applicable", "uncertainty"}
        assert set(row.measurements) == layers | {f"probability_{name}" for name in MODEL.class_names}


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
    cog = Path(path_of(mapped.files.cogs[0]))
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


def test_a_map_of_another_year_joins_the_cube_and_has_files_of_its_own(tmp_path: Path) -> None:
    earlier, other_labels = parse_period("2019"), tmp_path / "other.geojson"
    for coast in make_coast(Settings(home=tmp_path / "home"), tmp_path):
        publish_features(coast.index, coast.storage, features_of(coast.truth[:, ::-1]), recipe=FEATURES, period=earlier)
        coast.train()
        model = find_model(coast.index, coast.storage, "coast_model")
        first, before = coast.map(), feature_cells(coast.index, FEATURES, AREA, earlier)
        grown = map_cells(coast.index, coast.storage, model, before, 2)
        cube = open_snapshot(grown.cube)
        assert [str(start)[:4] for start in cube.period.values] == ["2019", "2020"]
        assert cube.attrs["neocube:models"] == {"2019": [str(model.id)], "2020": [str(model.id)]}
        np.testing.assert_array_equal(cube.map_class.values[1:], open_snapshot(first.cube).map_class.values)
        asked = open_snapshot(grown.asked_cube)
        assert (list(asked.period.values), asked.attrs["neocube:missing"]) == ([cube.period.values[0]], [])
        assert {each["period"] for each in grown.files.pixel_area} == {"2019"}
        with rasterio.open(path_of(grown.files.cogs[0])) as file:
            column, row = (round(offset) for offset in ~MOSAIC.affine * (file.transform.c, file.transform.f))
            shown = cube.map_class.values[0, row : row + file.height, column : column + file.width]
            np.testing.assert_array_equal(file.read(1), shown)
        assert (grown.notes, coast.map().cube) == ((), grown.cube)
        coast.train(write_labels(other_labels, coast.truth, offset=3))
        assert coast.map().notes == (
            "the cube holds 2019 as another model mapped it: map it again with coast_model to compare",
        )


def test_periods_and_tiles_without_a_cell_are_told_and_only_what_was_built_is_mapped(
    coast: Coast, trained: TrainedModel, mapped: MapResult
) -> None:
    three_years = feature_cells(coast.index, FEATURES, AREA, parse_period("2019/2021"))
    found = map_cells(coast.index, coast.storage, mapped.model, three_years, 2)
    hint = "`neocube build coast_features` makes them where there are scenes"
    left_out = f"coast_features has no cell in 2 of 3 periods, which are left out: 2019, 2021; {hint}"
    assert (found.document()["notes"], found.cube, found.files) == ([left_out], mapped.cube, mapped.files)
    beyond = Tile("EPSG:32647", -276, 361)
    wide = Area("wide", GRID.mosaic((*TILES, beyond)).pad(-3).extent.to_crs(CRS("EPSG:4326")))
    wider = map_cells(coast.index, coast.storage, mapped.model, feature_cells(coast.index, FEATURES, wide, YEAR), 2)
    empty = (
        f"coast_features has no cell in 1 of 3 tiles of its periods, which stay empty: {beyond.label} in 2020; {hint}"
    )
    assert (wider.notes, wider.fresh) == ((empty,), mapped.mapped or mapped.fresh)
    labels, resources = LabelFile(str(coast.labels), coast.labels), TrainingResources(coast.labels.parent)
    again = learn_model(coast.index, coast.storage, MODEL, three_years, labels, CPU, 1, resources)
    assert (again.id, again.trained, again.document()["notes"][-1]) == (trained.id, False, left_out)


def test_threads_and_tiles_give_the_same_pixels(coast: Coast, mapped: MapResult) -> None:
    model = find_model(coast.index, coast.storage, "coast_model")
    cell = next(iter(coast.cells.placed))[2]
    opened = open_snapshot(cell.path)
    one, three = (classify_cell(model, opened, threads) for threads in (1, 3))
    assert all(np.array_equal(one[name], three[name], equal_nan=name == "dissimilarity") for name in one)
    assert (one["map_class"][0] == open_snapshot(mapped.cube)["map_class"].values[0, :, :TILE_PX]).all()


def test_the_cogs_are_cut_to_the_area_coloured_and_described(coast: Coast, mapped: MapResult) -> None:
    classes, shares, applicable, uncertainty = (path_of(url) for url in mapped.files.cogs)
    with rasterio.open(classes) as file:
        assert (file.crs.to_epsg(), file.res, file.nodata) == (32647, (30.0, 30.0), 0)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.colormap(1)[1] == (17, 112, 67, 255)
        assert file.tags()["classes"] == "1=mangrove, 2=water, 3=other"
        assert file.tags()["simulated"] == "yes"
        window = file.window(*MOSAIC.pad(-3).extent.boundingbox.bbox).round_offsets().round_lengths()
        assert (file.read(1, window=window) == open_snapshot(mapped.cube)["map_class"].values[0, 3:-3, 3:-3]).all()
    with rasterio.open(applicable) as file:
        assert (file.nodata, file.descriptions) == (255, ("applicable",))
        assert set(np.unique(file.read(1))) <= {0, 1, 255}
    with rasterio.open(shares) as file:
        assert file.descriptions == ("probability_mangrove", "probability_water", "probability_other")
        assert (file.nodata, file.units) == (255, ("percent",) * 3)
    with rasterio.open(uncertainty) as file:
        assert (file.nodata, file.units) == (255, ("percent",))


def test_the_collection_leads_to_items_whose_files_are_there(coast: Coast, mapped: MapResult) -> None:
    collection = pystac.Collection.from_file(path_of(mapped.files.collection))
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
    ground_m2 = abs(Geod(ellps="WGS84").geometry_area_perimeter(AREA.geometry.geom)[0])
    assert total == pytest.approx(ground_m2 / 10_000, rel=5e-5)
    assert json.dumps(document)


def test_sites_an_ocean_apart_are_rasters_of_their_own(coast: Coast, trained: TrainedModel) -> None:
    coast.train()
    equal_area = FEATURES.grid.model_copy(update={"crs": "EPSG:6933"})
    recipe = FEATURES.model_copy(update={"name": "far_features", "grid": equal_area})
    grid = equal_area.pixel_grid(AREA.geometry)
    (malaysia, *_), (ecuador, *_) = (
        grid.tiles(box(*at, CRS("EPSG:4326"))) for at in ((100.8, 4.8, 100.81, 4.81), (-80, -3, -79.99, -2.99))
    )
    publish_features(coast.index, coast.storage, features_of(coast.truth), (malaysia, ecuador), recipe, grid)
    sites = [grid.geobox(tile).pad(-9).extent.to_crs(CRS("EPSG:4326")).geom for tile in (malaysia, ecuador)]
    area = Area("far_coasts", Geometry(shapely.union_all(sites), CRS("EPSG:4326")))
    model = find_model(coast.index, coast.storage, "coast_model")
    cells = feature_cells(coast.index, recipe, area, YEAR)
    mapped = map_cells(coast.index, coast.storage, model, cells, 1)
    classes = [path_of(url) for url in mapped.files.cogs if url.endswith("map_class.tif")]
    assert [Path(path).parent.name for path in classes] == ["2020_1", "2020_2"]
    truths = coast.truth[:, :TILE_PX], coast.truth[:, TILE_PX:]
    for path, tile, codes in zip(classes, (malaysia, ecuador), truths, strict=True):
        with rasterio.open(path) as file:
            assert max(file.shape) <= TILE_PX - 16
            window = file.window(*grid.geobox(tile).pad(-12).extent.boundingbox.bbox).round_offsets().round_lengths()
            assert (file.read(1, window=window) == codes[12:-12, 12:-12]).mean() > 0.9
    total = sum(each["area"] for each in mapped.files.pixel_area)
    ground_m2 = sum(abs(Geod(ellps="WGS84").geometry_area_perimeter(site)[0]) for site in sites)
    assert total == pytest.approx(ground_m2 / 10_000, rel=1e-3)
    assert [each["period"] for each in mapped.files.applicability] == ["2020"]
    collection = pystac.Collection.from_file(path_of(str(mapped.files.collection)))
    assert [item.id for item in collection.get_items()] == [
        "coast_map_far_coasts_2020_1",
        "coast_map_far_coasts_2020_2",
    ]
    overall, *each = collection.extent.spatial.bboxes
    assert len(each) == 2 and (overall[0], overall[2]) == (min(b[0] for b in each), max(b[2] for b in each))
    again = map_cells(coast.index, coast.storage, model, cells, 1)
    assert again.files == mapped.files


def test_the_quicklook_is_a_picture(coast: Coast, mapped: MapResult) -> None:
    content = Path(path_of(mapped.files.quicklooks[0])).read_bytes()
    assert content.startswith(b"\x89PNG")


def test_labels_elsewhere_are_refused_and_leave_nothing(coast: Coast, trained: TrainedModel, tmp_path: Path) -> None:
    far = box(10, 50, 10.1, 50.1, CRS("EPSG:4326"))
    path = write_shapes(tmp_path / "elsewhere.geojson", [far], [{"class": "water"}])
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
        RequestError, match=r"build it first \(neocube build coast_features --period 2011, with the same --area\)"
    ):
        feature_cells(coast.index, FEATURES, AREA, year)


def test_cells_of_an_area_are_those_of_its_tiles(coast: Coast) -> None:
    one = Area("one", GRID.mosaic(TILES[:1]).pad(-3).extent.to_crs(CRS("EPSG:4326")))
    cells = feature_cells(coast.index, FEATURES, one, YEAR)
    assert cells.ids == [cell.id for _, _, cell in cells.placed] and len(cells.ids) == 1


def test_the_label_of_some_periods_is_from_the_first_to_the_last(coast: Coast) -> None:
    for period, label in ((YEAR, "2020"), (parse_period("2019/2021"), "2019 to 2021")):
        assert feature_cells(coast.index, FEATURES, AREA, period).period_label == label


@pytest.mark.parametrize("name", ["coast_modle", "coast_features", "61f9a897-7873-436a-9a46-a6d0fd2e019d"])
def test_an_unknown_model_lists_the_known(coast: Coast, trained: TrainedModel, name: str) -> None:
    with pytest.raises(RequestError, match=f"unknown model '{name}': expected the name or the id .*coast_model"):
        find_model(coast.index, coast.storage, name)


def test_a_model_file_that_was_changed_is_refused(coast: Coast, mapped: MapResult, trained: TrainedModel) -> None:
    path = Path(ModelFiles(coast.storage, "coast_model", trained.id, FOREST).path(FOREST))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RequestError, match=r"random_forest.npz is not a readable model file"):
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
