"""Selection of features: what tells classes apart is kept, noise is left out, and the hold-out takes no part."""

from typing import Any

import pytest

from products.devices import choose_backend
from products.errors import RequestError
from products.learning.card import TrainingFacts, card_document, card_markdown
from products.learning.estimators import learn
from products.learning.recipe import ModelRecipe, SelectionSpec
from products.learning.samples import Samples
from products.learning.selection import select_features
from products.learning.splits import BlockSplit
from tests.products.striped_samples import striped

CPU = choose_backend("cpu")
NAMES = ("noise_1", "ndvi_p50", "noise_2", "red", "noise_3")
METHODS = ("mutual_information", "permutation", "recursive")


def recipe(**selection: Any) -> ModelRecipe:
    return ModelRecipe.model_validate(
        {
            "name": "coast_model",
            "version": 1,
            "kind": "model",
            "features": "coast_features",
            "samples": {"classes": ["mangrove", "water", "other"]},
            "selection": selection or None,
            "estimator": {"random_forest": {"trees": 10, "max_depth": 5}},
            "map": {"name": "coast_map"},
        }
    )


def learned_from() -> tuple[Samples, BlockSplit]:
    """Three stripes: ndvi_p50 tells water from the rest, red other from the rest; three features are noise."""
    return striped(NAMES, {"ndvi_p50": (0, 1, 0), "red": (0, 0, 1)}, 0.1, 4)


@pytest.mark.parametrize("method", METHODS)
def test_the_features_that_tell_classes_apart_are_kept_in_cube_order(method: str) -> None:
    forest, metrics = learn(CPU, *learned_from(), recipe(method=method, keep=2), 1)
    found = metrics["selection"]
    assert found["method"] == method
    assert found["kept"] == ["ndvi_p50", "red"]
    assert found["left_out"] == ["noise_1", "noise_2", "noise_3"]
    assert forest.feature_names == ("ndvi_p50", "red")
    assert set(metrics["importance"]) == {"ndvi_p50", "red"}
    assert metrics["holdout"]["overall"] > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_the_hold_out_and_its_buffer_take_no_part(method: str) -> None:
    samples, split = learned_from()
    spec = SelectionSpec(method=method, keep=2)
    _, before = select_features(CPU, samples, split, recipe(), spec, 1)
    spoiled = samples.table.copy()
    apart = ~split.train_rows(split.holdout)
    spoiled.loc[apart, "noise_1"] = 100 * spoiled.loc[apart, "code"]
    spoiled.loc[apart, ["ndvi_p50", "red"]] = 0
    other = Samples(spoiled, samples.feature_names, samples.n_labelled, 0)
    assert select_features(CPU, other, split, recipe(), spec, 1)[1] == before
    assert apart.sum() > 300


def test_scores_and_rounds_are_told() -> None:
    samples, split = learned_from()
    shuffled = select_features(CPU, samples, split, recipe(), SelectionSpec(method="permutation", keep=3), 1)[1]
    assert list(shuffled["scores"])[:2] in (["ndvi_p50", "red"], ["red", "ndvi_p50"])
    assert min(shuffled["scores"]["ndvi_p50"], shuffled["scores"]["red"]) > 0.2
    assert max(abs(shuffled["scores"][name]) for name in NAMES if name.startswith("noise")) < 0.02
    assert len(shuffled["kept"]) == 3
    rounds = select_features(CPU, samples, split, recipe(), SelectionSpec(method="recursive", keep=1), 1)[1]
    assert list(rounds["by_number"]) == ["1", "2", "3", "4", "5"]
    assert rounds["by_number"]["1"] < 0.8 < 0.95 < rounds["by_number"]["2"]
    assert {"ndvi_p50", "red"} <= set(rounds["kept"])
    assert rounds["rank"]["red"] == 1


def test_more_features_than_there_are_cannot_be_kept() -> None:
    with pytest.raises(RequestError, match="selection keeps 6 features of 5: expected at most as many as there are"):
        learn(CPU, *learned_from(), recipe(method="mutual_information", keep=6), 1)


def test_a_model_without_selection_has_all_features_and_does_not_speak_of_it() -> None:
    forest, metrics = learn(CPU, *learned_from(), recipe(), 1)
    assert forest.feature_names == NAMES
    assert "selection" not in metrics


def test_the_card_tells_what_was_kept_and_that_folds_flatter() -> None:
    asked = recipe(method="recursive", keep=2)
    _, metrics = learn(CPU, *learned_from(), asked, 1)
    facts = TrainingFacts(
        "id", "digest", "matang", "2020", "EPSG:32647", ("a",), "labels.gpkg", "f" * 64, "EPSG:32647",
        3600, 0, False, "cpu", {},
    )  # fmt: skip
    text = card_markdown(asked, facts, metrics)
    assert "## Features kept: 2 of 5, by recursive" in text
    assert "Left out: noise_1, noise_2, noise_3." in text
    assert "scores by fold flatter" in text
    assert card_document(asked, facts, metrics)["metrics"]["selection"]["kept"] == ["ndvi_p50", "red"]
