"""The range of a variogram: found where there is one, none in noise, open where it does not end."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from products.learning.variogram import Variogram, about_class_means, drawn_points, estimate_variogram, spherical

Float64 = NDArray[np.float64]
SIDE = 160
ONE = np.zeros(SIDE**2, np.int64)  # all of one site


def field(width_px: float, seed: int) -> Float64:
    """Noise averaged in a disc: its variogram is nearly spherical, with the diameter as range."""
    radius = int(width_px / 2)
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (np.hypot(rows, columns) <= width_px / 2).astype(float)
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
    smooth = ndimage.convolve(noise, disc, mode="wrap") if radius else noise
    return np.asarray((smooth - smooth.mean()) / smooth.std())


def places() -> tuple[Float64, Float64]:
    x, y = np.meshgrid(30.0 * np.arange(SIDE), 30.0 * np.arange(SIDE))
    return x.ravel(), y.ravel()


def estimated(x: Float64, y: Float64, values: Float64, seed: int, site: NDArray[np.int64]) -> Variogram:
    rows = drawn_points(x.size, seed)
    return estimate_variogram(x, y, values[rows], rows, site)


def test_the_range_of_a_known_field_is_found() -> None:
    values = np.column_stack([field(20, seed).ravel() for seed in (1, 2, 3)])
    found = estimated(*places(), values, 0, ONE)
    assert found.is_bounded
    assert found.range_m == pytest.approx(600, rel=0.25)
    assert found.sill == pytest.approx(1.0, rel=0.15)


def test_noise_has_no_range() -> None:
    values = np.column_stack([field(0, seed).ravel() for seed in (1, 2, 3)])
    assert estimated(*places(), values, 0, ONE).range_m == 0.0


def test_a_trend_has_no_end() -> None:
    x, y = places()
    values = (x / x.std() + field(0, 5).ravel() * 0.1)[:, None]
    found = estimated(x, y, values, 0, ONE)
    assert not found.is_bounded
    assert found.range_m > 2000


def test_the_same_seed_gives_the_same_range() -> None:
    values = field(12, 4).ravel()[:, None]
    one, two = (estimated(*places(), values, 7, ONE) for _ in range(2))
    assert one.document() == two.document()
    assert set(one.document()) == {"range_m", "is_bounded", "nugget", "sill", "lag_m", "semivariance", "pairs"}


def test_few_places_say_nothing() -> None:
    two = np.array([0.0, 1.0])
    assert estimated(two, two, np.ones((2, 1)), 0, ONE[:2]).range_m is None
    assert estimated(*places(), np.zeros((SIDE**2, 0)), 0, ONE).range_m == 0.0


def test_pairs_of_two_sites_are_no_pairs() -> None:
    values = np.column_stack([field(20, seed).ravel() for seed in (1, 2, 3)])
    x, y = places()
    site = (x > 2400).astype(np.int64)
    found = estimated(x + 1e6 * site, y, values, 0, site)
    assert found.lag_m.max() < 2000
    assert found.range_m == pytest.approx(600, rel=0.25)
    each_alone = np.arange(x.size, dtype=np.int64)
    assert estimated(x, y, values, 0, each_alone).range_m is None


def test_what_classes_explain_and_constants_are_taken_out() -> None:
    code = np.repeat([1, 2], 500)
    noise = np.random.default_rng(0).normal(0, 0.2, 1000)
    features = np.column_stack([code * 5 + noise, np.full(1000, 3.0)])
    found = about_class_means(features, code, np.arange(1000))
    assert found.shape == (1000, 1)
    assert [found[code == each].mean() for each in (1, 2)] == pytest.approx([0, 0], abs=1e-12)
    assert found.std() == pytest.approx(1.0)


def test_the_spherical_model_reaches_its_sill_at_the_range() -> None:
    assert spherical(np.array([0.0, 50.0, 100.0, 300.0]), 0.2, 0.8, 100.0).tolist() == pytest.approx(
        [0.2, 0.75, 1.0, 1.0]
    )


@pytest.mark.parametrize("seed", range(4))
def test_places_too_far_apart_for_the_first_lags_have_a_variogram_too(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = 30 * np.round(random.uniform(0, 1000, (2, 60)))
    found = estimated(x, y, random.normal(size=(60, 2)), 0, ONE[:60])
    assert found.lag_m.size >= 4 and found.sill > 0
