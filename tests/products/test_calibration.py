"""Calibration: perfect and flat probabilities, known bins, and entropy."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from products.learning.calibration import brier_score, calibration, calibration_error, reliability, uncertainty


def test_the_brier_score_of_two_classes_is_twice_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p, truth = rng.random(500), rng.integers(0, 2, 500)
    probability = np.column_stack([1 - p, p])
    assert brier_score(probability, truth + 1) == pytest.approx(2 * brier_score_loss(truth, p))


def test_certain_and_right_has_no_error_and_certain_and_wrong_the_largest() -> None:
    certain = np.eye(3)[[0, 1, 2]]
    assert brier_score(certain, np.array([1, 2, 3])) == 0
    assert brier_score(certain, np.array([2, 3, 1])) == 2
    assert calibration_error(np.ones(4), np.array([True, True, False, False])) == pytest.approx(0.5)


def test_probabilities_that_come_true_as_often_as_they_say_are_calibrated() -> None:
    rng = np.random.default_rng(1)
    said = rng.random(200_000)
    assert calibration_error(said, rng.random(said.size) < said) < 0.01
    assert calibration_error(said, rng.random(said.size) < said**2) > 0.1


def test_bins_hold_what_they_should() -> None:
    found = reliability(np.array([0.05, 0.06, 0.95, 1.0]), np.array([False, True, True, True]))
    assert found == {"said": [0.055, 0.975], "observed": [0.5, 1.0], "rows": [2, 2]}


def test_the_card_has_the_likeliest_class_and_each_class() -> None:
    probability = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    found = calibration(probability, np.array([1, 2, 1]), ("a", "b", "c"))
    assert found["reliability"]["rows"] == [1, 1, 1]
    assert found["ece"] == pytest.approx((0.3 + 0.2 + 0.4) / 3, abs=1e-6)
    assert set(found["by_class"]) == {"a", "b", "c"}


def test_uncertainty_goes_from_certain_to_knowing_nothing() -> None:
    found = uncertainty(np.array([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]]))
    assert found.tolist() == pytest.approx([0.0, 1.0, np.log(2) / np.log(3)])
