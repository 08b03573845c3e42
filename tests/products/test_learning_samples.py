"""Sample tables: which pixels count, and that drawing depends on nothing but place, period and seed."""

import numpy as np
import pytest
from numpy.typing import NDArray

from products.devices import choose_backend
from products.errors import RequestError
from products.learning.samples import Samples, check_classes, inner_labels, join, labelled_pixels, pixel_priority

CPU = choose_backend("cpu")
SIDE = 40
NAMES = ("red", "nir")


def scene() -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng(3)
    features = random.random((2, SIDE, SIDE), dtype=np.float32)
    codes = np.zeros((SIDE, SIDE), np.uint8)
    codes[:15], codes[25:] = 1, 2
    return features, codes, 15 + 30.0 * np.arange(SIDE), 9000 - 15 - 30.0 * np.arange(SIDE)


def sample(rows: slice = slice(None), seed: int = 0, period: int = 0) -> Samples:
    features, codes, x, y = scene()
    return labelled_pixels(CPU, features[:, rows], codes[rows], x, y[rows], period, NAMES, seed)


def test_labels_lose_their_edges_but_not_at_the_frame() -> None:
    _, codes, _, _ = scene()
    inner = inner_labels(codes, 2)
    assert (inner[:13] == 1).all()
    assert (inner[13:27] == 0).all()
    assert (inner[27:] == 2).all()
    assert inner_labels(codes, 0) is codes


def test_two_touching_classes_lose_both_sides_of_their_border() -> None:
    codes = np.repeat(np.array([[1, 1, 1, 2, 2, 2]], np.uint8), 3, axis=0)
    assert inner_labels(codes, 1)[1].tolist() == [1, 1, 0, 0, 2, 2]


def test_rows_carry_the_features_of_their_pixel() -> None:
    features, codes, x, y = scene()
    found = sample()
    row = found.table.iloc[100]
    column_px, row_px = int(np.flatnonzero(x == row["x"])[0]), int(np.flatnonzero(y == row["y"])[0])
    assert row["red"] == features[0, row_px, column_px]
    assert row["code"] == codes[row_px, column_px]
    assert found.features.shape == (found.n_labelled, 2)


def test_a_pixel_without_a_feature_is_counted_and_dropped() -> None:
    features, codes, x, y = scene()
    features[1, 0, 0] = np.nan
    features[0, 20, 20] = np.nan
    found = labelled_pixels(CPU, features, codes, x, y, 0, NAMES, 0)
    assert (found.n_labelled, found.n_without_features, len(found.table)) == (1200, 1, 1199)


def test_the_draw_is_the_same_however_the_area_is_cut() -> None:
    whole = join(CPU, [sample()], 50)
    parts = join(CPU, [sample(slice(17, SIDE)), sample(slice(0, 17))], 50)
    assert whole.table.equals(parts.table)
    assert whole.per_class(("mangrove", "water")) == {"mangrove": 50, "water": 50}


def test_the_draw_changes_with_seed_and_period() -> None:
    places = [set(zip(s.column("x"), s.column("y"), strict=True)) for s in (
        join(CPU, [sample()], 50), join(CPU, [sample(seed=1)], 50), join(CPU, [sample(period=1)], 50))]  # fmt: skip
    assert places[0] != places[1]
    assert places[0] != places[2]


def test_priorities_are_spread_evenly() -> None:
    x, y = (axis.ravel() for axis in np.meshgrid(30.0 * np.arange(100), 30.0 * np.arange(100)))
    priority = pixel_priority(x, y, 0, 0)
    assert np.unique(priority).size == 10_000
    assert np.histogram(priority, bins=10, range=(0, 2.0**64))[0] == pytest.approx(1000, rel=0.12)


def mixed(state: int) -> int:
    """SplitMix64 in the integers of Python, as in Steele et al. 2014."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
    return state ^ state >> 31


@pytest.mark.parametrize(("x", "y", "period", "seed"), [(600_015.0, -30.0, 737_425, 7), (-0.004, 1e7, -3, 2**64 - 1)])
def test_priorities_are_hashes_of_place_period_and_seed(x: float, y: float, period: int, seed: int) -> None:
    expected = seed
    for part in (round(x * 100), round(y * 100), period):
        expected = mixed(expected ^ mixed(part % 2**64))
    assert pixel_priority(np.array([x]), np.array([y]), period, seed).tolist() == [expected]


def test_a_feature_may_not_be_called_like_a_column() -> None:
    features, codes, x, y = scene()
    with pytest.raises(RequestError, match="a feature is called 'x'"):
        labelled_pixels(CPU, features, codes, x, y, 0, ("x", "nir"), 0)


def test_a_class_without_samples_is_named() -> None:
    with pytest.raises(
        RequestError, match=r"no labelled pixels of the class other \(there are mangrove: 600, water: 600\)"
    ):
        check_classes(sample(), ("mangrove", "water", "other"))


def test_no_samples_at_all_says_how_many_lacked_features() -> None:
    features, codes, x, y = scene()
    nothing = labelled_pixels(CPU, features * np.nan, codes, x, y, 0, NAMES, 0)
    with pytest.raises(RequestError, match="1200 lie inside labels, 1200 of them lack a feature"):
        check_classes(nothing, ("mangrove", "water"))
