"""An encoder learned without labels from published cells: a model with a card, which a network begins with by its name and which maps nothing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from datacube_config.settings import Settings
from flows.steps.learning.encoder_training import learn_encoder
from flows.steps.learning.feature_cells import FeatureCells, feature_cells
from flows.steps.learning.first_weights import Begun, first_weights, holdout_seen_by
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.models import find_encoder, find_model
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.training import TrainedModel, learn_model
from products.devices import choose_backend
from products.errors import RequestError
from products.learning.masked_recipe import MaskedRecipe
from products.learning.recipe import ModelRecipe
from products.learning.splits import BlockSplit
from products.registry import parse_recipe
from tests.flows.sampled_coast import AREA, CLASSES, FEATURES, MOSAIC, YEAR, Coast, known_coast

REASON = "the packages of the extra deep are not installed"
pytest.importorskip("lightning", reason=REASON)
pytest.importorskip("segmentation_models_pytorch", reason=REASON)
CPU = choose_backend("cpu")
MASKED: dict[str, Any] = {
    "name": "coast_encoder",
    "version": 1,
    "kind": "model",
    "title": "Coast",
    "features": "coast_features",
    "masked": {"depth": 3, "patch_px": 16, "mask_px": 4, "batch": 4, "patches": 16, "epochs": 2, "block_m": 720},
}
NETWORK = {"depth": 3, "patch_px": 16, "overlap_px": 4, "batch": 4, "patches": 8, "epochs": 1, "learning_rate": 1e-9}
MODEL: dict[str, Any] = {
    "name": "coast_network",
    "version": 1,
    "kind": "model",
    "features": "coast_features",
    "samples": {"classes": list(CLASSES), "edge_px": 0},
    "split": {"block_m": 720, "folds": 4, "buffer_m": 30, "accept": ["ndvi_p50"]},
    "estimator": {"unet": NETWORK | {"weights": "model:coast_encoder"}},
    "map": {"name": "coast_network_map"},
}


@pytest.fixture(scope="module")
def coast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coast]:
    folder = tmp_path_factory.mktemp("coast")
    with known_coast(Settings(home=folder / "home"), folder) as found:
        yield found


def inputs_of(coast: Coast) -> FeatureCells:
    return feature_cells(coast.index, FEATURES, AREA, YEAR)


def learned(coast: Coast, **changed: Any) -> TrainedModel:
    recipe = MaskedRecipe.model_validate(MASKED | changed)
    resources = TrainingResources(coast.settings.home / "training")
    return learn_encoder(
        coast.index, coast.storage, recipe, feature_cells(coast.index, FEATURES, AREA, YEAR), CPU, resources
    )


@pytest.fixture(scope="module")
def encoder(coast: Coast) -> TrainedModel:
    return learned(coast)


def test_an_encoder_is_a_model_with_a_card_that_tells_how_well_it_fills_in(coast: Coast, encoder: TrainedModel) -> None:
    metrics = encoder.document()["metrics"]
    assert metrics["score"] == "error of masked pixels" and metrics["training"]["epochs"] == 2
    assert metrics["masked_error"] > 0 and 0.3 < metrics["error_of_mean"] < 1.2
    text = Path(encoder.document()["card"]).read_text()
    assert text.startswith("# Coast, version 1") and "`weights: model:coast_encoder`" in text
    assert "the encoder resnet18 (" in text and "of 3 features" in text and "| epoch | error | validation |" in text
    assert {path.name for path in Path(encoder.document()["card"]).parent.iterdir()} == {
        "encoder.safetensors", "metrics.json", "card.json", "card.md",
    }  # fmt: skip
    row = coast.index.dc.index.datasets.get(encoder.id, include_sources=True)
    assert {each.id for each in row.sources.values()} == {cell.id for cell in inputs_of(coast).cells.values()}
    assert not (coast.settings.home / "training" / str(encoder.id)).exists()


def test_a_run_of_prefect_shows_how_the_encoder_came_to_fill_in(encoder: TrainedModel) -> None:
    from flows.train_model import model_artifact

    shown, error = model_artifact(encoder), encoder.card["metrics"]["masked_error"]
    assert shown.startswith(f"## coast_encoder: error of masked pixels {error} standard deviations\n")
    assert "| 2 | " in shown and "- Learned without labels: " in shown and shown.endswith(encoder.card_path)


def test_the_same_again_finds_the_encoder_and_reads_it_back(coast: Coast, encoder: TrainedModel) -> None:
    again = learned(coast)
    assert (again.id, again.trained) == (encoder.id, False)
    found = find_encoder(coast.index, coast.storage, "coast_encoder")
    assert found.id == encoder.id and found.recipe == MaskedRecipe.model_validate(MASKED)
    assert found.encoder.digest() == encoder.card["trained_from"]["model_digest"]
    assert found.encoder.feature_names == ("red", "nir", "ndvi_p50")


def test_an_encoder_maps_nothing_and_no_other_model_is_one(coast: Coast, encoder: TrainedModel) -> None:
    with pytest.raises(RequestError, match="coast_encoder is an encoder, which maps nothing: .* model:coast_encoder"):
        find_model(coast.index, coast.storage, "coast_encoder")
    other = ModelRecipe.model_validate(MODEL | {"features": "other_features"})
    with (
        pytest.raises(RequestError, match="has learned from coast_features, the recipe 'coast_network' from other_f"),
        first_weights(coast.index, coast.storage, other, FEATURES),
    ):
        pass


def test_an_encoder_of_another_version_or_of_other_features_is_refused(coast: Coast, encoder: TrainedModel) -> None:
    recipe = ModelRecipe.model_validate(MODEL)
    assert encoder.card["trained_from"]["features_version"] == 1
    later = FEATURES.model_copy(update={"version": 2})
    words = "the encoder coast_encoder has learned from coast_features version 1, the recipe of coast_features has version 2 now: train it again"
    with pytest.raises(RequestError, match=words), first_weights(coast.index, coast.storage, recipe, later):
        pass
    fewer = FEATURES.model_copy(update={"features": FEATURES.features[:1]})
    words = "the encoder coast_encoder has learned from the features red, nir, ndvi_p50, the cells of coast_features have red, nir"
    with pytest.raises(RequestError, match=words), first_weights(coast.index, coast.storage, recipe, fewer):
        pass


def test_a_network_begins_with_the_encoder_whose_name_its_recipe_has(
    coast: Coast, encoder: TrainedModel, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.tif"
    shape = {"width": MOSAIC.width, "height": MOSAIC.height, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(labels, "w", driver="GTiff", crs="EPSG:32647", transform=MOSAIC.affine, **shape) as file:
        file.write(coast.truth, 1)
    recipe, file_of = ModelRecipe.model_validate(MODEL), LabelFile(str(labels), labels)
    cells, resources = inputs_of(coast), TrainingResources(tmp_path)
    made = learn_model(coast.index, coast.storage, recipe, cells, file_of, CPU, 1, resources)
    assert any(note.startswith("It begins with the encoder coast_encoder, which saw") for note in made.card["notes"])
    assert made.card["trained_from"]["holdout_seen_by"] == "coast_encoder"
    model: Any = find_model(coast.index, coast.storage, "coast_network")
    assert model.recipe == recipe and model.id == made.id
    began = find_encoder(coast.index, coast.storage, "coast_encoder").encoder.weights
    weights = model.learned.weights
    for name in ("conv1.weight", "layer1.0.conv1.weight", "layer2.1.conv2.weight"):
        np.testing.assert_allclose(weights[f"encoder.{name}"], began[name], rtol=0, atol=1e-6)
    item = json.loads((Path(made.document()["card"]).parent / "item.json").read_text())["properties"]
    assert (item["mlm:pretrained"], item["mlm:pretrained_source"]) == (True, "model:coast_encoder")
    row = coast.index.dc.index.datasets.get(made.id, include_sources=True)
    assert encoder.id in {each.id for each in row.sources.values()}
    with pytest.raises(RequestError, match="the model coast_network is no encoder: expected one learned by a recipe"):
        find_encoder(coast.index, coast.storage, "coast_network")


def test_an_encoder_of_other_ground_has_not_seen_the_hold_out(coast: Coast, encoder: TrainedModel) -> None:
    left, top = MOSAIC.affine * (0, 0)
    x, y = left + 15 + 30.0 * np.arange(4), np.full(4, top - 15.0)
    split = BlockSplit(x, y, np.arange(4), np.arange(4), 4, 30.0, 0.0)
    begun = Begun(ModelRecipe.model_validate(MODEL), encoder.id)
    assert holdout_seen_by(coast.index, begun, split, "EPSG:32647") == "coast_encoder"
    assert holdout_seen_by(coast.index, replace(begun, encoder=None), split, "EPSG:32647") is None
    apart = replace(split, x=np.where(split.test_rows(3), x - 50_000, x))
    assert holdout_seen_by(coast.index, begun, apart, "EPSG:32647") is None


def test_a_recipe_with_masked_is_an_encoder_and_has_no_map() -> None:
    text = "name: coast_encoder\nversion: 1\nkind: model\nfeatures: mangrove_features\nmasked: {depth: 3}\n"
    assert isinstance(parse_recipe(text, "e.yaml"), MaskedRecipe)
    with pytest.raises(RequestError, match=r"e.yaml, line 6, map: unknown key 'map'"):
        parse_recipe(f"{text}map: {{name: coast_map}}\n", "e.yaml")
