"""Features at low and high tide: which passes they use, what they are called, and how much of the tide range was seen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from odc.geo.geom import box

from flows.cell_memory import cell_bytes
from products.device_memory import tile_shape
from products.errors import RequestError
from products.features import Observations, compute_features
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES
from products.registry import parse_recipe
from products.scene import Scene
from products.spec import FeaturesRecipe
from products.tide import TideSpec, at_tide, range_seen
from tests.products.host_cupy import use_host_cupy

YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
LOW, HIGH = TideSpec(lowest=0.2), TideSpec(highest=0.2)


def recipe(*features: str) -> FeaturesRecipe:
    text = """
name: at_tides
version: 1
kind: features
grid: {crs: "EPSG:32647", resolution_m: 30, tile_px: 16}
period: P1Y
sources: [{collection: sentinel-2-l2a}, {collection: landsat-c2-l2}]
features:
"""
    found = parse_recipe(text + "".join(f"  - {each}\n" for each in features), "at_tides.yaml")
    assert isinstance(found, FeaturesRecipe)
    return found


def scenes(heights: list[float | None]) -> list[Scene]:
    """A scene a height, every second one of Landsat."""
    return [
        Scene(UUID(int=s), str(s), "p", ("sentinel-2-l2a", "landsat-c2-l2")[s % 2], ("msi", "oli")[s % 2], "sentinel-2a",
              YEAR.start + timedelta(days=20 * s), str(s), "1", str(s), box(0, 0, 1, 1, "EPSG:4326"), {}, tide_m=height)
        for s, height in enumerate(heights)
    ]  # fmt: skip


def observations(asked: FeaturesRecipe, seen: list[Scene]) -> Observations:
    """Scene s has reflectance 0.01 * (s + 1) in the first band, twice, three times, … as much in the next."""
    n, bands = len(seen), asked.used_bands
    block = (100 * np.arange(1, n + 1) * np.arange(1, len(bands) + 1)[:, None]).astype(np.uint16)
    block = np.broadcast_to(block[..., None, None], (len(bands), n, 16, 16)).copy()
    accounts = np.zeros((len(ACCOUNT_NAMES), 16, 16), np.uint16)
    accounts[:2] = n
    terms = np.full((n, len(bands)), 1e-4, np.float32), np.zeros((n, len(bands)), np.float32)
    return Observations(tuple(seen), bands, block, np.zeros((n, 16, 16), np.uint8), *terms, accounts)


def made(asked: FeaturesRecipe, seen: list[Scene]) -> dict[str, float]:
    """One pixel of each feature."""
    stack = compute_features(asked, observations(asked, seen), YEAR, 1)
    return {name: float(layer[3, 3]) for name, layer in zip(asked.feature_names, stack, strict=True)}


TIDES: list[float | None] = [0.1, -1.5, 0.3, 1.2, -0.2, 0.9, -1.1, 0.0, 1.4, 0.5]


def test_features_use_the_passes_of_the_lowest_and_of_the_highest_tides() -> None:
    asked = recipe(
        "band: {names: [red], reduce: [mean, count], tide: {lowest: 0.2}}",
        "band: {names: [red], reduce: [mean, count], tide: {highest: 0.2}}",
        "band: {names: [red], reduce: [mean, count]}",
    )
    found = made(asked, scenes(TIDES))
    assert found["low_tide_red_mean"] == pytest.approx(0.01 * (2 + 7) / 2, abs=1e-6)
    assert found["high_tide_red_mean"] == pytest.approx(0.01 * (4 + 9) / 2, abs=1e-6)
    assert found["red_mean"] == pytest.approx(0.055, abs=1e-6)
    assert [found[f"{each}red_count"] for each in ("low_tide_", "high_tide_", "")] == [2, 2, 10]


def test_a_tide_and_sources_limit_together_and_the_share_is_of_the_passes_of_these() -> None:
    asked = recipe("band: {names: [red], reduce: [mean, count], tide: {lowest: 0.2}, sources: [sentinel-2-l2a]}")
    found = made(asked, scenes(TIDES))
    assert found == {"low_tide_red_mean": pytest.approx(0.07, abs=1e-6), "low_tide_red_count": 1}


def test_time_ordered_features_know_tides_too() -> None:
    asked = recipe(
        "best: {index: NDVI, take: max, bands: [red], tide: {lowest: 0.2}}",
        "harmonics: {index: NDVI, order: 1, tide: {highest: 0.8}}",
    )
    assert asked.feature_names[:2] == ("max_low_tide_ndvi_red", "high_tide_ndvi_level")
    assert made(asked, scenes(TIDES))["max_low_tide_ndvi_red"] in (
        pytest.approx(0.02, abs=1e-6), pytest.approx(0.07, abs=1e-6),
    )  # fmt: skip


def test_scenes_of_one_pass_count_once() -> None:
    seen = [
        replace(scene, pass_id="same") if s < 6 else scene for s, scene in enumerate(scenes([1.0] * 6 + [0.0, 2.0]))
    ]
    every = np.ones(8, bool)
    assert at_tide(seen, TideSpec(lowest=0.4), every).tolist() == [False] * 6 + [True, False]
    assert at_tide(seen, TideSpec(lowest=0.5), every).tolist() == [True] * 7 + [False]


def test_scenes_without_a_known_tide_are_at_no_tide() -> None:
    seen = scenes([None, 0.0, 1.0, None])
    assert at_tide(seen, TideSpec(lowest=0.4), np.ones(4, bool)).tolist() == [False, True, False, False]
    assert not at_tide(scenes([None] * 3), LOW, np.ones(3, bool)).any()
    asked = recipe("band: {names: [red], reduce: [mean]}", "band: {names: [red], reduce: [mean], tide: {highest: 0.5}}")
    found = made(asked, scenes([None] * 4))
    assert found["red_mean"] == pytest.approx(0.025, abs=1e-6)
    assert np.isnan(found["high_tide_red_mean"])


def test_the_order_of_scenes_changes_nothing() -> None:
    asked = recipe("band: {names: [red], reduce: [p50], tide: {lowest: 0.4}}")
    seen = observations(asked, scenes(TIDES))
    order = np.random.default_rng(0).permutation(10)
    other = replace(
        seen,
        scenes=tuple(seen.scenes[s] for s in order),
        block=np.ascontiguousarray(seen.block[:, order]),
        gain=seen.gain[order],
        bias=seen.bias[order],
    )
    one, two = (compute_features(asked, each, YEAR, 1) for each in (seen, other))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize(
    ("tide", "message"),
    [
        ("{}", "tide needs lowest: 0.2 or highest: 0.2"),
        ("{lowest: 0.2, highest: 0.2}", "and not both"),
        ("{lowest: 1.0}", "less than 1"),
        ("{highest: 0}", "greater than 0"),
        ("{lowst: 0.2}", "unknown key 'lowst'; near ones: lowest"),
    ],
)
def test_a_tide_that_cannot_be_meant_is_refused(tide: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe(f"band: {{names: [red], reduce: [p50], tide: {tide}}}")


def test_two_features_of_one_name_at_two_shares_are_refused() -> None:
    one, two = (f"band: {{names: [red], reduce: [p50], tide: {{lowest: {share}}}}}" for share in (0.1, 0.2))
    with pytest.raises(RequestError, match="two features are called 'low_tide_red_p50'"):
        recipe(one, two)


def test_the_tide_is_part_of_the_digest_and_its_absence_is_not() -> None:
    digests = {
        recipe(f"band: {{names: [red], reduce: [p50]{tide}}}").digest()
        for tide in ("", ", tide: {lowest: 0.1}", ", tide: {lowest: 0.2}", ", tide: {highest: 0.2}")
    }
    assert len(digests) == 4


def test_composites_of_whole_observations_know_tides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = recipe(
        "medoid: {bands: [red, nir], tide: {highest: 0.2}}",
        "geomedian: {bands: [red, nir]}",
        "geomedian: {bands: [nir, red], tide: {lowest: 0.3}}",
        "mads: {tide: {lowest: 0.3}}",
        "band: {names: [red], reduce: [mean, count], tide: {lowest: 0.2}}",
        "count: {}",
    )
    assert asked.feature_names[:7] == (
        "high_tide_medoid_red", "high_tide_medoid_nir", "red", "nir", "low_tide_nir", "low_tide_red", "low_tide_smad",
    )  # fmt: skip
    found = made(asked, scenes(TIDES))
    assert found["low_tide_red"] == pytest.approx(0.05, abs=1e-5)  # of 0.02, 0.05 and 0.07, all on one line
    assert found["low_tide_nir"] == pytest.approx(0.10, abs=1e-5)
    assert found["low_tide_emad"] == pytest.approx(0.02 * 5**0.5, abs=1e-5)
    assert found["high_tide_medoid_red"] == pytest.approx(0.04, abs=1e-6)  # of 0.04 and 0.09, the earlier
    assert 0.0499 < found["red"] < 0.0601
    assert (found["low_tide_red_count"], found["count_used"]) == (2, 10)

    alone = recipe("geomedian: {bands: [red, nir], tide: {lowest: 0.3}}", "mads: {tide: {lowest: 0.3}}")
    assert made(alone, scenes(TIDES)) == pytest.approx({name: found[name] for name in alone.feature_names}, abs=1e-6)
    on_gpu = recipe(*(f"{kind}, tide: {{lowest: 0.3}}}}" for kind in GPU_KINDS), "mads: {tide: {lowest: 0.3}}")
    seen = observations(on_gpu, scenes(TIDES))
    cpu = compute_features(on_gpu, seen, YEAR, 1)
    use_host_cupy(monkeypatch, tmp_path)
    np.testing.assert_allclose(compute_features(on_gpu, seen, YEAR, 1, device="gpu"), cpu, atol=1e-5)


GPU_KINDS = (
    "geomedian: {bands: [red, nir]",
    "band: {names: [red], reduce: [p50, count]",
    "index: {names: [NDVI], reduce: [mean]",
)


def test_a_composite_of_some_sources_has_a_name_of_its_own_and_bands_that_others_lack() -> None:
    asked = recipe(
        "geomedian: {bands: [red, nir]}",
        "geomedian: {bands: [red, rededge1], sources: [sentinel-2-l2a], name: s2}",
        "mads: {sources: [sentinel-2-l2a], name: s2}",
    )
    assert asked.feature_names == ("red", "nir", "s2_red", "s2_rededge1", "s2_smad", "s2_emad", "s2_bcmad")
    found = made(asked, scenes(TIDES))
    assert found["s2_red"] == pytest.approx(0.05, abs=1e-5)  # the middle of scenes 0, 2, 4, 6, 8
    assert found["red"] == pytest.approx(0.055, abs=6e-3)


def test_too_few_passes_at_a_tide_leave_its_composites_missing() -> None:
    text = "geomedian: {bands: [red, nir], tide: {lowest: 0.3}}"
    asked = recipe(text, "band: {names: [red], reduce: [mean]}")
    few = asked.model_copy(update={"min_observations": 4})
    assert np.isnan(made(few, scenes(TIDES))["low_tide_red"])
    assert made(few, scenes(TIDES))["red_mean"] == pytest.approx(0.055, abs=1e-6)
    assert np.isfinite(made(asked.model_copy(update={"min_observations": 3}), scenes(TIDES))["low_tide_red"])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["geomedian: {bands: [red, nir]}", "mads: {tide: {lowest: 0.2}}"], "distances to the geomedian: .* of the same scenes"),
        (["geomedian: {bands: [red, nir]}", "geomedian: {bands: [blue, green]}"], "one geomedian .* got two of the same scenes"),
        (["geomedian: {bands: [red, nir]}", "geomedian: {bands: [red, nir], sources: [sentinel-2-l2a]}"], "two features are called 'red'"),
        (["geomedian: {bands: [red, nir], name: Low Tide}"], "expected a name of lower-case letters"),
    ],
)  # fmt: skip
def test_composites_that_cannot_be_told_apart_are_refused(features: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe(*features)


def test_a_composite_at_a_tide_takes_more_memory() -> None:
    plain, low = recipe("geomedian: {bands: [red, nir]}"), recipe("geomedian: {bands: [red, nir], tide: {lowest: 0.2}}")
    assert cell_bytes(low, 100, 1) - cell_bytes(plain, 100, 1) == 100 * 16**2
    assert tile_shape(low, YEAR) == tile_shape(plain, YEAR)


@pytest.mark.parametrize(("spec", "prefix"), [(LOW, "low_tide"), (HIGH, "high_tide")])
def test_names_begin_with_the_tide(spec: TideSpec, prefix: str) -> None:
    assert spec.prefix == prefix


def test_the_range_that_was_seen_is_told_in_metres_and_shares() -> None:
    found: dict[str, Any] = range_seen(np.array([-0.5, 0.2, 0.9]), np.array([-1.0, 0.0, 1.5]))
    assert found == {
        "observed_low_m": -0.5, "observed_high_m": 0.9, "lowest_m": -1.0, "highest_m": 1.5,
        "spread": 0.56, "offset_low": 0.2, "offset_high": 0.24,
    }  # fmt: skip
