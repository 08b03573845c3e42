"""Medoid, best composites, harmonics and season metrics agree with the float64 reference, and a pixel depends on itself alone."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from products.feature_program import FeatureProgram, feature_program
from products.feature_spec import TasselledCapStep
from products.period import Period
from products.pixel import ordered_reference as exact
from products.pixel.harmonic import DAYS_A_YEAR, basis, years_since
from products.pixel.reference import index_values
from products.pixel.season import ALL_METRICS, MORE_METRICS, SEASON_METRICS, season_of, smooth
from products.pixel.tasselled_cap import BANDS, CRIST1985, TASSELLED_CAP
from products.pixel.temporal import temporal_features
from products.pixel.trend import CHANGE_METRICS, TREND_METRICS
from products.registry import parse_recipe
from products.spec import FeaturesRecipe
from products.time_steps import days_since

YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
MIDDLE = YEAR.start + (YEAR.end - YEAR.start) / 2
FEATURES = f"""
  - geomedian: {{bands: [blue, red, nir]}}
  - medoid: {{bands: [blue, red, nir]}}
  - best: {{index: NDVI, bands: [red, nir]}}
  - best: {{index: NDVI, take: min, bands: [blue]}}
  - index: {{names: [NDVI], reduce: [median, count, p90]}}
  - harmonics: {{index: NDVI, order: 2}}
  - harmonics: {{formula: nir - red, name: gap, order: 1, trend: true}}
  - season: {{index: NDVI, min_steps: 4, metrics: [{", ".join(ALL_METRICS)}]}}
  - frequency: {{index: NDVI, at_least: 0.55}}
  - frequency: {{formula: nir - red, name: gap, at_least: 0.15, below: 0.25}}
  - trend: {{index: NDVI, step: P1M}}
  - change: {{formula: nir - red, name: gap, step: P1M, reduce: mean, direction: rise}}
"""
Block, Causes = NDArray[np.uint16], NDArray[np.uint8]


def recipe(features: str = FEATURES) -> FeaturesRecipe:
    text = f"""
name: ordered
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: 64}}
period: P1Y
sources:
  - {{collection: sentinel-2-l2a}}
features:{features}"""
    made = parse_recipe(text, "ordered.yaml")
    assert isinstance(made, FeaturesRecipe)
    return made


def days(n_scenes: int, seed: int = 0) -> list[datetime]:
    chosen = np.sort(np.random.default_rng(seed).choice(366, n_scenes, replace=False))
    return [YEAR.start + timedelta(days=int(day), hours=3) for day in chosen]


def stack(times: list[datetime], seed: int = 0, shape: tuple[int, int] = (2, 40)) -> tuple[Block, Causes]:
    """Bands blue, red, nir with a season of the pixel's own day of peak, noise, and a third of the observations masked."""
    random = np.random.default_rng(seed)
    day = np.array([(time - YEAR.start).days for time in times])[:, None, None]
    wave = np.cos(2 * np.pi * (day - random.integers(0, 366, shape)) / DAYS_A_YEAR)
    noise = random.normal(0, 40, (3, len(times), *shape))
    red, nir = 900 - 300 * wave, 3000 + 800 * wave
    block = (np.stack([0 * wave + 500, red, nir]) + noise).astype(np.uint16)
    return block, (random.random((len(times), *shape)) < 0.33).astype(np.uint8) * 3


def computed(
    program: FeatureProgram, block: Block, causes: Causes, threads: int = 1, min_observations: int = 1
) -> dict[str, NDArray[np.float32]]:
    n_scenes = block.shape[1]
    gain, bias = np.full((n_scenes, 3), 1e-4, np.float32), np.zeros((n_scenes, 3), np.float32)
    made = temporal_features(
        block, causes, gain, bias, program.geomedian_bands, program.with_mads, program.programs, program.reducers,
        min_observations, threads, None, program.ordered,
    )  # fmt: skip
    return dict(zip(program.names, made, strict=True))


@pytest.fixture(scope="module", params=[3, 8, 25, 60])
def both(request: pytest.FixtureRequest) -> tuple[dict[str, NDArray[np.float32]], Block, Causes, list[datetime]]:
    times = days(request.param)
    block, causes = stack(times, request.param)
    program = feature_program(recipe(), times, YEAR)
    assert program.operands == (("blue", ()), ("red", ()), ("nir", ()))
    return computed(program, block, causes), block, causes, times


Both = tuple[dict[str, NDArray[np.float32]], Block, Causes, list[datetime]]


def pixels(block: Block, causes: Causes) -> list[tuple[int, int, NDArray[np.float64], NDArray[np.bool_]]]:
    """y, x, reflectance (observation, band) of the used ones, and which they are."""
    found = []
    for y, x in np.ndindex(*causes.shape[1:]):
        used = causes[:, y, x] == 0
        found.append((y, x, block[:, used, y, x].T.astype(np.float64) * np.float64(np.float32(1e-4)), used))
    return found


def test_the_layers_come_in_the_order_of_the_recipe_s_names() -> None:
    names = set(recipe().feature_names)

    assert set(feature_program(recipe(), days(5), YEAR).names) == names
    assert {
        "medoid_red",
        "max_ndvi_nir",
        "min_ndvi_blue",
        "ndvi_amplitude_2",
        "gap_trend",
        "ndvi_season_length",
        "gap_frequency",
        "ndvi_trend_p_value",
        "gap_rise_day",
    } <= names


def test_the_same_index_is_evaluated_once() -> None:
    assert len(feature_program(recipe(), days(5), YEAR).programs) == 2


def test_medoid_and_best_are_observations_of_the_pixel(both: Both) -> None:
    made, block, causes, _ = both
    for y, x, seen, used in pixels(block, causes):
        if not used.any():
            assert np.isnan(made["medoid_red"][y, x]) and np.isnan(made["max_ndvi_nir"][y, x])
            continue
        medoid = np.array([made[f"medoid_{band}"][y, x] for band in ("blue", "red", "nir")])
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1).sum(axis=1)
        chosen = int(np.argmin(np.abs(seen - medoid).sum(axis=1)))
        np.testing.assert_allclose(medoid, seen[chosen], atol=1e-6)
        assert apart[chosen] <= apart.min() * (1 + 1e-5) + 1e-6
        ndvi = (seen[:, 2] - seen[:, 1]) / (seen[:, 2] + seen[:, 1])
        best, worst = int(np.argmax(ndvi)), int(np.argmin(ndvi))
        assert made["max_ndvi_red"][y, x] == pytest.approx(seen[best, 1], abs=1e-6)
        assert made["max_ndvi_nir"][y, x] == pytest.approx(seen[best, 2], abs=1e-6)
        assert made["min_ndvi_blue"][y, x] == pytest.approx(seen[worst, 0], abs=1e-6)


def test_harmonics_agree_with_least_squares(both: Both) -> None:
    made, block, causes, times = both
    years, middle = years_since(times, YEAR.start), years_since(times, MIDDLE)
    for y, x, seen, used in pixels(block, causes):
        ndvi = (seen[:, 2] - seen[:, 1]) / (seen[:, 2] + seen[:, 1])
        wanted = exact.harmonics(ndvi, years[used], middle[used], 2, with_trend=False)
        names = ("level", "amplitude_1", "day_1", "amplitude_2", "day_2", "rmse")
        found = np.array([made[f"ndvi_{name}"][y, x] for name in names])
        assert np.isnan(found).all() == np.isnan(wanted).all() and (used.sum() > 5 or np.isnan(found).all())
        if used.sum() > 8 and np.isfinite(wanted).all():  # of fewer, days of tiny waves mean nothing
            np.testing.assert_allclose(found[[0, 1, 3, 5]], wanted[[0, 1, 3, 5]], atol=2e-4, rtol=2e-4)
            assert abs((found[2] - wanted[2] + DAYS_A_YEAR / 2) % DAYS_A_YEAR - DAYS_A_YEAR / 2) < 0.1
        gap = exact.harmonics(seen[:, 2] - seen[:, 1], years[used], middle[used], 1, with_trend=True)
        if used.sum() > 8 and np.isfinite(gap).all():
            fitted = np.array([made[f"gap_{name}"][y, x] for name in ("level", "trend", "amplitude_1", "rmse")])
            np.testing.assert_allclose(fitted, gap[[0, 1, 2, 4]], atol=5e-4, rtol=1e-3)


def test_season_metrics_agree_with_the_reference(both: Both) -> None:
    made, block, causes, times = both
    step = np.array([(time - YEAR.start).total_seconds() / 86400 // 10 for time in times]).astype(int)
    for y, x, seen, used in pixels(block, causes)[:40]:
        found = np.array([made[f"ndvi_season_{metric}"][y, x] for metric in SEASON_METRICS])
        steps = np.unique(step[used])
        assert np.isnan(found).all() == (len(steps) < 4)
        if len(steps) < 4:
            continue
        ndvi = (seen[:, 2] - seen[:, 1]) / (seen[:, 2] + seen[:, 1])
        values, weights = np.zeros(37), np.zeros(37)
        for number in steps:
            values[number], weights[number] = ndvi[step[used] == number].mean(), 1.0
        wanted = exact.season(exact.whittaker(values, weights, 10.0), 10.0, 0.5)
        np.testing.assert_allclose(found[[0, 2, 3]], wanted[[0, 2, 3]], atol=0.1)
        np.testing.assert_allclose(found[[1, 5, 6]], wanted[[1, 5, 6]], rtol=1e-4, atol=1e-5)
        assert found[4] == pytest.approx(wanted[4], rel=2e-3, abs=0.05)
        more = [made[f"ndvi_season_{metric}"][y, x] for metric in MORE_METRICS]
        series = exact.whittaker(values, weights, 10.0)
        np.testing.assert_allclose(more, exact.more_of_season(series, 10.0, 0.5, 0.1), rtol=2e-3, atol=2e-5)


def test_frequencies_agree_with_the_reference(both: Both) -> None:
    made, block, causes, _ = both
    for y, x, seen, _ in pixels(block, causes):
        ndvi = (seen[:, 2] - seen[:, 1]) / (seen[:, 2] + seen[:, 1])
        wanted = exact.frequency(ndvi, 0.55, np.inf), exact.frequency(seen[:, 2] - seen[:, 1], 0.15, 0.25)
        np.testing.assert_allclose([made["ndvi_frequency"][y, x], made["gap_frequency"][y, x]], wanted, rtol=1e-6)


def test_trends_and_changes_agree_with_the_reference(both: Both) -> None:
    made, block, causes, times = both
    edges = np.array(days_since(YEAR.start, tuple(datetime(2020, month, 1, tzinfo=UTC) for month in range(1, 13))))
    month, middles = np.array([time.month - 1 for time in times]), (edges + np.append(edges[1:], 366)) / 2
    n_seen = list[int]()
    for y, x, seen, used in pixels(block, causes):
        ndvi = (seen[:, 2] - seen[:, 1]) / (seen[:, 2] + seen[:, 1])
        of_months = exact.folded(ndvi, month[used], 12, 0.5)
        wanted = exact.trend(of_months, middles, 183, 4)
        found = [made[f"ndvi_trend_{metric}"][y, x] for metric in TREND_METRICS]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)
        means = exact.folded(seen[:, 2] - seen[:, 1], month[used], 12, None)
        rise = [made[f"gap_rise_{metric}"][y, x] for metric in CHANGE_METRICS]
        np.testing.assert_allclose(rise, exact.change(means, middles, 1, 4), rtol=1e-5, atol=2e-6)
        n_seen.append(int(np.isfinite(found).all()) + int(np.isfinite(rise).all()))
    assert max(n_seen) == (0 if len(times) < 4 else 2)


def test_a_known_season_is_found_on_its_day() -> None:
    times = days(60, seed=3)
    day = np.array([(time - YEAR.start).total_seconds() / 86400 for time in times])
    ndvi = 0.5 + 0.3 * np.cos(2 * np.pi * (day - 200) / DAYS_A_YEAR)
    nir = np.full(60, 30_000)
    block = np.stack([np.full(60, 500), nir * (1 - ndvi) / (1 + ndvi), nir]).round().astype(np.uint16)[:, :, None, None]
    made = computed(feature_program(recipe(), times, YEAR), block, np.zeros((60, 1, 1), np.uint8))

    assert made["ndvi_day_1"][0, 0] == pytest.approx(200, abs=0.2)
    assert made["ndvi_amplitude_1"][0, 0] == pytest.approx(0.3, abs=1e-3)
    assert made["ndvi_level"][0, 0] == pytest.approx(0.5, abs=1e-3)
    assert made["ndvi_season_peak"][0, 0] == pytest.approx(200, abs=10)
    assert made["ndvi_season_length"][0, 0] == pytest.approx(DAYS_A_YEAR / 2, abs=10)
    assert made["ndvi_count"][0, 0] == 60


@pytest.mark.parametrize("step_days", [1, 10, 30])
def test_the_season_of_a_cosine_is_on_its_days(step_days: int) -> None:
    day = np.arange(0.5, 366)
    times = [YEAR.start + timedelta(days=float(each)) for each in day]
    values = 0.5 + 0.3 * np.cos(2 * np.pi * (day - 180) / DAYS_A_YEAR)
    block = (values * 6e4).round().astype(np.uint16)[None, :, None, None]
    asked = recipe(f"\n  - season: {{formula: nir, name: wave, step_days: {step_days}, smoothness: 0.01}}\n")
    program = feature_program(asked, times, YEAR)
    gain = np.full((len(times), 1), 1 / 6e4, np.float32)
    made = temporal_features(
        block, np.zeros((len(times), 1, 1), np.uint8), gain, gain * 0, program.geomedian_bands, program.with_mads,
        program.programs, program.reducers, 1, 1, None, program.ordered,
    )  # fmt: skip
    found = {
        name.removeprefix("wave_season_"): float(layer[0, 0]) for name, layer in zip(program.names, made, strict=True)
    }

    assert found["start"] == pytest.approx(180 - DAYS_A_YEAR / 4, abs=1 + step_days / 20)
    assert found["peak"] == pytest.approx(180, abs=1 + step_days / 2)
    assert found["end"] == pytest.approx(180 + DAYS_A_YEAR / 4, abs=1 + step_days / 20)
    assert found["length"] == pytest.approx(found["end"] - found["start"], abs=1e-3)


def test_neighbours_threads_and_order_of_lanes_change_no_pixel() -> None:
    times = days(20, seed=5)
    block, causes = stack(times, 5, (5, 70))
    program = feature_program(recipe(), times, YEAR)
    whole = computed(program, block, causes)
    crop = computed(
        program, np.ascontiguousarray(block[:, :, 2:4, 13:50]), np.ascontiguousarray(causes[:, 2:4, 13:50]), 3
    )
    for name, layer in whole.items():
        np.testing.assert_array_equal(layer[2:4, 13:50], crop[name], err_msg=name)


def test_masked_observations_and_too_few_have_no_influence() -> None:
    times = days(12, seed=6)
    block, causes = stack(times, 6)
    spoiled = block.copy()
    spoiled[:, causes != 0] = 65535
    program = feature_program(recipe(), times, YEAR)
    clean, dirty = computed(program, block, causes), computed(program, spoiled, causes)
    few = computed(program, block, causes, min_observations=9)
    enough = (causes == 0).sum(axis=0) >= 9
    for name in program.names:
        np.testing.assert_array_equal(clean[name], dirty[name], err_msg=name)
        np.testing.assert_array_equal(np.isnan(few[name]), ~enough | np.isnan(clean[name]), err_msg=name)
    assert enough.any() and not enough.all()


def test_dates_that_cannot_tell_the_terms_apart_are_nan() -> None:
    times = [YEAR.start + timedelta(days=100, seconds=n) for n in range(12)]
    block, _ = stack(times, 7)
    made = computed(feature_program(recipe(), times, YEAR), block, np.zeros(block.shape[1:], np.uint8))

    assert np.isnan(made["ndvi_amplitude_1"]).all() and np.isnan(made["ndvi_rmse"]).all()
    assert np.isfinite(made["ndvi_median"]).all()


def fitted_of(chosen: NDArray[np.float64], order: int, trend: bool) -> dict[str, NDArray[np.float32]]:
    """Harmonics of a wave of 0.1 with noise of 0.03, at some days of the year, of 50 pixels."""
    times = [YEAR.start + timedelta(days=float(day)) for day in chosen]
    wave = 0.5 + 0.1 * np.cos(2 * np.pi * chosen / DAYS_A_YEAR)[:, None, None]
    values = wave + np.random.default_rng(9).normal(0, 0.03, (len(chosen), 1, 50))
    block = np.broadcast_to((values * 1e4).astype(np.uint16), (3, *values.shape)).copy()
    asked = recipe(f"\n  - harmonics: {{formula: nir, name: wave, order: {order}, trend: {str(trend).lower()}}}\n")
    program = feature_program(asked, times, YEAR)
    given = block[: len(program.operands)], np.zeros(values.shape, np.uint8)
    gain = np.full((len(times), len(program.operands)), 1e-4, np.float32)
    made = temporal_features(
        *given, gain, gain * 0, program.geomedian_bands, program.with_mads, program.programs, program.reducers,
        1, 1, None, program.ordered,
    )  # fmt: skip
    return dict(zip(program.names, made, strict=True))


def test_dates_of_two_months_cannot_tell_the_waves_of_a_year_apart() -> None:
    chosen = 130 + np.sort(np.random.default_rng(2).uniform(0, 60, 14))

    for name, layer in fitted_of(chosen, 2, trend=False).items():
        assert np.isnan(layer).all(), (name, np.median(layer))


@pytest.mark.parametrize(
    ("chosen", "order", "trend"),
    [
        (np.linspace(0, 330, 12), 2, False),
        (np.linspace(20, 350, 25), 4, True),
        (np.arange(9) * 40.0 + 5, 3, False),
        (np.arange(9) * 40.0 + 5, 2, True),
        (np.arange(0.0, 366.0, 16.0), 4, True),
        (np.linspace(60, 300, 15), 2, False),
        (np.linspace(90, 270, 12), 1, False),
    ],
)
def test_dates_over_the_year_give_waves_near_the_true_ones(
    chosen: NDArray[np.float64], order: int, trend: bool
) -> None:
    made = fitted_of(chosen, order, trend)

    assert all(np.isfinite(layer).all() for layer in made.values())
    assert np.median(made["wave_amplitude_1"]) == pytest.approx(0.1, abs=0.06)


def test_waves_are_published_only_where_noise_does_not_drown_them() -> None:
    random = np.random.default_rng(3)
    grown, lost = list[float](), list[float]()
    for _ in range(3000):
        order, trend = int(random.integers(1, 5)), bool(random.integers(0, 2))
        days_of = random.uniform(0, random.uniform(40, 365), random.integers(12, 60))
        times = [YEAR.start + timedelta(days=float(day)) for day in days_of]
        design = np.delete(basis(times, YEAR.start, MIDDLE, order), [] if trend else [1], axis=1)
        if np.linalg.cond(design) > 1e7:
            assert not exact.tells_apart(design)
            continue
        growth = float(np.sqrt(np.diag(np.linalg.inv(design.T @ design))[1 + trend :].max()))
        (grown if exact.tells_apart(design) else lost).append(growth)

    assert max(grown) < 150 and np.mean(np.array(grown) > 10) < 0.1
    assert np.mean(np.array(lost) < 5) < 0.05


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 60), st.floats(0.01, 1e4), st.integers(0, 2**31))
def test_the_smoother_solves_its_system(n: int, smoothness: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    values, weights = random.normal(0.4, 0.2, n), (random.random(n) < 0.6).astype(float)
    weights[[0, n - 1]] = 1.0
    out, work = np.zeros(n), np.zeros((3, n))
    smooth(values, weights, smoothness, n, work, out)

    np.testing.assert_allclose(out, exact.whittaker(values, weights, smoothness), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("series", "start", "end"),
    [
        ([0, 1, 2, 1, 0], 1.5, 3.5),
        ([2, 1, 0], 0.5, 1.5),
        ([0, 1, 2], 1.5, 2.5),
        ([1, 1, 1], 0.5, 2.5),
        ([0, 0, 4, 2, 2, 0], 2, 3.5),
    ],
)
def test_start_and_end_lie_where_the_series_crosses_half_of_its_height(
    series: list[float], start: float, end: float
) -> None:
    out = np.zeros(7)
    season_of(np.array(series, float), len(series), 1.0, 0.5, out)

    assert out[0] == pytest.approx(start)
    assert out[2] == pytest.approx(end) or series == [1, 1, 1]


def test_the_basis_counts_years_from_new_year_and_from_the_middle() -> None:
    made = basis([YEAR.start, MIDDLE], YEAR.start, MIDDLE, 1)

    np.testing.assert_allclose(made[0], [1, -366 / 2 / DAYS_A_YEAR, 1, 0], atol=1e-12)
    assert made[1, 1] == 0
    assert made[1, 2] == pytest.approx(np.cos(np.pi * 366 / DAYS_A_YEAR))


def test_a_real_landsat_series_fits_as_least_squares_says(shared_data: Path) -> None:
    """The 'normal' pixel of pyccd: ordinal date, six bands x 10000, thermal, CFMask class 0 and 1 clear."""
    found = sorted((shared_data / "timeseries").rglob("*normal*.csv"))
    rows = [row for row in csv.reader(found[0].read_text().splitlines()) if row and row[0].strip().isdigit()]
    table = np.array([[int(float(value)) for value in row] for row in rows])
    clear = np.isin(table[:, -1], (0, 1)) & (table[:, 1:7] > 0).all(axis=1) & (table[:, 1:7] < 10_000).all(axis=1)
    table = table[clear][np.argsort(table[clear][:, 0])]
    times = [datetime.fromordinal(int(day)).replace(tzinfo=UTC) for day in table[:, 0]]
    span = Period(datetime(times[0].year, 1, 1, tzinfo=UTC), datetime(times[-1].year + 1, 1, 1, tzinfo=UTC))
    block = table[:, [1, 3, 4]].T.astype(np.uint16)[:, :, None, None]
    asked = recipe(FEATURES[: FEATURES.index("  - season")])
    made = computed(feature_program(asked, times, span), block, np.zeros((len(times), 1, 1), np.uint8))
    ndvi = index_values(
        np.array([[0, 2], [0, 1], [3, 0], [0, 2], [0, 1], [2, 0], [5, 0]], float), block[:, :, 0, 0].T * 1e-4
    )
    middle = span.start + (span.end - span.start) / 2
    wanted = exact.harmonics(ndvi, years_since(times, span.start), years_since(times, middle), 2, with_trend=False)

    assert len(times) > 200
    names = ("level", "amplitude_1", "day_1", "amplitude_2", "day_2", "rmse")
    np.testing.assert_allclose([made[f"ndvi_{name}"][0, 0] for name in names], wanted, rtol=1e-3, atol=1e-4)


def test_tasselled_cap_weights_are_those_published(shared_data: Path) -> None:
    published = json.loads((shared_data / "reference" / "facts" / "tasselled_cap_crist1985.json").read_text())

    assert tuple(published["bands"]) == BANDS
    assert {name: tuple(weights) for name, weights in published["TM_reflectance_Crist1985"].items()} == dict(CRIST1985)


@pytest.mark.parametrize("coefficients", ["huang2002", "baig2014", "shi2019"])
def test_the_components_of_a_tasselled_cap_are_of_length_one_and_square_to_each_other(coefficients: str) -> None:
    step = TasselledCapStep.model_validate({"coefficients": coefficients, "reduce": ["p50"]})
    weights = np.array(list(TASSELLED_CAP[step.coefficients].values()))
    np.testing.assert_allclose(weights @ weights.T, np.eye(3), atol=2e-4)
