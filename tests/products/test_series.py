"""Gap-filled series agree with the float64 reference, keep known values, and say how many observations each step has."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from products.cell_content import cell_arrays, cell_template, compute_layers
from products.errors import RequestError
from products.features import Observations
from products.period import Calendar, Duration, Period, add_duration, parse_period
from products.pixel.causes import ACCOUNT_NAMES
from products.pixel.series import interpolate, series_layers
from products.pixel.series_reference import filled
from products.registry import DEFINITIONS, parse_recipe
from products.series import filling, series_arrays
from products.series_spec import SeriesRecipe
from products.template import odc_product_definition
from products.time_axis import time_coordinates
from products.time_steps import steps_in

TEXT = (DEFINITIONS / "coastal_series.recipe.yaml").read_text()
YEAR = parse_period("2021")
METHODS = ("linear", "{method: whittaker, smoothness: 3}", "{method: harmonic, order: 2, trend: true}")
Doubles = NDArray[np.float64]


def recipe(fill: str = "linear", more: str = "", step: str = "P10D") -> SeriesRecipe:
    text = f"""
name: series
version: 1
kind: series
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: 64}}
period: P1Y
step: {step}
sources:
  - {{collection: sentinel-2-l2a}}
bands: [red, nir]
indices: [NDVI]
fill: {fill}
{more}"""
    return parsed(text)


def parsed(text: str) -> SeriesRecipe:
    found = parse_recipe(text, "series.yaml")
    assert isinstance(found, SeriesRecipe)
    return found


def seen(days: list[float], seed: int = 0, shape: tuple[int, int] = (3, 40)) -> Observations:
    """Red and nir with a season and noise on some days of 2021, a third masked; the first column has none used, the second one, the third two."""
    random = np.random.default_rng(seed)
    season = np.cos(2 * np.pi * (np.array(days) - 200) / 365)[:, None, None]
    red = 2000 - 800 * season + random.normal(0, 60, (len(days), *shape))
    nir = 3000 + 900 * season + random.normal(0, 60, (len(days), *shape))
    block = np.stack([red, nir]).clip(1).astype(np.uint16)
    causes = np.where(random.random((len(days), *shape)) < 0.33, 3, 0).astype(np.uint8)
    for column in range(3):
        causes[column:, :, column] = 3
        causes[:column, :, column] = 0
    gain, bias = np.full((len(days), 2), 1e-4, np.float32), np.full((len(days), 2), -0.1, np.float32)
    return Observations(
        (), ("red", "nir"), block, causes, gain, bias, np.zeros((len(ACCOUNT_NAMES), *shape), np.uint16)
    )


def times(days: list[float]) -> list[datetime]:
    return [YEAR.start + timedelta(days=day) for day in days]


def computed(asked: SeriesRecipe, given: Observations, days: list[float], threads: int = 1) -> NDArray[np.float32]:
    from products.feature_program import programs

    table = programs([(formula, ()) for _, formula in asked.formulas()], {("red", ()): 0, ("nir", ()): 1})
    made = filling(asked, times(days), YEAR)
    return series_layers(
        given.block, given.causes, given.gain, given.bias, table, made, asked.min_observations, threads
    )


def spread(n: int, seed: int = 1) -> list[float]:
    return sorted(np.random.default_rng(seed).uniform(0, 365, n).tolist())


@pytest.mark.parametrize("fill", METHODS)
def test_every_pixel_agrees_with_the_reference(fill: str) -> None:
    days, asked = spread(45), recipe(fill)
    given = seen(days)
    series, observed = series_arrays(asked, computed(asked, given, days))
    made = filling(asked, times(days), YEAR)
    for y, x in np.ndindex(given.causes.shape[1:]):
        used = np.flatnonzero(given.causes[:, y, x] == 0)
        red, nir = (given.block[band, used, y, x] * 1e-4 - 0.1 for band in (0, 1))
        for layer, values in enumerate((red, nir, (nir - red) / (nir + red))):
            wanted = filled(values, used, made)
            np.testing.assert_allclose(series[:, layer, y, x], wanted, rtol=2e-5, atol=2e-6)
        counts = np.bincount(made.step_of[used], minlength=made.middles.size)
        np.testing.assert_array_equal(observed[:, y, x], counts)


def test_without_an_observation_all_is_missing_and_one_is_held() -> None:
    days = spread(30)
    for fill in METHODS[:2]:
        series, observed = series_arrays(recipe(fill), computed(recipe(fill), seen(days), days))
        assert np.isnan(series[..., 0]).all() and observed[..., 0].sum() == 0
        assert (observed[..., 1].sum(axis=0) == 1).all()
        assert np.isfinite(series[..., 1:]).all()
        assert (series[:, :, :, 1] == series[:1, :, :, 1]).all()


def test_a_model_needs_more_observations_than_terms() -> None:
    days, asked = spread(30), recipe(METHODS[2])
    series, _ = series_arrays(asked, computed(asked, seen(days), days))
    assert np.isnan(series[..., :3]).all() and np.isfinite(series[..., 3:]).all()


def test_no_scene_at_all_is_missing() -> None:
    for fill in METHODS:
        series, observed = series_arrays(recipe(fill), computed(recipe(fill), seen([]), []))
        assert np.isnan(series).all() and not observed.any()


def test_fewer_than_min_observations_is_missing_and_still_counted() -> None:
    days, asked = spread(30), recipe("linear", "min_observations: 3")
    series, observed = series_arrays(asked, computed(asked, seen(days), days))
    assert np.isnan(series[..., :3]).all() and np.isfinite(series[..., 3:]).all()
    assert (observed[..., 2].sum(axis=0) == 2).all()


def test_linear_keeps_what_was_observed_and_draws_straight_lines_between() -> None:
    values, out = np.array([0.0, 5.0, 0.0, 0.0, 11.0, 0.0]), np.empty(6)
    interpolate(values, (values > 0).astype(float), np.array([0.0, 10.0, 20.0, 30.0, 40.0, 47.0]), out)
    assert out.tolist() == [5, 5, 7, 9, 11, 11]


def test_observations_of_one_step_are_averaged() -> None:
    days = [1.0, 4.0, 8.0, 200.0]
    given = seen(days)
    causes = np.zeros_like(given.causes)
    block = given.block.copy()
    block[0, :, 0, 0] = (2000, 3000, 4000, 6000)
    asked = recipe("linear")
    made = Observations((), given.bands, block, causes, given.gain, given.bias, given.accounts)
    series, observed = series_arrays(asked, computed(asked, made, days))
    assert series[0, 0, 0, 0] == pytest.approx(0.2) and series[20, 0, 0, 0] == pytest.approx(0.5)
    assert (observed[0, 0, 0], observed[20, 0, 0], observed[:, 0, 0].sum()) == (3, 1, 4)


def test_a_harmonic_year_is_found_again_in_its_gaps() -> None:
    days = [day for day in spread(60) if not 150 < day < 210]
    years = np.array(days) / 365.2425
    truth = 0.4 + 0.2 * np.cos(2 * np.pi * years) + 0.1 * np.sin(4 * np.pi * years)
    block = np.round((np.stack([truth, truth]) + 0.1) * 1e4).astype(np.uint16)[:, :, None, None]
    terms = [np.full((len(days), 2), value, np.float32) for value in (1e-4, -0.1)]
    causes = np.zeros((len(days), 1, 1), np.uint8)
    asked = recipe("{method: harmonic, order: 2}")
    given = Observations((), ("red", "nir"), block, causes, *terms, np.zeros((13, 1, 1), np.uint16))
    series, _ = series_arrays(asked, computed(asked, given, days))
    middles = filling(asked, times(days), YEAR).middles / 365.2425
    wanted = 0.4 + 0.2 * np.cos(2 * np.pi * middles) + 0.1 * np.sin(4 * np.pi * middles)
    np.testing.assert_allclose(series[:, 0, 0, 0], wanted, atol=2e-4)


@pytest.mark.parametrize("fill", METHODS)
def test_observations_of_a_margin_fill_the_first_and_last_gaps(fill: str) -> None:
    asked, plain = recipe(fill, "margin: P20D"), recipe(fill)
    days = [-15.0, *spread(30), 376.0]
    made = filling(asked, times(days), YEAR)
    assert (asked.margin_steps, made.middles.size, made.n_steps, asked.n_layers) == (2, 41, 37, plain.n_layers)
    assert asked.seen_in(YEAR) == Period(YEAR.start - timedelta(days=20), YEAR.end + timedelta(days=20))

    given = seen(days)
    given.causes[[0, -1]] = 0
    given.causes[2:16, :, 30], given.causes[1:8, :, 31] = 3, 3
    series, observed = series_arrays(asked, computed(asked, given, days))
    for y, x in ((0, 30), (2, 31), (1, 39)):
        used = np.flatnonzero(given.causes[:, y, x] == 0)
        wanted = filled(given.block[0, used, y, x] * 1e-4 - 0.1, used, made)[2:-2]
        np.testing.assert_allclose(series[:, 0, y, x], wanted, rtol=2e-5, atol=2e-6)
        inside = used[(np.array(days)[used] >= 0) & (np.array(days)[used] < 365)]
        assert observed[:, y, x].sum() == len(inside)


def test_a_straight_line_reaches_into_the_margin() -> None:
    days = [-8.0, 25.0]  # of the step before the first, and of the third: their middles are 30 days apart
    given = seen(days)
    block, causes = given.block.copy(), np.zeros_like(given.causes)
    block[0, :, 0, 0] = (2000, 5000)
    both = Observations((), given.bands, block, causes, given.gain, given.bias, given.accounts)
    inside = Observations((), given.bands, block[:, 1:], causes[1:], given.gain[1:], given.bias[1:], given.accounts)
    asked, plain = recipe("linear", "margin: P10D"), recipe("linear")
    drawn, observed = series_arrays(asked, computed(asked, both, days))
    held, _ = series_arrays(plain, computed(plain, inside, days[1:]))
    np.testing.assert_allclose(drawn[:3, 0, 0, 0], [0.2, 0.3, 0.4], atol=1e-6)
    np.testing.assert_allclose(held[:3, 0, 0, 0], 0.4, atol=1e-6)
    assert observed[:, 0, 0].sum() == 1


def test_a_cell_has_the_scenes_of_its_margin_only_if_it_has_some_of_its_own() -> None:
    asked = recipe("linear", "margin: P20D")
    scenes = [
        type("Sensed", (), {"acquired": YEAR.start + timedelta(days=day)})() for day in (-21, -19, 100, 384, 386, 500)
    ]
    ((period, members),) = asked.cells_of(scenes, (YEAR,))  # type: ignore[arg-type]
    assert period == YEAR and [(each.acquired - YEAR.start).days for each in members] == [-19, 100, 384]
    assert asked.cells_of([scenes[1]], (YEAR,)) == [(YEAR, ())]  # type: ignore[list-item]
    assert asked.searched(YEAR) == asked.seen_in(YEAR)
    assert asked.digest() != recipe("linear").digest()


def test_steps_of_months_have_margins_of_months() -> None:
    asked = recipe("linear", "margin: P2M", step="P1M")
    assert asked.margin_steps == 2
    assert asked.seen_in(YEAR) == Period(datetime(2020, 11, 1, tzinfo=UTC), datetime(2022, 3, 1, tzinfo=UTC))


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from(METHODS))
def test_a_pixel_depends_on_itself_alone(seed: int, fill: str) -> None:
    days = spread(20, seed)
    given, asked = seen(days, seed), recipe(fill)
    whole = computed(asked, given, days, threads=2)
    rows, columns = slice(1, 3), slice(seed % 30, seed % 30 + 5)
    crop = Observations(
        (), given.bands, np.ascontiguousarray(given.block[..., rows, columns]),
        np.ascontiguousarray(given.causes[:, rows, columns]), given.gain, given.bias, given.accounts,
    )  # fmt: skip
    np.testing.assert_array_equal(computed(asked, crop, days), whole[:, rows, columns])


def test_the_real_series_of_an_eopatch_has_its_own_counts_and_the_reference_values(shared_data: Path) -> None:
    """Sentinel-2 NDVI of eo-learn's TestEOPatch, 68 dates; VALID_COUNT is the sum of IS_VALID."""
    folder = shared_data / "timeseries" / "eopatch_s2_slovenia"
    stamps = json.loads((folder / "timestamps.json").read_text())
    sensed = [datetime.fromisoformat(stamp).replace(tzinfo=UTC) for stamp in stamps]
    ndvi = np.load(folder / "data__NDVI.npy")[:, :16, :, 0].astype(float)
    is_valid = np.load(folder / "mask__IS_VALID.npy")[:, :16, :, 0].astype(bool) & np.isfinite(ndvi)
    expected = np.load(folder / "mask_timeless__VALID_COUNT.npy")[:16, :, 0]
    asked = parsed(TEXT.replace("P1Y", "P3Y").replace("bands: [red, nir]\nindices: [NDVI, MNDWI]", "bands: [red]"))
    span = Period(datetime(2015, 1, 1, tzinfo=UTC), datetime(2018, 1, 1, tzinfo=UTC))
    block = np.round((np.nan_to_num(ndvi) + 1) * 1e4).astype(np.uint16)[None]
    terms = [np.full((68, 1), value, np.float32) for value in (1e-4, -1.0)]
    made = filling(asked, sensed, span)
    table = np.array([[[0, 0], [-1, -1]]], float)
    layers = series_layers(block, np.where(is_valid, 0, 2).astype(np.uint8), *terms, table, made, 1, 2)
    series, observed = series_arrays(asked, layers)
    np.testing.assert_array_equal(observed.sum(axis=0), expected)
    assert (observed == 0).mean() > 0.4
    for y, x in [(0, 0), (7, 51), (15, 99)]:
        used = np.flatnonzero(is_valid[:, y, x])
        values = block[0, used, y, x] * 1e-4 - 1
        np.testing.assert_allclose(series[:, 0, y, x], filled(values, used, made), rtol=1e-5, atol=2e-6)
        assert np.abs(values - ndvi[used, y, x]).max() < 6e-5


@pytest.mark.parametrize(
    ("length", "step", "n_steps"),
    [("P1Y", "P10D", 37), ("P1Y", "P16D", 23), ("P1Y", "P5D", 73), ("P1Y", "P1M", 12), ("P1M", "P10D", 3), ("P30D", "P1W", 5)],
)  # fmt: skip
def test_every_period_has_as_many_steps(length: str, step: str, n_steps: int) -> None:
    calendar = Calendar(Duration.parse(length), Duration.parse(length))
    steps = steps_in(calendar, Duration.parse(step))
    assert steps.n_steps == n_steps
    for year in (2020, 2021):
        start = datetime(year, 1, 1, tzinfo=UTC)
        edges = steps.edges(Period(start, add_duration(start, calendar.length.count, calendar.length.unit)))
        assert len(edges) == n_steps + 1 and list(edges) == sorted(set(edges))


@pytest.mark.parametrize(
    ("length", "step", "message"),
    [
        ("P1Y", "P5M", "steps of P5M do not divide P1Y: expected days, as P10D, or P1M"),
        ("P30D", "P1M", "steps of P1M do not divide P30D"),
        ("P1M", "P40D", "expected 2 to 1000 steps in a period, P40D makes 1"),
        ("P9Y", "P1D", "P1D makes 3285"),
    ],
)
def test_steps_that_do_not_fit_are_refused(length: str, step: str, message: str) -> None:
    duration = Duration.parse(length)
    with pytest.raises(RequestError, match=message):
        steps_in(Calendar(duration, duration), Duration.parse(step))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fill: {method: whittaker, smoothness: 5}", "fill: {method: spline}", "'linear', 'whittaker', 'harmonic'"),
        ("smoothness: 5", "order: 2", "unknown key 'order'"),
        ("bands: [red, nir]\nindices: [NDVI, MNDWI]", "min_observations: 2", "a series of nothing"),
        ("[NDVI, MNDWI]", "[NDVI, NDVI]", "'ndvi' stands twice in the series"),
        ("[NDVI, MNDWI]", "[NDREI]", "needs the band 'rededge1', which not every source has"),
        ("bands: [red, nir]", "formulas: {BIG: red + nir}", "expected a name of lower-case letters"),
        ("period: P1Y", "period: {length: P3Y, step: P1Y}", "leave the `step` of `period` out"),
        ("step: P16D", "step: P400D", "P400D makes 1"),
        ("step: P16D", "step: P16D\nmargin: P20D", "margin: expected whole steps, as P32D for steps of P16D, got P20D"),
        ("step: P16D", "step: P16D\nmargin: P1M", "margin: expected whole steps"),
        ("step: P16D", "step: fortnight", "expected a duration such as"),
    ],
)
def test_wrong_series_recipes_are_refused_in_the_words_of_the_author(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(RequestError, match=message):
        parse_recipe(TEXT.replace(old, new), "series.yaml")


def test_what_changes_a_series_changes_its_digest() -> None:
    others = [
        ("smoothness: 5", "smoothness: 6"),
        ("P16D", "P10D"),
        ("[NDVI, MNDWI]", "[NDVI]"),
        ("fill: {method: whittaker, smoothness: 5}", "fill: linear"),
    ]
    digests = {parsed(TEXT).digest(), *(parsed(TEXT.replace(*pair)).digest() for pair in others)}
    assert len(digests) == 5
    formulas = [
        parsed(TEXT.replace("step: P16D", f"step: P16D\nformulas: {{{text}}}"))
        for text in ("a: red, b: nir", "b: nir, a: red")
    ]
    assert formulas[0].layer_names != formulas[1].layer_names and formulas[0].digest() != formulas[1].digest()
    assert parsed(TEXT.replace("title: Red", "title: Green")).digest() == parsed(TEXT).digest()
    assert parsed(TEXT).kernels == ("clear", "fuse", "resample", "harmonise", "series", "overviews")


@pytest.mark.parametrize(("fill", "own"), [("linear", ()), ("whittaker", ()), ("harmonic", ("harmonics",))])
def test_a_harmonic_series_is_also_of_the_kernel_of_harmonics(fill: str, own: tuple[str, ...]) -> None:
    asked = recipe(fill)
    assert asked.kernels_used == (*asked.kernels, *own)


def test_a_formula_is_a_layer_of_its_own_name() -> None:
    asked = recipe("linear", 'formulas: {gap: "nir - red"}')
    assert asked.layer_names == ("red", "nir", "ndvi", "gap")
    days = spread(10)
    series, _ = series_arrays(asked, computed(asked, seen(days), days))
    np.testing.assert_allclose(series[:, 3], series[:, 1] - series[:, 0], atol=1e-6)


def test_rounding_leaves_the_numbers_of_observations_as_they_are() -> None:
    days, given = spread(80), seen(spread(80))
    exact, coarse = (recipe("linear", more) for more in ("", "precision_bits: 4"))
    scenes = [type("Sensed", (), {"acquired": time})() for time in times(days)]
    given = Observations(tuple(scenes), *(getattr(given, name) for name in ("bands", "block", "causes", "gain", "bias", "accounts")))  # fmt: skip
    one, two = (series_arrays(asked, compute_layers(asked, given, YEAR, 1)) for asked in (exact, coarse))
    np.testing.assert_array_equal(one[1], two[1])
    np.testing.assert_allclose(two[0], one[0], rtol=2**-5)
    assert not np.array_equal(two[0], one[0], equal_nan=True)


def test_a_cell_has_series_counts_and_accounts_over_its_steps() -> None:
    asked = parsed(TEXT)
    template = cell_template(asked)
    series, observed, accounts = template.arrays
    assert (series.dims, series.shape(256)) == (("time", "feature", "y", "x"), (23, 4, 256, 256))
    assert (observed.dims, observed.shape(256)) == (("time", "y", "x"), (23, 256, 256))
    assert (accounts.dims, accounts.shape(256)) == (("period", "cause", "y", "x"), (1, 13, 256, 256))
    layers, counts = np.zeros((23 * 5, 8, 8), np.float32), np.zeros((13, 8, 8), np.uint16)
    shapes = {name: array.shape for name, array in cell_arrays(asked, layers, counts).items()}
    assert shapes == {"series": (23, 4, 8, 8), "observed": (23, 8, 8), "accounts": (1, 13, 8, 8)}
    measurements = odc_product_definition(template)["measurements"]
    assert isinstance(measurements, list) and len(measurements) == 23 * 5
    assert template.measurements["ndvi_3"] == ("series", 10) and template.measurements["observed_23"] == (
        "observed",
        22,
    )


def test_the_time_of_a_series_is_the_start_of_each_step() -> None:
    periods = [parse_period("2020"), parse_period("2021")]
    found = {each.name: np.asarray(each.values) for each in time_coordinates(cell_template(parsed(TEXT)), periods)}
    assert list(found) == ["period", "period_end", "time", "time_end"]
    assert found["time"].size == 46 and (np.diff(found["time"]) >= 13).all()
    np.testing.assert_array_equal(found["time"][1:], found["time_end"][:-1])
    assert (found["time"][23], found["time_end"][-1]) == (found["period"][1], found["period_end"][1])
