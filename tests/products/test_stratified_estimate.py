"""Accuracy and area from a stratified sample: the published examples, and what they are estimates of."""

import numpy as np
import pytest
from numpy.typing import NDArray

from products.learning.accuracy import confusion
from products.learning.stratified_estimate import (
    accuracy_document,
    area_document,
    stratified_estimates,
)

CLASSES = ("deforestation", "forest gain", "stable forest", "stable non-forest")
# Olofsson et al. 2014, tables 8 and 9: Landsat pixels of 0.09 ha
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HA = PIXELS * 0.09


def published() -> list[dict[str, object]]:
    return area_document(stratified_estimates(COUNTS, HA / HA.sum(), PIXELS), CLASSES, PIXELS, HA)


def test_areas_and_intervals_are_those_of_olofsson_2014() -> None:
    found = [(each["area"]["estimate"], each["area"]["half_width_95"]) for each in published()]  # type: ignore[index]
    expected = [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]
    assert np.array(found) == pytest.approx(np.array(expected), abs=1)
    assert next((each["pixel_count"], each["pixel_count_ha"]) for each in published()) == (200_000, 18_000)


def test_accuracies_and_intervals_are_those_of_olofsson_2014() -> None:
    said = accuracy_document(stratified_estimates(COUNTS, HA / HA.sum(), PIXELS), CLASSES)
    assert (said["overall"]["estimate"], said["overall"]["half_width_95"]) == pytest.approx((0.95, 0.02), abs=0.005)
    users = [said["per_class"][name]["users"] for name in CLASSES]
    assert [each["estimate"] for each in users] == pytest.approx([0.88, 0.73, 0.93, 0.96], abs=0.005)
    assert [each["half_width_95"] for each in users] == pytest.approx([0.07, 0.10, 0.04, 0.02], abs=0.005)
    producers = [said["per_class"][name]["producers"] for name in CLASSES]
    assert [each["estimate"] for each in producers] == pytest.approx([0.75, 0.85, 0.93, 0.96], abs=0.005)
    assert producers[0]["half_width_95"] == pytest.approx(0.21, abs=0.005)


def test_the_error_of_producers_accuracy_is_that_of_the_ratio_estimator_of_stehman_2014() -> None:
    """International Journal of Remote Sensing 35, 4923-4939, eq. 26 to 28: y is a hit, x the reference class, from each interpreted point."""
    found = stratified_estimates(COUNTS, HA / HA.sum(), PIXELS)
    for k in range(4):
        total, variance = 0.0, 0.0
        for i in range(4):
            x = np.repeat(np.arange(4) == k, COUNTS[i]).astype(float)
            y = x * (i == k)
            residual = y - found.producers[k] * x
            total += PIXELS[i] * x.mean()
            variance += PIXELS[i] ** 2 * residual.var(ddof=1) / x.size
        assert found.producers_error[k] == pytest.approx(np.sqrt(variance) / total, rel=1e-9)


def test_the_error_matrix_of_olofsson_2014_is_in_proportions_of_area() -> None:
    found = stratified_estimates(COUNTS, HA / HA.sum(), PIXELS).proportions
    table = [
        [0.0176, 0, 0.0013, 0.0011],
        [0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]
    assert found == pytest.approx(np.array(table), abs=6e-5)
    assert found.sum() == pytest.approx(1.0)


def test_the_example_of_olofsson_2013_is_met_too() -> None:
    """Remote Sensing of Environment 129, 122-131, table 4: deforestation, forest, other."""
    counts = np.array([[97, 0, 3], [3, 279, 18], [2, 1, 97]])
    pixels = np.array([22_353, 1_122_543, 610_228])
    found = stratified_estimates(counts, pixels / pixels.sum(), pixels)
    assert found.users == pytest.approx([0.97, 0.93, 0.97], abs=0.005)
    assert found.producers[:2] == pytest.approx([0.48, 0.99], abs=0.006)


def sampled(truth: NDArray[np.int64], mapped: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """Area of class 1 and its standard error from 40 pixels of each of two strata."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.choice(np.flatnonzero(mapped == code), 40, replace=False) for code in (1, 2)])
    pixels = np.bincount(mapped, minlength=3)[1:]
    found = stratified_estimates(confusion(mapped[rows], truth[rows], 2), pixels / pixels.sum(), pixels)
    return float(found.area[0]), float(found.area_error[0])


def test_intervals_hold_the_true_area_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    truth = (rng.random(20_000) < 0.8).astype(np.int64) + 1
    mapped = np.where(rng.random(20_000) < 0.15, 3 - truth, truth)
    found = np.array([sampled(truth, mapped, seed) for seed in range(400)])
    held = np.abs(found[:, 0] - (truth == 1).mean()) <= 1.96 * found[:, 1]
    assert 0.92 < held.mean() < 0.98
    assert found[:, 0].mean() == pytest.approx((truth == 1).mean(), abs=0.01)


def test_a_stratum_that_was_interpreted_whole_has_no_sampling_error() -> None:
    counts, pixels = np.array([[2, 1], [0, 30]]), np.array([3, 900])
    found = stratified_estimates(counts, pixels / pixels.sum(), pixels)
    assert found.users_error.tolist() == [0.0, 0.0]
    assert found.area_error.tolist() == [0.0, 0.0]


def test_a_class_that_neither_map_nor_sample_has_is_undefined_and_covers_nothing() -> None:
    counts, pixels = np.array([[30, 2, 0], [1, 40, 0], [0, 0, 0]]), np.array([500, 900, 0])
    found = stratified_estimates(counts, pixels / pixels.sum(), pixels)
    said = accuracy_document(found, ("a", "b", "c"))["per_class"]["c"]
    assert said == {"users": None, "producers": None}
    assert (found.area[2], found.area_error[2]) == (0.0, 0.0)


def test_a_class_that_only_the_interpreter_saw_has_an_area_and_no_producers_accuracy() -> None:
    counts, pixels = np.array([[30, 2, 3], [1, 40, 0], [0, 0, 0]]), np.array([500, 900, 0])
    found = stratified_estimates(counts, pixels / pixels.sum(), pixels)
    assert found.area[2] == pytest.approx(500 / 1400 * 3 / 35)
    assert found.producers[2] == 0.0
    assert np.isnan(found.users[2])


def test_intervals_stay_within_what_is_possible() -> None:
    counts, pixels = np.array([[1, 1], [0, 3]]), np.array([50, 50])
    said = accuracy_document(stratified_estimates(counts, pixels / 100, pixels), ("a", "b"))
    assert said["per_class"]["a"]["users"]["interval_95"] == [0.0, 1.0]
