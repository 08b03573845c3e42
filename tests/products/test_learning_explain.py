"""What a model looks at: shuffling what it needs costs agreement, shuffling noise does not."""

import re

import numpy as np
import pytest

from products.devices import choose_backend
from products.learning.card import TrainingFacts, card_markdown
from products.learning.estimators import learn
from products.learning.fitting import fit_model
from products.learning.permutation import shuffled_agreement
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples
from products.learning.splits import BlockSplit
from tests.products.striped_samples import striped

CPU = choose_backend("cpu")
DOCUMENT = {
    "name": "coast_model",
    "version": 2,
    "kind": "model",
    "features": "coast_features",
    "samples": {"classes": ["mangrove", "water", "other"]},
    "map": {"name": "coast_map"},
}


def learned_from() -> tuple[Samples, BlockSplit]:
    """Three stripes that ndvi_p50 tells apart; the other feature is noise."""
    return striped(("noise", "ndvi_p50"), {"ndvi_p50": (1, 2, 3)}, 0.2, 5)


@pytest.mark.parametrize(("kind", "asked"), [("random_forest", {"trees": 10}), ("linear", {}), ("knn", {})])
def test_shuffling_what_a_model_needs_costs_agreement(kind: str, asked: dict[str, int]) -> None:
    recipe = ModelRecipe.model_validate(
        DOCUMENT | {"estimator": {kind: asked}, "explain": {"pixels": 200, "repeats": 3}}
    )
    _, metrics = learn(CPU, *learned_from(), recipe, 1)
    found = metrics["permutation"]
    assert (found["pixels"], found["repeats"], list(found["lost"])) == (200, 3, ["ndvi_p50", "noise"])
    assert found["lost"]["ndvi_p50"]["mean"] > 0.5
    assert abs(found["lost"]["noise"]["mean"]) < 0.02
    assert ("importance" in metrics) == (kind == "random_forest")


def test_fewer_pixels_than_are_asked_for_are_all_used_in_any_order_of_calls() -> None:
    random = np.random.default_rng(2)
    values = random.normal(size=(60, 2)).astype(np.float32)
    code = 1 + (values[:, 0] > 0).astype(np.int64)
    recipe = ModelRecipe.model_validate(DOCUMENT | {"estimator": {"linear": {}}})
    model = fit_model(CPU, ("red", "nir"), values, code, recipe, 1)
    found, again = (shuffled_agreement(model, values, code, 4, 0, 500) for _ in range(2))
    assert found.pixels == 60
    assert (found.mean == again.mean).all() and (found.std == again.std).all()
    assert found.mean[0] > 0.3 > abs(found.mean[1])


def test_the_card_shows_permutation_and_shapley_values() -> None:
    recipe = ModelRecipe.model_validate(
        DOCUMENT
        | {"estimator": {"random_forest": {"trees": 8, "max_depth": 4}}, "explain": {"shap": True, "repeats": 2}}
    )
    model, metrics = learn(CPU, *learned_from(), recipe, 1)
    facts = TrainingFacts(
        "id", "digest", "matang", "2020", "EPSG:32647", ("a", "b"), "labels.gpkg", "f" * 64, "EPSG:4326",
        3600, 4, False, "cpu", {}, described=model.describe(), credits=("Landsat courtesy of the U.S. Geological Survey",),
    )  # fmt: skip
    text = card_markdown(recipe, facts, metrics)
    assert "Model `id`, a random forest of 8 trees, from `coast_features`" in text
    assert "Credit: Landsat courtesy of the U.S. Geological Survey." in text
    assert "pixels of the hold-out where one feature is shuffled, 2 times" in text
    assert re.search(r"splits take away from the training pixels: ndvi_p50 0\.\d{3}, noise 0\.\d{3}\.", text)
    assert "- ndvi_p50: 0." in text
    nothing = {name: {"mean": 0.0, "std": 0.0} for name in ("ndvi_p50", "noise")}
    covered = {**metrics, "permutation": {**metrics["permutation"], "lost": nothing}}
    assert "- No feature costs any: the others cover for each." in card_markdown(recipe, facts, covered)
    assert "![importance](importance.png)" in text and "![shap](shap.png)" in text
    assert list(metrics["shap"]["mean_absolute"]) == ["ndvi_p50", "noise"]
    assert metrics["shap"]["pixels"] == 200
    assert min(metrics["shap"]["mean_absolute"]["ndvi_p50"].values()) > 0.1


def test_shap_of_what_has_no_trees_is_refused() -> None:
    with pytest.raises(ValueError, match="shap is for random_forest and gradient_boosting, not for knn: leave it out"):
        ModelRecipe.model_validate(DOCUMENT | {"estimator": {"knn": {}}, "explain": {"shap": True}})
