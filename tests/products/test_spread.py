"""How scores vary: blocks drawn anew, sites left out, distance to another class."""

import numpy as np
import pytest
from numpy.typing import NDArray

from products.learning.splits import split_blocks
from products.learning.spread import (
    agreement_by_distance,
    bootstrap_intervals,
    distance_to_other_class,
    leave_one_site_out,
)

RNG = np.random.default_rng(0)
BLOCK = np.repeat(np.arange(40), 50)
TRUTH = RNG.integers(1, 3, BLOCK.size)


def test_an_interval_of_blocks_holds_the_agreement_and_is_wider_where_blocks_differ() -> None:
    alike = np.where(RNG.random(TRUTH.size) < 0.1, 3 - TRUTH, TRUTH)
    uneven = np.where(BLOCK % 10 == 0, 3 - TRUTH, TRUTH)
    one, two = (bootstrap_intervals(TRUTH, each, BLOCK, ("a", "b"), 1) for each in (alike, uneven))
    for found in (one, two):
        assert found["overall"][0] < 0.9 < found["overall"][1]
        assert found["kappa"][0] < 0.8 < found["kappa"][1] and found["balanced"][0] < 0.9 < found["balanced"][1]
        assert set(found["f1"]) == {"a", "b"} and found["blocks"] == 40
    assert np.ptp(two["overall"]) > 3 * np.ptp(one["overall"])


def test_the_width_is_that_of_the_mean_of_independent_blocks() -> None:
    share = np.repeat(RNG.random(40), 50)
    predicted = np.where(RNG.random(TRUTH.size) < share, TRUTH, 3 - TRUTH)
    found = bootstrap_intervals(TRUTH, predicted, BLOCK, ("a", "b"), 2)["overall"]
    of_blocks = (predicted == TRUTH).reshape(40, 50).mean(axis=1)
    assert np.ptp(found) == pytest.approx(2 * 1.96 * of_blocks.std() / np.sqrt(40), rel=0.1)


def test_one_block_gives_no_interval() -> None:
    found = bootstrap_intervals(TRUTH, TRUTH, np.zeros_like(BLOCK), ("a", "b"), 1)
    assert found == {"blocks": 1, "overall": None, "balanced": None, "kappa": None, "f1": {"a": None, "b": None}}


def two_sites() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    x, y = (axis.ravel() for axis in np.meshgrid(15 + 30.0 * np.arange(40), 15 + 30.0 * np.arange(40)))
    return np.concatenate([x, x + 10_000]), np.concatenate([y, y]), np.tile(np.arange(1600) % 2 + 1, 2)


def test_a_site_is_predicted_from_the_others_without_holdout() -> None:
    x, y, code = two_sites()
    split = split_blocks(x, y, code, 300, 4, 30, 0)
    site = (x > 5000).astype(np.int64)
    asked = []

    def fit_predict(train: NDArray[np.bool_], test: NDArray[np.bool_]) -> NDArray[np.int64]:
        asked.append((set(site[train]), set(site[test]), (split.fold[train | test] == split.holdout).any()))
        return (
            code[test] if site[test][0] == 0 else np.where(np.arange(test.sum()) % 4 == 0, 3 - code[test], code[test])
        )

    found = leave_one_site_out(fit_predict, split, site, code, ("north", "south"), ("a", "b"))
    assert asked == [({1}, {0}, False), ({0}, {1}, False)]
    assert found["sites"]["north"]["overall"] == 1.0
    assert found["sites"]["south"]["overall"] == pytest.approx(0.75, abs=0.01)
    assert found["lowest"] == found["sites"]["south"]["overall"]
    assert found["variance"] == pytest.approx(0.03125, rel=0.05)


def test_one_site_or_a_class_of_one_site_only_is_no_comparison() -> None:
    x, y, code = two_sites()
    split = split_blocks(x, y, code, 300, 4, 30, 0)
    lone = leave_one_site_out(lambda a, b: code[b], split, np.zeros_like(code), code, ("all",), ("a", "b"))
    assert lone["sites"]["all"]["overall"] is None and lone["mean"] is None
    site = (x > 5000).astype(np.int64)
    other = np.where((site == 1) & (code == 2), 3, code)
    found = leave_one_site_out(lambda a, b: other[b], split, site, other, ("one", "two"), ("a", "b", "c"))
    assert found["sites"]["two"]["overall"] is None and found["variance"] is None


def test_distance_is_that_to_the_nearest_pixel_of_another_class() -> None:
    x = 30.0 * np.arange(10)
    found = distance_to_other_class(x, np.zeros(10), np.where(x < 150, 1, 2))
    assert found.tolist() == [150, 120, 90, 60, 30, 30, 60, 90, 120, 150]
    assert np.isinf(distance_to_other_class(x, x, np.ones(10, np.int64))).all()


def test_agreement_is_told_by_distance() -> None:
    distance = np.array([30.0, 30, 60, 60, 300, np.inf])
    found = agreement_by_distance(np.array([False, True, True, True, True, True]), distance, 30)
    assert [each["overall"] for each in found] == [0.5, 1.0, 1.0, 1.0]
    assert [each["pixels"] for each in found] == [2, 2, 1, 1]
    assert [each["up_to_m"] for each in found] == [45.0, 90.0, 360.0, None]


def test_of_many_sites_the_twenty_with_most_samples_are_left_out_in_turn() -> None:
    site = np.repeat(np.arange(30), 40 + 10 * np.arange(30))
    place = np.arange(site.size) % 20
    x, y, code = 5000.0 * site + 30.0 * place, 100.0 * place, np.arange(site.size, dtype=np.int64) % 2 + 1
    names = tuple(f"site {number + 1}" for number in range(30))
    split = split_blocks(x, y, code, 500.0, 3, 0.0, 0)
    found = leave_one_site_out(lambda _, asked: code[asked], split, site, code, names, ("a", "b"))["sites"]
    known = [name for name in names if found[name]["overall"] is not None]
    assert 10 <= len(known) <= 20 and set(found) == set(names)
    assert min(names.index(name) for name in known) > 3
