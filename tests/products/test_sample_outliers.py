"""Outliers: what is unlike its class is found, by any method, the same each time."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from products.learning.outliers import outliers
from products.learning.samples_recipe import OutliersSpec

METHODS = ("isolation_forest", "local_outlier_factor", "som")


def two_classes(n: int = 300) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.bool_]]:
    """Features and codes of two clouds of samples, and which six of the first class lie in the second."""
    random = np.random.default_rng(3)
    features = np.concatenate([random.normal(0, 1, (n, 4)), random.normal(8, 1, (n, 4))]).astype(np.float32)
    code = np.repeat(np.array([1, 2], np.uint8), n)
    code[n : n + 6] = 1
    wrong = np.zeros(2 * n, np.bool_)
    wrong[n : n + 6] = True
    return features, code, wrong


def found(method: str, **said: Any) -> NDArray[np.bool_]:
    features, code, _ = two_classes()
    return outliers(features, code, OutliersSpec.model_validate({"method": method} | said), 5)


@pytest.mark.parametrize("method", METHODS)
def test_samples_amid_another_class_are_found(method: str) -> None:
    _, _, wrong = two_classes()
    flagged = found(method, drop=0.05)
    assert flagged[wrong].mean() >= 0.8
    assert flagged.mean() < 0.07


@pytest.mark.parametrize("method", METHODS)
def test_the_same_samples_give_the_same_outliers(method: str) -> None:
    assert (found(method) == found(method)).all()


@pytest.mark.parametrize("method", METHODS[:2])
def test_of_a_class_with_few_samples_none_is_an_outlier(method: str) -> None:
    features, code, _ = two_classes(15)
    assert not outliers(features, code, OutliersSpec.model_validate({"method": method, "drop": 0.5}), 1).any()


def test_a_lower_share_that_a_class_must_have_drops_less() -> None:
    assert found("som", min_share=0.2).sum() <= found("som", min_share=0.9).sum()
