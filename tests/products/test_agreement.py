"""How far sensors agree: the sums are exact, whatever the pieces, and say what plain NumPy says of the pixels that both show clear."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray
from odc.geo.geom import box

from products.features import reflectance_terms
from products.pixel.agreement import ClearSums, Difference, clear_sums, differences, same_day_pairs, used_by_sensor
from products.pixel.causes import NOT_EXPECTED, Cause
from products.scene import BandFile, Scene
from products.source_spec import HarmoniseSpec

MORNING = datetime(2020, 3, 4, 3, 20, tzinfo=UTC)
BANDS = ("blue", "nir", "rededge1")
PLATFORMS = {"tm": "landsat-5", "etm": "landsat-7", "oli": "landsat-8", "msi": "sentinel-2b"}


def scene(sensor: str, hours: float = 0.0, offset: float = 0.0) -> Scene:
    names = ("blue", "nir", "nir_narrow", "rededge1") if sensor == "msi" else ("blue", "nir")
    scale = 1e-4 if sensor == "msi" else 2.75e-5
    bands = {name: BandFile("nowhere.tif", scale, offset, 0) for name in names}
    return Scene(
        UUID(int=1), "item", "product", "collection", sensor, PLATFORMS[sensor], MORNING + timedelta(hours=hours), "a",
        "r", "p", box(0, 0, 1, 1, "EPSG:4326"), bands,
    )  # fmt: skip


SCENES = [scene("msi", 0.3, -0.1), scene("oli"), scene("oli", 24), scene("msi", 24.2), scene("etm", -0.1, -0.2)]


def stack(scenes: list[Scene], side: int = 60, seed: int = 0) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    block = random.integers(0, 65536, (len(BANDS), len(scenes), side, side)).astype(np.uint16)
    fates = np.array([Cause.USED, Cause.CLOUD, NOT_EXPECTED], np.uint8)
    return block, random.choice(fates, (len(scenes), side, side), p=[0.6, 0.3, 0.1])


def plainly(first: int, second: int, band: int, is_adjusted: bool) -> NDArray[np.float64]:
    """The differences of two scenes where both are used, float64."""
    block, causes = stack(SCENES)
    gain, bias = reflectance_terms(SCENES, BANDS, HarmoniseSpec(), is_adjusted=is_adjusted)
    both = (causes[first] == 0) & (causes[second] == 0)
    seen = [block[band, s][both] * np.float64(gain[s, band]) + np.float64(bias[s, band]) for s in (first, second)]
    return np.asarray(seen[0] - seen[1])


def sums_of(scenes: list[Scene], margin_px: int = 0, threads: int = 2, rows: slice = slice(None)) -> ClearSums:
    block, causes = stack(scenes)
    parts = np.ascontiguousarray(block[:, :, rows]), np.ascontiguousarray(causes[:, rows])
    return clear_sums(scenes, *parts, margin_px, threads)


def test_scenes_of_different_sensors_within_one_solar_day_are_pairs_and_no_others() -> None:
    assert same_day_pairs(SCENES) == ((0, 1), (3, 2), (4, 0), (4, 1))
    assert same_day_pairs([scene("tm"), scene("tm"), scene("etm", 23)]) == ()
    assert same_day_pairs([scene("oli", 1), scene("tm")]) == ((1, 0),)


@pytest.mark.parametrize("is_adjusted", [False, True])
def test_bias_and_rmsd_are_those_of_plain_numpy(is_adjusted: bool) -> None:
    terms = reflectance_terms(SCENES, BANDS, HarmoniseSpec(), is_adjusted=is_adjusted)
    found = differences(SCENES, sums_of(SCENES), *terms)

    assert set(found) == {(*pair, band) for pair in (("msi", "oli"), ("etm", "msi"), ("etm", "oli")) for band in (0, 1)}
    for band in (0, 1):
        pooled = np.concatenate([plainly(0, 1, band, is_adjusted), plainly(3, 2, band, is_adjusted)])
        here = found["msi", "oli", band]
        assert here.n == pooled.size
        assert here.bias == pytest.approx(pooled.mean(), rel=1e-9)
        assert here.rmsd == pytest.approx(np.sqrt((pooled**2).mean()), rel=1e-9)


def test_a_band_that_one_of_the_sensors_lacks_has_no_difference() -> None:
    found = differences(SCENES, sums_of(SCENES), *reflectance_terms(SCENES, BANDS, None))
    assert {band for *_, band in found} == {0, 1}


def test_the_sums_of_strips_with_margins_are_those_of_the_whole_to_the_last_bit() -> None:
    whole = sums_of(SCENES, margin_px=3)
    parts = sums_of(SCENES, 3, 1, slice(0, 27)) + sums_of(SCENES, 3, 2, slice(21, 60))
    np.testing.assert_array_equal(parts.used, whole.used)
    np.testing.assert_array_equal(parts.moments, whole.moments)
    assert whole.moments.any(axis=-1).all()
    causes = stack(SCENES)[1][:, 3:-3, 3:-3]
    np.testing.assert_array_equal(whole.used, (causes == 0).sum(axis=(1, 2)))
    assert whole.moments[0, 0, 0] == ((causes[0] == 0) & (causes[1] == 0)).sum()


def test_the_highest_numbers_of_the_largest_tile_do_not_overflow() -> None:
    side, scenes = 64, [scene("msi"), scene("oli")]
    block = np.full((1, 2, side, side), 65535, np.uint16)
    sums = clear_sums(scenes, block, np.zeros((2, side, side), np.uint8), 0, 2)
    times = (8192 // side) ** 2
    assert sums.moments.tolist() == [[[side**2, *[65535 * side**2] * 2, *[65535**2 * side**2] * 3]]]
    assert 65535**2 * side**2 * times < np.iinfo(np.int64).max


def test_what_a_sensor_measures_of_the_same_ground_agrees_once_it_is_adjusted() -> None:
    ground = np.random.default_rng(1).uniform(0.02, 0.4, (50, 50))
    scenes = [scene("msi"), scene("oli")]
    msi = (ground - 0.0) / 0.9966  # Sentinel-2B, near infrared
    block = np.stack([np.rint(msi / 1e-4), np.rint(ground / 2.75e-5)])[None].astype(np.uint16)
    sums = clear_sums(scenes, block, np.zeros((2, 50, 50), np.uint8), 0, 1)
    before, after = (
        differences(scenes, sums, *reflectance_terms(scenes, ("nir",), HarmoniseSpec(), is_adjusted=is_adjusted))
        for is_adjusted in (False, True)
    )
    assert before["msi", "oli", 0].bias == pytest.approx((msi - ground).mean(), abs=2e-6)
    assert after["msi", "oli", 0] == Difference(2500, pytest.approx(0, abs=2e-6), pytest.approx(0, abs=4e-5))


def test_used_observations_are_counted_by_sensor() -> None:
    n = sums_of(SCENES).used.tolist()
    assert used_by_sensor(SCENES, sums_of(SCENES)) == {"etm": n[4], "msi": n[0] + n[3], "oli": n[1] + n[2]}
    nothing = clear_sums([], np.empty((3, 0, 16, 16), np.uint16), np.empty((0, 16, 16), np.uint8), 0, 1)
    assert used_by_sensor([], nothing) == {} and differences([], nothing, *reflectance_terms([], BANDS, None)) == {}
