"""Omission and commission of masks: by hand, by stratum, and the strata by the simulator's own surface."""

import numpy as np
import pytest

from products.pixel.causes import NOT_EXPECTED, Cause
from products.pixel.mask_scores import TrueSky, count_fates, mask_scores
from products.simulation.landscape import BARE, BUILT, MUDFLAT, WATER, make_landscape
from products.simulation.sky import SKY_NAMES
from products.simulation.spectra import surface_at_tide
from products.simulation.strata import coast_strata, majority

CLEAR, CLOUD, SHADOW, CIRRUS = TrueSky.CLEAR, TrueSky.CLOUD, TrueSky.CLOUD_SHADOW, TrueSky.THIN_CIRRUS


def table(*pairs: tuple[TrueSky, int]) -> np.ndarray:
    truth = np.array([[sky for sky, _ in pairs]], np.uint8)
    return count_fates(truth, np.array([[cause for _, cause in pairs]], np.uint8))


def test_the_codes_are_those_of_the_simulated_sky() -> None:
    assert {int(sky): sky.name.lower() for sky in TrueSky} == SKY_NAMES


def test_omission_is_what_is_left_in_use_and_commission_what_is_clear() -> None:
    cloud = [(CLOUD, Cause.CLOUD)] * 5 + [(CLOUD, Cause.DILATED)] * 2 + [(CLOUD, Cause.USED)] * 3
    clear = [(CLEAR, Cause.USED)] * 12 + [(CLEAR, Cause.CLOUD)] * 4 + [(CLEAR, Cause.DILATED)] * 4
    shadow = [(SHADOW, Cause.CLOUD), (SHADOW, Cause.SHADOW), (SHADOW, Cause.USED), (SHADOW, Cause.USED)]
    found = mask_scores(table(*cloud, *clear, *shadow, (CIRRUS, Cause.USED)))

    assert found["cloud"] == {"true": 10, "omission": 0.3, "called": 10, "commission": 0.4}
    assert found["cloud_shadow"] == {"true": 4, "omission": 0.5, "called": 1, "commission": 0.0}
    assert found["thin_cirrus"] == {"true": 1, "omission": 1.0, "called": 0, "commission": None}
    assert found["clear_lost"] == 0.4
    assert found["used_not_clear"] == round(6 / 18, 6)
    assert found["observations"] == 35


def test_what_was_not_seen_counts_for_nothing() -> None:
    unseen = [(CLEAR, Cause.UNREAD), (CLOUD, Cause.NODATA), (CLEAR, Cause.SLC_GAP), (CLOUD, NOT_EXPECTED)]
    seen = [(TrueSky.NO_DATA, Cause.CLOUD), (CLEAR, Cause.USED)]
    assert mask_scores(table(*unseen, *seen)) == mask_scores(table((CLEAR, Cause.USED)))


def test_persistent_cloud_over_clear_sand_is_commission_until_it_is_kept() -> None:
    masked, kept = table((CLEAR, Cause.PERSISTENT_CLOUD)), table((CLEAR, Cause.USED))
    assert mask_scores(masked)["cloud"]["commission"] == mask_scores(masked)["clear_lost"] == 1
    assert mask_scores(kept)["cloud"]["commission"] is None and mask_scores(kept)["clear_lost"] == 0


def test_tables_of_parts_add_up_to_that_of_the_whole() -> None:
    random = np.random.default_rng(2)
    truth, causes = random.integers(0, 5, (40, 30), np.uint8), random.integers(0, 12, (40, 30), np.uint8)
    left = np.zeros(truth.shape, np.bool_)
    left[:, :11] = True
    parts = count_fates(truth, causes, left) + count_fates(truth, causes, ~left)
    np.testing.assert_array_equal(parts, count_fates(truth, causes))


@pytest.mark.parametrize("tide_m", [-1.9, -0.4, 0.0, 0.5, 1.7])
def test_strata_by_classes_and_height_are_the_surface_of_the_landscape(tide_m: float) -> None:
    landscape = make_landscape(np.random.default_rng(11), 240)
    surface = surface_at_tide(landscape, tide_m)
    strata = coast_strata(landscape.classes, landscape.elevation_m, tide_m, 10.0)

    np.testing.assert_array_equal(strata["mudflat"], surface == MUDFLAT)
    np.testing.assert_array_equal(strata["sand"], surface == BARE)
    np.testing.assert_array_equal(strata["built_up"], surface == BUILT)
    assert not (strata["turbid_water"] & (surface != WATER)).any()


def test_turbid_water_has_more_than_half_of_the_turbid_spectrum() -> None:
    landscape = make_landscape(np.random.default_rng(11), 240)
    is_turbid = coast_strata(landscape.classes, landscape.elevation_m, 0.0, 10.0)["turbid_water"]
    is_water = landscape.classes == WATER
    assert (
        np.median(landscape.mixture[is_water & is_turbid]) > 0.5 > np.median(landscape.mixture[is_water & ~is_turbid])
    )


def test_the_fringe_reaches_sixty_metres_to_both_sides_of_the_shore() -> None:
    classes = np.full((4, 40), BARE, np.uint8)
    height = np.broadcast_to(np.linspace(-4, 4, 40, dtype=np.float32), classes.shape)
    classes[height < 0] = WATER
    classes[:, :16] = 0
    fringe = coast_strata(classes, height, 0.0, 10.0)["fringe"]
    assert np.flatnonzero(fringe[0]).tolist() == list(range(16, 26))


def test_a_pixel_is_of_a_stratum_that_fills_more_than_half_of_it() -> None:
    cells = np.zeros((4, 6), np.bool_)
    cells[:2, :2] = cells[0, 2:4] = True
    cells[2:, 4:] = [[True, True], [True, False]]
    assert majority(cells, 2).tolist() == [[True, False, False], [False, False, True]]
