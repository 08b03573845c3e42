"""Agreement figures against hand-computed ones."""

import numpy as np
import pytest

from products.learning.accuracy import assess, balanced_accuracy, block_spread, cohens_kappa, confusion, scores

TRUTH = np.array([1, 1, 1, 1, 2, 2, 2, 3])
GUESS = np.array([1, 1, 1, 2, 2, 2, 1, 3])
NAMES = ("mangrove", "water", "other")


def test_confusion_counts_true_by_predicted() -> None:
    assert confusion(TRUTH, GUESS, 3).tolist() == [[3, 1, 0], [1, 2, 0], [0, 0, 1]]


def test_scores_are_those_computed_by_hand() -> None:
    found = scores(confusion(TRUTH, GUESS, 3), NAMES)
    assert found["overall"] == 0.75
    assert found["per_class"]["mangrove"] == {"producers": 0.75, "users": 0.75, "f1": 0.75, "pixels": 4}
    assert found["per_class"]["water"]["f1"] == pytest.approx(2 / 3, abs=1e-6)


def test_balanced_accuracy_and_kappa_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

    found = scores(confusion(TRUTH, GUESS, 3), NAMES)
    assert found["balanced"] == pytest.approx(balanced_accuracy_score(TRUTH, GUESS), abs=1e-6)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(TRUTH, GUESS), abs=1e-6)
    two = np.stack([confusion(TRUTH, GUESS, 3), confusion(TRUTH, TRUTH, 3)])
    assert cohens_kappa(two).tolist() == pytest.approx([found["kappa"], 1.0], abs=1e-6)
    assert balanced_accuracy(two)[1] == 1.0


def test_one_class_only_has_no_kappa_and_nothing_no_balance() -> None:
    assert scores(np.array([[4, 0], [0, 0]]), ("a", "b"))["kappa"] is None
    assert np.isnan(balanced_accuracy(np.zeros((2, 2), np.int64)))


def test_a_class_that_is_absent_has_no_scores() -> None:
    found = scores(confusion(TRUTH[:7], GUESS[:7], 3), NAMES)["per_class"]["other"]
    assert found == {"producers": None, "users": None, "f1": None, "pixels": 0}


def test_a_class_that_is_never_predicted_has_f1_zero() -> None:
    found = scores(confusion(np.array([1, 2]), np.array([1, 1]), 2), ("mangrove", "water"))["per_class"]["water"]
    assert found == {"producers": 0.0, "users": None, "f1": 0.0, "pixels": 1}


def test_the_spread_is_over_blocks_not_pixels() -> None:
    block = np.array([7, 7, 7, 7, 9, 9, 9, 9])
    assert block_spread(TRUTH, GUESS, block) == {"blocks": 2, "mean": 0.75, "variance": 0.0, "lowest": 0.75}
    assert block_spread(TRUTH[:4], GUESS[:4], block[:4])["variance"] is None


def test_assess_holds_everything() -> None:
    assert set(assess(TRUTH, GUESS, np.zeros(8, np.int64), NAMES)) == {
        "overall", "balanced", "kappa", "per_class", "confusion", "pixels", "by_block",
    }  # fmt: skip
