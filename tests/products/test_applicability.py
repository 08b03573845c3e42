"""The area of applicability: its index, threshold and file."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist

from products.errors import RequestError
from products.learning.applicability import MOST_POINTS, Applicability, applicability, applicability_from_bytes
from products.learning.array_file import packed

NAMES = ("red", "nir", "constant")
WEIGHT = {"red": 0.8, "nir": 0.2, "constant": 0.0}
RNG = np.random.default_rng(0)


def training(n: int = 300) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    features = np.column_stack([RNG.normal(5, 2, n), RNG.normal(-1, 0.1, n), np.full(n, 3.0)])
    return features.astype(np.float32), RNG.integers(0, 4, n)


def learned() -> tuple[Applicability, NDArray[np.float32], NDArray[np.int64]]:
    features, fold = training()
    return applicability(NAMES, features, fold, WEIGHT, 0), features, fold


def test_index_and_threshold_are_those_of_the_paper() -> None:
    area, features, fold = learned()
    values = features[:, :2].astype(np.float64)
    scaled = (values - values.mean(axis=0)) / values.std(axis=0) * [0.8, 0.2]
    mean = pdist(scaled).mean()
    distance = cdist(scaled, scaled)
    nearest = np.where(fold[:, None] == fold[None], np.inf, distance).min(axis=1) / mean
    low, high = np.percentile(nearest, (25, 75))
    assert float(area.threshold[0]) == pytest.approx(nearest[nearest <= high + 1.5 * (high - low)].max())
    asked = training(50)[0]
    new = (asked[:, :2] - values.mean(axis=0)) / values.std(axis=0) * [0.8, 0.2]
    assert area.dissimilarity(asked.T) == pytest.approx(cdist(new, scaled).min(axis=1) / mean, rel=1e-5)


def test_training_samples_are_inside_and_what_is_unlike_them_is_not() -> None:
    area, features, _ = learned()
    found = area.dissimilarity(features.T)
    assert found == pytest.approx(0, abs=1e-6)
    far = np.array([[50.0, -1.0, 3.0], [5.0, -1.0, 3.0]], np.float32).T
    assert area.is_inside(area.dissimilarity(far)).tolist() == [False, True]


def test_most_of_what_is_like_the_training_samples_is_inside() -> None:
    area, _, _ = learned()
    assert area.is_inside(area.dissimilarity(training(2000)[0].T)).mean() > 0.9


def test_a_feature_without_importance_does_not_count() -> None:
    area, _, _ = learned()
    one = np.array([[5.0, -1.0, 3.0], [5.0, -1.0, 900.0]], np.float32).T
    found = area.dissimilarity(one)
    assert found[0] == found[1]


def test_a_missing_feature_has_no_index_and_is_not_inside() -> None:
    area, _, _ = learned()
    found = area.dissimilarity(np.array([[np.nan, 5.0], [-1.0, -1.0], [3.0, 3.0]], np.float32))
    assert np.isnan(found).tolist() == [True, False]
    assert not area.is_inside(found)[0]
    assert np.isnan(area.dissimilarity(np.full((3, 4), np.nan, np.float32))).all()


def test_many_samples_are_thinned_by_seed() -> None:
    features, fold = training(MOST_POINTS + 500)
    one, two, other = (applicability(NAMES, features, fold, WEIGHT, seed) for seed in (1, 1, 2))
    assert len(one.points) == MOST_POINTS
    assert one.digest() == two.digest() != other.digest()


def test_a_file_reads_back_the_same_and_a_damaged_one_is_refused() -> None:
    area, features, _ = learned()
    back = applicability_from_bytes(area.to_bytes(), "a.npz")
    assert back.digest() == area.digest()
    assert (back.dissimilarity(features.T) == area.dissimilarity(features.T)).all()
    arrays = {name: getattr(area, name) for name in ("mean", "scale", "points", "mean_distance", "threshold")}
    for wrong in (
        {"points": area.points[:, :2]},
        {"mean_distance": np.array([0.0])},
        {"threshold": np.array([np.nan])},
    ):
        content = packed("neocube-applicability-1", {"feature_names": NAMES}, arrays | wrong)
        with pytest.raises(
            RequestError, match="the file a.npz is damaged, or its format is not neocube-applicability-1"
        ):
            applicability_from_bytes(content, "a.npz")
    with pytest.raises(RequestError, match="a.npz is not a readable model file"):
        applicability_from_bytes(b"no", "a.npz")


def test_what_cannot_be_measured_is_refused() -> None:
    area, features, fold = learned()
    with pytest.raises(RequestError, match="the model needs 3 features, got 2"):
        area.dissimilarity(features.T[:2])
    for weight, folds in ((WEIGHT, np.zeros_like(fold)), ({"constant": 1.0}, fold)):
        with pytest.raises(
            RequestError, match="expected training samples in two folds at least, with a feature that varies"
        ):
            applicability(NAMES, features, folds, weight, 0)
