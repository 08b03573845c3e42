"""What was learned or drawn from one version of its features meets cells of no other."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from datacube_config.settings import Settings
from flows.map_here import make_map
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from flows.steps.learning.feature_cells import feature_cells
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.learned_version import learned_version
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.training import TrainedModel, learn_model
from flows.steps.sampling.drawing import DrawnSet
from flows.steps.sampling.sample_files import DOCUMENT
from flows.steps.sampling.sample_sets import find_samples
from flows.steps.sampling.training_samples import samples_to_train_on
from products.devices import choose_backend
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from products.spec import FeaturesRecipe
from tests.flows.sampled_coast import (
    AREA,
    CLASSES,
    FEATURES,
    FEATURES_SAID,
    YEAR,
    Coast,
    known_coast,
    label_squares,
    publish_features,
)

LATER = FEATURES.model_copy(update={"version": 2})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("versions")


@pytest.fixture(scope="module")
def coast(folder: Path) -> Iterator[Coast]:
    with known_coast(Settings(home=folder / "home"), folder) as found:
        init_index(found.settings, PRODUCT_DEFINITIONS)
        publish_features(found.index, found.storage, found.values, recipe=LATER)
        yield found


@pytest.fixture(scope="module")
def labels(coast: Coast, folder: Path) -> Path:
    return label_squares(folder / "labels.geojson", coast.truth)


def versioned(folder: Path, version: int) -> Path:
    """The file of the recipe of the features, as of a version."""
    path = folder / "coast.recipe.yaml"
    path.write_text(json.dumps(FEATURES_SAID | {"version": version}))
    return path


@pytest.fixture(scope="module")
def trained(coast: Coast, labels: Path, folder: Path) -> TrainedModel:
    recipe = ModelRecipe.model_validate(
        {
            "name": "coast_model",
            "version": 1,
            "kind": "model",
            "features": str(versioned(folder, 1)),
            "samples": {"classes": list(CLASSES), "edge_px": 0, "max_per_class": 400},
            "split": {"block_m": 300, "folds": 4, "buffer_m": 30},
            "estimator": {"random_forest": {"trees": 5, "max_depth": 6}},
            "map": {"name": "coast_map"},
        }
    )
    cells = feature_cells(coast.index, FEATURES, AREA, YEAR)
    resources = TrainingResources(folder)
    return learn_model(
        coast.index, coast.storage, recipe, cells, LabelFile(str(labels), labels), choose_backend("cpu"), 1, resources
    )


def mapped(coast: Coast, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("NEOCUBE_HOME", str(coast.settings.home))
    area = folder / "area.geojson"
    area.write_text(json.dumps(AREA.geometry.json))
    return make_map("coast_model", str(area), "2020").document()


def test_a_model_maps_no_cells_of_another_version_of_its_features(
    coast: Coast, trained: TrainedModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained.card["trained_from"]["features_version"] == 1
    versioned(folder, 2)
    words = "the model coast_model has learned from coast_features version 1, the recipe of coast_features has version 2 now: train it again"
    with pytest.raises(RequestError, match=words):
        mapped(coast, folder, monkeypatch)
    versioned(folder, 1)
    assert mapped(coast, folder, monkeypatch)["mapped"] == 2


def test_the_version_of_a_model_whose_card_lacks_it_is_that_of_its_cells(
    coast: Coast, trained: TrainedModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(trained.card_path).with_name("card.json")
    card = json.loads(path.read_text())
    del card["trained_from"]["features_version"]
    path.write_text(json.dumps(card))
    versioned(folder, 2)
    with pytest.raises(RequestError, match="has learned from coast_features version 1"):
        mapped(coast, folder, monkeypatch)


def test_where_card_and_index_say_nothing_of_a_version_none_is_known(coast: Coast) -> None:
    cells = [str(cell) for cell in coast.cells.ids]
    assert learned_version(coast.index, {"cells": [str(uuid4()), *cells]}) == 1
    assert learned_version(coast.index, {"cells": [str(uuid4())]}) is None


def test_a_training_set_is_not_learned_from_as_another_version_of_its_features(coast: Coast, labels: Path) -> None:
    drawn = coast.draw(labels)
    assert drawn.set.about["features_version"] == 1
    _refused(coast, drawn, LATER)
    path = Path(drawn.set.files.path(DOCUMENT))
    document = json.loads(path.read_text())
    del document["features_version"]
    path.write_text(json.dumps(document))
    _refused(coast, drawn, LATER)
    assert samples_to_train_on(coast.index, find_samples(coast.index, coast.storage, "coast_samples"), FEATURES)


def _refused(coast: Coast, drawn: DrawnSet, recipe: FeaturesRecipe) -> None:
    found = find_samples(coast.index, coast.storage, str(drawn.set.files.id))
    words = "the training set coast_samples was drawn from coast_features version 1, the recipe of coast_features has version 2 now: draw it again"
    with pytest.raises(RequestError, match=words):
        samples_to_train_on(coast.index, found, recipe)
