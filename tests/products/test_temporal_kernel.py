"""The fused kernel agrees with the float64 reference, and a pixel's result depends on that pixel alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from products.feature_program import programs, reducers
from products.feature_step import KNOWN_BANDS
from products.formula import parse_formula
from products.lane_code import LANES
from products.pixel import reference
from products.pixel.temporal import temporal_features
from tests.products.scene_series import Block, Causes, hazy_series, scene_series

BANDS = ("blue", "green", "red", "nir")
TEXTS = ("(nir - red) / (nir + red)", "-(blue ** 2) + 3 * green - 0.5", "nir / (blue - blue)", "nir")
REDUCE = (
    ("p10", "p50", "p90", "std"),
    ("min", "max", "mean"),
    ("p50",),
    ("range", "iqr", "skewness", "kurtosis", "count"),
)
PLACE = {(band, ()): place for place, band in enumerate(BANDS)}
PROGRAMS = programs([(parse_formula(text, KNOWN_BANDS), ()) for text in TEXTS], PLACE)
REDUCERS = reducers(REDUCE)

GEOMEDIAN_TOLERANCE = 2e-5  # reflectance
MADS_TOLERANCE = 5e-5
INDEX_TOLERANCE = 5e-5
SHAPE_TOLERANCE = 2e-3  # skewness and kurtosis: ratios of small differences


def arguments(block: Block, causes: Causes, min_observations: int = 1) -> tuple[Any, ...]:
    n_scenes = block.shape[1]
    gain = np.tile(np.float32([2.75e-5, 1e-4, 2.7e-5, 1e-4]), (n_scenes, 1))
    bias = np.tile(np.float32([-0.2, 0.0, -0.2, -0.1]), (n_scenes, 1))
    return block, causes, gain, bias, np.arange(len(BANDS)), True, PROGRAMS, REDUCERS, min_observations


def both(block: Block, causes: Causes, min_observations: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    given_to = arguments(block, causes, min_observations)
    return temporal_features(*given_to, threads=1), reference.temporal_features(*given_to)


def series(seed: int, n_scenes: int, shape: tuple[int, int] = (2, 70), used: float = 0.7) -> tuple[Block, Causes]:
    return scene_series(seed, len(BANDS), n_scenes, shape, used)


def assert_close(fast: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    tolerance = [GEOMEDIAN_TOLERANCE] * 4 + [MADS_TOLERANCE] * 3 + [INDEX_TOLERANCE] * 10 + [SHAPE_TOLERANCE] * 2 + [0]
    for layer, limit in enumerate(tolerance):
        np.testing.assert_allclose(fast[layer], exact[layer], rtol=1e-5, atol=limit, err_msg=f"feature {layer}")


@pytest.mark.parametrize("n_scenes", [1, 2, 3, 4, 6, 12, 41])
def test_every_feature_agrees_with_the_reference(n_scenes: int) -> None:
    fast, exact = both(*series(n_scenes, n_scenes))

    assert fast.dtype == np.float32
    assert_close(fast, exact)


@pytest.mark.parametrize("n_scenes", [3, 4, 6, 10, 20])
def test_observations_near_a_line_have_the_median_of_the_reference_in_any_order(n_scenes: int) -> None:
    block, causes = hazy_series(n_scenes, len(BANDS), n_scenes, (2, 40))
    fast, exact = both(block, causes)
    turned, _ = both(block[:, ::-1].copy(), causes)

    assert_close(fast, exact)
    np.testing.assert_allclose(turned[:4], fast[:4], atol=GEOMEDIAN_TOLERANCE)


def test_masked_observations_have_no_influence() -> None:
    block, causes = series(1, 9)
    spoiled = block.copy()
    spoiled[:, causes != 0] = 65535

    np.testing.assert_array_equal(both(block, causes)[0], both(spoiled, causes)[0])


def test_a_pixel_without_observations_is_nan_in_every_feature() -> None:
    block, causes = series(2, 5)
    causes[:, 0, 3] = 2

    fast, exact = both(block, causes)

    assert np.isnan(fast[:, 0, 3]).all()
    assert np.isnan(exact[:, 0, 3]).all()
    assert np.isfinite(fast[:7, 1, 3]).all() == bool((causes[:, 1, 3] == 0).any())


def test_no_scene_at_all_is_nan() -> None:
    assert np.isnan(both(np.zeros((4, 0, 2, 5), np.uint16), np.zeros((0, 2, 5), np.uint8))[0]).all()


def test_fewer_than_min_observations_are_nan() -> None:
    block, causes = series(3, 8)
    fast, _ = both(block, causes, min_observations=5)
    enough = (causes == 0).sum(axis=0) >= 5

    np.testing.assert_array_equal(np.isfinite(fast[0]), enough)
    assert enough.any() and not enough.all()


def test_one_observation_is_its_own_median_with_no_deviation() -> None:
    block = np.full((4, 1, 1, 1), 10_000, np.uint16)
    fast, _ = both(block, np.zeros((1, 1, 1), np.uint8))

    np.testing.assert_allclose(fast[:4, 0, 0], [0.075, 1.0, 0.07, 0.9], atol=1e-6)
    np.testing.assert_allclose(fast[4:7, 0, 0], 0, atol=1e-6)


def test_the_shape_of_a_distribution_is_that_of_scipy_and_equal_numbers_have_none() -> None:
    block, causes = series(11, 30, used=1.1)
    block[:, :, 0, 0] = 12_345
    fast, _ = both(block, causes)
    nir = block[3, :, 0, 1:].astype(np.float64) * 1e-4 - 0.1
    assert np.isnan(fast[-3:-1, 0, 0]).all()
    assert (fast[-5, 0, 0], fast[-4, 0, 0], fast[-1, 0, 0]) == (0, 0, 30)
    np.testing.assert_allclose(fast[-3, 0, 1:], scipy.stats.skew(nir), atol=SHAPE_TOLERANCE)
    np.testing.assert_allclose(fast[-2, 0, 1:], scipy.stats.kurtosis(nir), atol=SHAPE_TOLERANCE)
    np.testing.assert_allclose(fast[-4, 0, 1:], scipy.stats.iqr(nir, axis=0), atol=1e-6)


def test_a_percentile_may_have_decimals() -> None:
    block, causes = series(13, 41, used=1.1)
    *before, _, least = arguments(block, causes)
    asked = reducers([("p2_5", "p97_5", "p0_125"), *[()] * 3])
    found = temporal_features(*before, asked, least, threads=1)[-3:]
    nir, red = (block[band] * np.float32(gain) + bias for band, gain, bias in ((3, 1e-4, -0.1), (2, 2.7e-5, -0.2)))
    expected = np.percentile((nir - red) / (nir + red), [2.5, 97.5, 0.125], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=INDEX_TOLERANCE)


def test_two_observations_meet_half_way() -> None:
    block = np.array([10_000, 12_000], np.uint16)[None, :, None, None].repeat(4, axis=0)
    fast, _ = both(block, np.zeros((2, 1, 1), np.uint8))

    assert fast[1, 0, 0] == pytest.approx(1.1, abs=1e-6)


def test_a_majority_of_equal_observations_is_the_median() -> None:
    block, causes = series(4, 9, used=1.1)
    block[:, :5] = block[:, :1]
    fast, exact = both(block, causes)

    np.testing.assert_allclose(exact[1], block[1, 0] * 1e-4, atol=1e-8)
    np.testing.assert_allclose(fast[:4], exact[:4], atol=GEOMEDIAN_TOLERANCE)
    np.testing.assert_allclose(fast[5], 0, atol=GEOMEDIAN_TOLERANCE)


def test_a_mean_that_falls_on_an_observation_does_not_hold_the_median() -> None:
    block = np.array([1000, 1000, 1000, 2000, 5000], np.uint16)[None, :, None, None].repeat(4, axis=0)
    fast, exact = both(block, np.zeros((5, 1, 1), np.uint8))

    np.testing.assert_allclose(fast[:4, 0, 0], exact[:4, 0, 0], atol=GEOMEDIAN_TOLERANCE)
    assert exact[1, 0, 0] == pytest.approx(0.1)


@pytest.mark.parametrize("dn", [1, 32_767, 32_768, 65_535])
def test_numbers_up_to_65535_are_not_wrapped(dn: int) -> None:
    fast, _ = both(np.full((4, 3, 1, 1), dn, np.uint16), np.zeros((3, 1, 1), np.uint8))

    np.testing.assert_allclose(
        fast[:4, 0, 0], [dn * 2.75e-5 - 0.2, dn * 1e-4, dn * 2.7e-5 - 0.2, dn * 1e-4 - 0.1], rtol=1e-5
    )


def test_distances_that_are_not_defined_are_missing() -> None:
    block = np.full((4, 3, 1, 1), 1000, np.uint16)
    block[:, 0] = 0
    given_to = list(arguments(block, np.zeros((3, 1, 1), np.uint8)))
    given_to[3] = np.zeros_like(given_to[3])
    fast, exact = temporal_features(*given_to, threads=1), reference.temporal_features(*given_to)

    np.testing.assert_allclose(fast[4:7, 0, 0], exact[4:7, 0, 0], atol=1e-5)
    assert np.isfinite(fast[4:7]).all()


def test_an_index_that_is_never_finite_is_nan_and_harms_nothing_else() -> None:
    fast, _ = both(*series(5, 6))

    assert np.isnan(fast[14]).all()
    assert np.isfinite(fast[7:14]).any()


def test_the_reference_geomedian_is_where_the_gradient_vanishes() -> None:
    random = np.random.default_rng(6)
    for n in (3, 5, 8, 30):
        seen = random.normal(0.2, 0.05, (n, 6))
        centre = reference.geomedian(seen)
        on_one = (np.abs(seen - centre).max(axis=1) == 0).any()
        assert on_one or reference.gradient_norm(seen, centre) < 1e-8


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(7)))
def test_the_order_of_observations_does_not_matter(seed: int, order: list[int]) -> None:
    block, causes = series(seed, 7, (1, 40))
    here, there = both(block, causes)[0], temporal_features(*arguments(block[:, order], causes[order]), threads=1)

    np.testing.assert_allclose(here[:4], there[:4], atol=2 * GEOMEDIAN_TOLERANCE)
    np.testing.assert_array_equal(here[7:11], there[7:11])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 4), st.integers(0, 100), st.integers(1, 90))
def test_a_crop_gives_the_same_bits_as_the_whole(seed: int, top: int, left: int, width: int) -> None:
    block, causes = series(seed, 6, (5, 150))
    crop = np.s_[..., top:, left : left + width]
    whole = temporal_features(*arguments(block, causes), threads=1)
    part = temporal_features(
        *arguments(np.ascontiguousarray(block[crop]), np.ascontiguousarray(causes[crop])), threads=1
    )

    np.testing.assert_array_equal(part, whole[crop])


def test_lanes_do_not_influence_each_other() -> None:
    block, causes = series(7, 8, (1, LANES))
    alone = temporal_features(*arguments(block[..., :1].copy(), causes[..., :1].copy()), threads=1)
    causes[:, :, 1:] = 0
    block[:, :, :, 2:40] = 65535

    np.testing.assert_array_equal(temporal_features(*arguments(block, causes), threads=1)[..., :1], alone)


def test_threads_do_not_change_a_bit() -> None:
    block, causes = series(8, 10, (70, 33))

    one, three = (temporal_features(*arguments(block, causes), threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one, three)


def real_series(shared_data: Path, facts: dict[str, Any]) -> NDArray[np.float64]:
    path = shared_data / facts["input"]
    if path.suffix == ".txt":
        table = np.array([line.split()[1:] for line in path.read_text().splitlines() if line.strip()], float)
        return table[:, np.isfinite(table).all(axis=0)].T
    rows = np.genfromtxt(path, delimiter=",", skip_header=0)
    rows = rows[np.isfinite(rows).all(axis=1)]
    bands, mask = rows[:, 1:7], rows[:, -1]
    return bands[(mask == 0) & ((bands > 0) & (bands < 10_000)).all(axis=1)] / 1e4


@pytest.mark.parametrize("name", ["landsat_WA_normal_geomedian.json", "s2ts_geomedian.json"])
def test_real_series_have_the_published_geomedian_and_deviations(shared_data: Path, name: str) -> None:
    facts = json.loads((shared_data / "reference" / "geomedian" / name).read_text())
    seen = real_series(shared_data, facts)
    assert seen.shape == (facts["n"], facts["bands"])
    mads = [facts["smad"], facts["emad"], facts["bcmad"]]

    centre = reference.geomedian(seen)
    np.testing.assert_allclose(centre, facts["geomedian"], atol=1e-7)
    np.testing.assert_allclose(reference.deviations(seen, centre), mads, atol=1e-7)

    low, step = seen.min(axis=0), np.ptp(seen, axis=0) / 65_000
    block = np.rint((seen - low) / step).astype(np.uint16).T[:, :, None, None]
    terms = [np.tile(term.astype(np.float32), (len(seen), 1)) for term in (step, low)]
    fast = temporal_features(
        block,
        np.zeros((len(seen), 1, 1), np.uint8),
        *terms,
        np.arange(seen.shape[1]),
        True,
        PROGRAMS[:0],
        REDUCERS[:0],
        1,
        1,
    )
    np.testing.assert_allclose(fast[: facts["bands"], 0, 0], facts["geomedian"], atol=GEOMEDIAN_TOLERANCE)
    np.testing.assert_allclose(fast[facts["bands"] :, 0, 0], mads, atol=MADS_TOLERANCE)
