"""How often an index lies in a range, its trend, greatest change and seasons: known values, missing ones, ties, and errors in the author's words."""

from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import find_peaks
from scipy.stats import kendalltau, theilslopes

from products.errors import RequestError
from products.feature_program import feature_program
from products.identity import KERNEL_VERSIONS
from products.layer_units import feature_attributes
from products.period import Period
from products.pixel import ordered_reference as exact
from products.pixel.harmonic import DAYS_A_YEAR
from products.pixel.season import ALL_METRICS, SEASON_METRICS
from products.pixel.time_ordered import ordered_scratch
from tests.products.course_stacks import TEN_YEARS, YEAR, Layers, evenly, layers_of, recipe


def test_a_frequency_is_the_share_of_the_clear_values_in_the_range() -> None:
    values = np.array([[0.1, 0.2, 0.3], [0.2, 0.2, 0.3], [0.3, 0.2, 0.1], [0.4, 0.2, 0.9]])
    causes = np.zeros((4, 3), np.uint8)
    causes[3, 2] = 7  # saturated: not used
    asked = recipe(
        "frequency: {formula: nir, name: high, at_least: 0.25}",
        "frequency: {formula: nir, name: low, below: 0.25}",
        "frequency: {formula: nir, name: middle, at_least: 0.15, below: 0.35}",
    )

    made = layers_of(asked, values, evenly(4), causes=causes)

    np.testing.assert_allclose(made["high_frequency"], [0.5, 0, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(made["low_frequency"], [0.5, 1, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(made["middle_frequency"], [0.5, 1, 2 / 3], rtol=1e-6)


def test_the_lower_bound_is_in_the_range_and_the_upper_is_not() -> None:
    values = np.full((3, 1), 0.5)
    asked = recipe(
        "frequency: {formula: nir - nir, name: from, at_least: 0}",
        "frequency: {formula: nir - nir, name: to, below: 0}",
    )

    made = layers_of(asked, values, evenly(3))

    assert (made["from_frequency"][0], made["to_frequency"][0]) == (1, 0)


def test_a_value_that_is_not_finite_counts_nowhere() -> None:
    values = np.array([[0.0, 0.0, 0.5], [0.5, 0.0, 0.25], [0.25, 0.0, 0.125]])
    asked = recipe("frequency: {formula: 1 / nir, name: inverse, at_least: 3}")

    made = layers_of(asked, values, evenly(3))["inverse_frequency"]

    np.testing.assert_allclose(made, [0.5, np.nan, 2 / 3], rtol=1e-6)


def test_without_enough_observations_there_is_no_frequency() -> None:
    values, causes = np.full((3, 3), 0.5), np.array([[3, 0, 0], [3, 3, 0], [3, 3, 3]], np.uint8)
    asked = recipe("frequency: {formula: nir, name: high, at_least: 0.25}")

    np.testing.assert_array_equal(layers_of(asked, values, evenly(3), causes=causes)["high_frequency"], [np.nan, 1, 1])
    few = layers_of(asked, values, evenly(3), causes=causes, min_observations=2)
    np.testing.assert_array_equal(few["high_frequency"], [np.nan, np.nan, 1])
    np.testing.assert_array_equal(layers_of(asked, values[:0], [])["high_frequency"], np.full(3, np.nan))


def test_a_frequency_says_what_it_is_the_share_of() -> None:
    asked = recipe(
        "frequency: {index: MNDWI, at_least: 0, below: 0.5}", "frequency: {index: NDVI, name: bare, below: 0.2}"
    )

    assert asked.feature_names == ("mndwi_frequency", "bare_frequency")
    said = feature_attributes(asked.features)
    assert said["mndwi_frequency"] == {
        "units": "1", "long_name": "share of the observations in which MNDWI is at least 0 and below 0.5",
    }  # fmt: skip
    assert said["bare_frequency"]["long_name"] == "share of the observations in which NDVI is below 0.2"
    assert asked.kernels_used[-1] == "frequency" and "frequency" in KERNEL_VERSIONS


@pytest.mark.parametrize(
    ("frequency", "message"),
    [
        ("frequency: {index: NDVI}", "frequency needs at_least: or below:, or both"),
        ("frequency: {index: NDVI, at_least: 0.3, below: 0.3}", "expected at_least less than below, got 0.3 and 0.3"),
        ("frequency: {at_least: 0.3}", "expected either index: NDVI"),
        ("frequency: {index: NDVI, at_least: .inf}", "finite number"),
        ("frequency: {index: NDVI, above: 0.3}", "above"),
    ],
)
def test_a_frequency_of_no_range_is_refused(frequency: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe(frequency)


def test_two_frequencies_of_one_index_need_names() -> None:
    with pytest.raises(
        RequestError, match="two features are called 'ndvi_frequency': give one of them another `name:`"
    ):
        recipe("frequency: {index: NDVI, below: 0.2}", "frequency: {index: NDVI, at_least: 0.6}")


def test_a_bound_is_part_of_what_makes_a_cell() -> None:
    one, other = (recipe(f"frequency: {{index: NDVI, at_least: {bound}}}").digest() for bound in (0.2, 0.3))

    assert one != other


TREND = "trend: {formula: nir, name: nir}"
FALL = "change: {formula: nir, name: nir}"
YEARS = (np.arange(10) + 0.5) * 365.25  # about the middle of each


def of_years(values: NDArray[np.float64], *features: str) -> Layers:
    """Of ten years with one observation each, where it is not NaN."""
    causes = np.where(np.isnan(values), 3, 0).astype(np.uint8)
    asked = recipe(*(features or (TREND, FALL)), period="P10Y")
    return layers_of(asked, np.nan_to_num(values), evenly(10, TEN_YEARS), TEN_YEARS, causes)


def test_a_trend_is_the_median_slope_and_kendall_s_tau() -> None:
    values = np.random.default_rng(1).permuted(np.linspace(0.1, 0.8, 10)[:, None] * np.ones(30), axis=0)
    made = of_years(values)

    for x in range(30):
        assert made["nir_trend_slope"][x] == pytest.approx(
            theilslopes(values[:, x], YEARS / DAYS_A_YEAR)[0], rel=5e-3, abs=1e-3
        )
        assert made["nir_trend_tau"][x] == pytest.approx(kendalltau(YEARS, values[:, x]).statistic, abs=1e-6)


def test_a_steady_rise_has_the_p_value_that_the_test_says() -> None:
    made = of_years(np.linspace(0.1, 0.55, 10)[:, None])

    assert made["nir_trend_tau"][0] == 1
    assert made["nir_trend_p_value"][0] == pytest.approx(
        8.3031e-05, rel=1e-4
    )  # S 45, variance 125, z 44 / sqrt(125) = 3.9355
    assert made["nir_trend_slope"][0] == pytest.approx(0.05, rel=2e-3)
    assert made["nir_trend_level"][0] == pytest.approx(0.325, abs=1e-3)


def test_two_years_gone_wrong_move_no_trend_far() -> None:
    values = np.linspace(0.3, 0.48, 10)[:, None].copy()
    values[[2, 7]] = [[0.9], [0.01]]

    assert of_years(values)["nir_trend_slope"][0] == pytest.approx(0.02, abs=0.004)


def test_equal_years_are_no_trend_and_ties_lessen_its_variance() -> None:
    values = np.array(
        [
            [0.4, 0.1],
            [0.4, 0.1],
            [0.4, 0.1],
            [0.4, 0.2],
            [0.4, 0.2],
            [0.4, 0.3],
            [0.4, 0.4],
            [0.4, 0.4],
            [0.4, 0.5],
            [0.4, 0.5],
        ]
    )
    made = of_years(values)

    assert [made[f"nir_trend_{part}"][0] for part in ("slope", "tau", "p_value")] == [0, 0, 1]
    assert made["nir_trend_level"][0] == pytest.approx(0.4)
    # S 39; ties of 3, 2, 2 and 2: variance (2250 - 66 - 3 x 18) / 18 = 118.33, z 38 / sqrt(118.33) = 3.4933
    assert made["nir_trend_tau"][1] == pytest.approx(39 / 45)
    assert made["nir_trend_p_value"][1] == pytest.approx(4.771e-4, rel=1e-3)


def test_years_without_an_observation_are_left_out_and_too_few_are_nan() -> None:
    values = np.linspace(0.1, 0.55, 10)[:, None] * np.ones(4)
    values[[1, 4, 5], 0] = np.nan
    values[3:, 1] = values[1:, 2] = values[:, 3] = np.nan
    made = of_years(values)

    assert made["nir_trend_tau"][0] == 1 and made["nir_trend_slope"][0] == pytest.approx(0.05, rel=2e-3)
    assert all(np.isnan(layer[1:]).all() and np.isfinite(layer[0]) for layer in made.values())
    at_least_three = of_years(values, "trend: {formula: nir, name: nir, min_steps: 3}")
    np.testing.assert_array_equal(np.isnan(at_least_three["nir_trend_slope"]), [False, False, True, True])


def test_the_greatest_fall_lies_between_its_years() -> None:
    values = np.array([0.5, 0.52, 0.48, 0.5, 0.5, 0.1, 0.2, 0.3, 0.4, 0.5])[:, None] * np.ones(2)
    values[4:6, 1] = np.nan
    made = of_years(values)

    assert made["nir_fall_size"] == pytest.approx([0.4, 0.3], abs=1e-4)
    # the turn of 2015 to 2016; between the middles of 2014 and 2017
    assert made["nir_fall_day"] == pytest.approx([1826, 365.25 * 5], abs=1.1)
    assert made["nir_fall_before"] == pytest.approx([0.5, 0.5], abs=1e-4)
    assert made["nir_fall_after"] == pytest.approx([0.3, 0.35], abs=1e-4)


def test_of_equal_changes_the_earliest_is_told() -> None:
    values = np.array([0.4, 0.2, 0.4, 0.2, 0.4, 0.2, 0.4, 0.4, 0.2, 0.4])[:, None]
    made = of_years(values, FALL, "change: {formula: nir, name: nir, direction: rise}")

    assert made["nir_fall_day"][0] == pytest.approx(365, abs=1.1)
    assert made["nir_rise_day"][0] == pytest.approx(731, abs=1.1)
    assert made["nir_fall_size"] == made["nir_rise_size"] == pytest.approx(0.2, abs=1e-4)


def test_what_only_rises_has_a_fall_below_nought() -> None:
    made = of_years(np.array([0.1, 0.2, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])[:, None])

    assert made["nir_fall_size"][0] == pytest.approx(-0.05, abs=1e-4)


@pytest.mark.parametrize(
    ("reduce", "quantile"), [("mean", None), ("median", 0.5), ("min", 0.0), ("max", 1.0), ("p90", 0.9)]
)
def test_a_step_has_one_value_of_its_observations(reduce: str, quantile: float | None) -> None:
    random = np.random.default_rng(3)
    values, causes = random.integers(500, 6000, (70, 9)) * 1e-4, (random.random((70, 9)) < 0.3).astype(np.uint8) * 3
    times = evenly(70, TEN_YEARS)
    asked = recipe(f"change: {{formula: nir, name: nir, reduce: {reduce}}}", period="P10Y")
    order = random.permutation(70)
    made = layers_of(asked, values[order], [times[i] for i in order], TEN_YEARS, causes[order])

    years = np.array([time.year - 2011 for time in times])
    for x in range(9):
        used = causes[:, x] == 0
        folded = exact.folded(values[used, x], years[used], 10, quantile)
        found = [made[f"nir_fall_{metric}"][x] for metric in ("size", "before", "after")]
        np.testing.assert_allclose(found, exact.change(folded, YEARS, -1, 4)[[0, 2, 3]], atol=1e-5)


def test_trend_and_change_say_what_they_are() -> None:
    asked = recipe("trend: {index: NBR}", "change: {index: NBR, direction: rise, step: P2Y}", period="P10Y")
    said = feature_attributes(asked.features)

    assert [each["units"] for each in said.values()] == ["year-1", "1", "1", "1", "1", "day", "1", "1"]
    assert said["nbr_trend_slope"]["long_name"] == "median slope of NBR between the steps of P1Y"
    assert said["nbr_rise_day"]["long_name"].startswith("day of the greatest rise of NBR between steps of P2Y")
    assert asked.kernels_used[-2:] == ("trend", "change")


@pytest.mark.parametrize(
    ("feature", "period", "message"),
    [
        (
            "trend: {index: NBR}",
            "P1Y",
            "the feature 'nbr_trend_slope': expected 2 to 1000 steps in a period, P1Y makes 1",
        ),
        (
            "trend: {index: NBR}",
            "P3Y",
            "'nbr_trend_slope' has 3 steps of P1Y in a period: expected at least its min_steps, 4",
        ),
        (
            "change: {index: NBR, step: P10D}",
            "P10Y",
            "'nbr_fall_size' has 365 steps of P10D in a period: .* at most 64",
        ),
        ("change: {index: NBR, step: P7M}", "P10Y", "'nbr_fall_size': steps of P7M do not divide P10Y"),
        ("trend: {index: NBR, step: yearly}", "P10Y", "expected a duration such as P1Y"),
        (
            "trend: {index: NBR, reduce: std}",
            "P10Y",
            "expected reduce: mean, median, min, max or a percentile as p90, got 'std'",
        ),
        ("trend: {index: NBR, reduce: typical}", "P10Y", "typical"),
        ("change: {index: NBR, direction: up}", "P10Y", "fall"),
        ("trend: {index: NBR, min_steps: 2}", "P10Y", "greater than or equal to 3"),
    ],
)
def test_a_trend_or_change_of_no_steps_is_refused(feature: str, period: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe(feature, period=period)


WAVE = 0.5 + 0.3 * np.cos(2 * np.pi * (np.arange(73) * 5 + 2.5 - 180) / DAYS_A_YEAR)


def season_of(values: NDArray[np.float64], more: str = "", period: str = "P1Y") -> dict[str, float]:
    """All metrics of a season of steps of five days, each with an observation."""
    asked = recipe(
        f"season: {{formula: nir, name: nir, step_days: 5, smoothness: 0.01, metrics: [{', '.join(ALL_METRICS)}]{more}}}",
        period=period,
    )
    times = [YEAR.start + timedelta(days=5 * step + 2.5) for step in range(len(values))]
    made = layers_of(asked, values[:, None], times)
    return {name.removeprefix("nir_season_"): float(layer[0]) for name, layer in made.items()}


def test_rates_and_days_of_rise_and_fall_are_those_of_the_wave() -> None:
    made, quarter = season_of(WAVE), DAYS_A_YEAR / 4

    assert made["amplitude"] == pytest.approx(0.6, abs=2e-3)
    assert (made["start_value"], made["end_value"]) == pytest.approx((0.5, 0.5), abs=2e-3)
    assert (made["rise_rate"], made["fall_rate"]) == pytest.approx((0.3 / quarter, 0.3 / quarter), rel=0.04)
    steepest = 0.3 * 2 * np.pi / DAYS_A_YEAR
    assert (made["rise_max_rate"], made["fall_max_rate"]) == pytest.approx((steepest, steepest), rel=0.01)
    assert (made["rise_day"], made["fall_day"]) == pytest.approx((180 - quarter, 180 + quarter), abs=15)
    assert made["count"] == 1


def test_seasons_are_the_peaks_that_stand_out() -> None:
    twice = 0.5 + 0.2 * np.cos(4 * np.pi * (np.arange(73) * 5 - 100) / DAYS_A_YEAR) + 0.04 * np.sin(1.3 * np.arange(73))

    assert season_of(twice)["count"] == 2
    assert season_of(twice, ", min_prominence: 0.9")["count"] == 0
    assert season_of(twice, ", min_prominence: 0.01")["count"] == pytest.approx(
        len(find_peaks(twice, prominence=0.01)[0]),
        abs=1,  # the smoother takes the least of them
    )
    assert season_of(np.full(73, 0.4))["count"] == 0


def test_a_season_without_a_rise_has_no_rate_of_it() -> None:
    made = season_of(np.linspace(0.9, 0.1, 73))

    assert all(np.isnan(made[name]) for name in ("rise_rate", "rise_max_rate", "rise_day"))
    assert made["fall_rate"] == pytest.approx(0.8 / 360, rel=0.02) == pytest.approx(made["fall_max_rate"], rel=0.02)
    assert made["count"] == 0


def test_a_period_of_fewer_steps_than_metrics_has_room_for_them() -> None:
    asked = recipe("season: {formula: nir, name: nir, min_steps: 4}", period="P1M")
    month = Period(YEAR.start, YEAR.start + timedelta(days=31))
    program = feature_program(asked, evenly(9, month), month)
    assert program.ordered is not None
    room = ordered_scratch(program.ordered, 9)[2]

    assert program.ordered.steps[0] == 4 and room.shape[1] >= len(SEASON_METRICS)


def test_metrics_of_a_season_are_chosen_and_the_usual_ones_are_the_same_recipe() -> None:
    usual = f"season: {{index: NDVI, metrics: [{', '.join(SEASON_METRICS)}]}}"
    few = recipe("season: {index: NDVI, metrics: [count, rise_rate]}")

    assert recipe(usual).digest() == recipe("season: {index: NDVI}").digest() != few.digest()
    assert few.feature_names == ("ndvi_season_count", "ndvi_season_rise_rate")
    assert [each["units"] for each in feature_attributes(few.features).values()] == ["1", "day-1"]


@pytest.mark.parametrize(
    ("season", "message"),
    [
        ("season: {index: NDVI, metrics: [top]}", "unknown season measure 'top'"),
        ("season: {index: NDVI, metrics: [peak, peak]}", "'peak' stands twice"),
        ("season: {index: NDVI, metrics: []}", "at least 1"),
        ("season: {index: NDVI, min_prominence: 0.2}", "min_prominence is of the peaks that are counted: add count"),
        ("season: {index: NDVI, metrics: [count], min_prominence: 0}", "greater than 0"),
    ],
)
def test_metrics_that_no_season_has_are_refused(season: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe(season)
