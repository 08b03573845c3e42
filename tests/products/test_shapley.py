"""Shapley values of trees: they add up to the answer, and a feature that is not used adds nothing."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from products.errors import RequestError
from products.learning.boosting import boosting_from_sklearn
from products.learning.forest import forest_from_sklearn
from products.learning.linear import linear_from_sklearn
from products.learning.shapley import mean_effect, shapley_values
from products.learning.trees import TreeModel

FEATURES, CLASSES = ("red", "nir", "noise"), ("mangrove", "water", "other")
RANDOM = np.random.default_rng(1)
VALUES = RANDOM.normal(size=(600, 3)).astype(np.float32)
CODE = np.digitize(VALUES[:, 0] + VALUES[:, 1], (-0.7, 0.7)) + 1
VALUES[:, 2] = 4.0  # it never changes, so that no tree can use it


@pytest.fixture(scope="module", params=["forest", "boosting"])
def model(request: pytest.FixtureRequest) -> TreeModel:
    if request.param == "forest":
        fitted = RandomForestClassifier(10, max_depth=5, random_state=0).fit(VALUES, CODE)
        return forest_from_sklearn(fitted, FEATURES, CLASSES)
    boosted = HistGradientBoostingClassifier(max_iter=5, early_stopping=False).fit(VALUES, CODE)
    return boosting_from_sklearn(boosted, FEATURES, CLASSES)


def test_they_add_up_to_the_answer(model: TreeModel) -> None:
    asked, beside = VALUES[:20], VALUES[300:500]
    values, expected = shapley_values(model, asked, beside)
    trees = model.n_trees if hasattr(model, "share") else 1
    raw = model.leaf_sums(np.ascontiguousarray(asked.T)) / trees
    assert values.shape == (20, 3, 3)
    np.testing.assert_allclose(values.sum(axis=1) + expected, raw, atol=1e-5)
    mean = model.leaf_sums(np.ascontiguousarray(beside[:100].T)).mean(axis=0) / trees
    np.testing.assert_allclose(expected, mean, atol=1e-5)


def test_a_feature_that_is_not_used_adds_nothing(model: TreeModel) -> None:
    effect = mean_effect(shapley_values(model, VALUES[:20], VALUES[300:400])[0])
    assert (effect[2] == 0).all()
    assert (effect[:2] > 0.01).all()


def test_the_same_pixels_without_a_background_of_their_own_move_nothing(model: TreeModel) -> None:
    values, _ = shapley_values(model, VALUES[:1], VALUES[:1])
    assert np.abs(values).max() == 0


def test_other_models_are_refused() -> None:
    class Fitted:
        classes_, coef_, intercept_ = np.array([1, 2, 3]), np.zeros((3, 3)), np.zeros(3)

    linear = linear_from_sklearn(Fitted(), FEATURES, CLASSES, np.zeros(3), np.ones(3))
    with pytest.raises(
        RequestError, match="asks for shap of a multinomial logistic regression .*: expected a model of"
    ):
        shapley_values(linear, VALUES[:5], VALUES[5:10])
