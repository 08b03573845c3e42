"""The c-factor and its kernels: closed forms, published parameters, and what no formula may change."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geom import box

from products.features import reflectance_terms
from products.identity import source_keys
from products.pixel.brdf import GLOBAL_PARAMETERS, c_factor, check_angles, li_sparse, ross_thick, to_nadir
from products.scene import Angles, BandFile, Scene
from products.sensors import ANGLE_BANDS
from products.source_spec import HarmoniseSpec

ZENITHS, AZIMUTHS = st.floats(0, math.radians(70)), st.floats(-math.pi, math.pi)
BACKWARD, FORWARD = Angles(50, 130, 10, 110), Angles(50, 130, 10, 290)


def scene(angles: Angles | None) -> Scene:
    bands = {band: BandFile("nowhere.tif", 1e-4, -0.1, 0) for band in ("blue", "nir_narrow")}
    return Scene(
        UUID(int=1), "item", "product", "collection", "msi", "sentinel-2b", datetime(2020, 3, 4, tzinfo=UTC), "a", "r",
        "p", box(0, 0, 1, 1, "EPSG:4326"), bands, angles,
    )  # fmt: skip


def test_kernels_vanish_with_sun_and_view_in_the_zenith() -> None:
    assert ross_thick(0, 0, 0) == pytest.approx(0, abs=1e-15)
    assert li_sparse(0, 0, 0) == pytest.approx(0, abs=1e-15)


@given(ZENITHS)
def test_at_the_hot_spot_kernels_have_closed_forms(zenith: float) -> None:
    secant = 1 / math.cos(zenith)
    assert ross_thick(zenith, zenith, 0) == pytest.approx(math.pi / 4 * (secant - 1), abs=1e-6)
    assert li_sparse(zenith, zenith, 0) == pytest.approx(secant**2 - secant, abs=1e-6)


@given(ZENITHS)
def test_from_the_zenith_kernels_have_closed_forms(sun: float) -> None:
    volumetric = ((math.pi / 2 - sun) * math.cos(sun) + math.sin(sun)) / (math.cos(sun) + 1) - math.pi / 4
    assert ross_thick(sun, 0, 1.0) == pytest.approx(volumetric, abs=1e-12)
    secants = 1 + 1 / math.cos(sun)
    t = math.acos(min(2 * math.tan(sun) / secants, 1))
    overlap = (t - math.sin(t) * math.cos(t)) * secants / math.pi
    assert li_sparse(sun, 0, 1.0) == pytest.approx(
        overlap - secants + (1 + math.cos(sun)) / math.cos(sun) / 2, abs=1e-9
    )


@pytest.mark.parametrize(("zenith", "volumetric", "geometric"), [(30, -0.03144, -0.6982), (45, -0.04586, -1.1069)])
def test_kernels_from_the_zenith_worked_out_by_hand(zenith: float, volumetric: float, geometric: float) -> None:
    assert ross_thick(math.radians(zenith), 0, 0) == pytest.approx(volumetric, abs=1e-5)
    assert li_sparse(math.radians(zenith), 0, 0) == pytest.approx(geometric, abs=1e-4)


@given(ZENITHS, ZENITHS, AZIMUTHS)
def test_sun_and_view_may_change_places_and_sides(sun: float, view: float, relative: float) -> None:
    for kernel in (ross_thick, li_sparse):
        assert kernel(sun, view, relative) == pytest.approx(kernel(view, sun, relative), abs=1e-6)
        assert kernel(sun, view, relative) == pytest.approx(kernel(sun, view, -relative), abs=1e-9)


def test_parameters_of_the_red_edge_lie_between_red_and_near_infrared_by_wavelength() -> None:
    red, nir = (np.array(GLOBAL_PARAMETERS[band]) for band in ("red", "nir"))
    for band, wavelength_nm in (("rededge1", 705), ("rededge2", 740), ("rededge3", 783)):
        between = red + (nir - red) * (wavelength_nm - 645) / (858 - 645)  # MODIS bands 1 and 2
        np.testing.assert_allclose(GLOBAL_PARAMETERS[band], between, atol=6e-5)


@pytest.mark.parametrize("band", GLOBAL_PARAMETERS)
def test_what_is_seen_from_the_zenith_stays_and_the_sides_meet(band: str) -> None:
    assert c_factor(band, Angles(50, 130, 0, 0)) == 1
    assert 0.9 < c_factor(band, BACKWARD) < 1 < c_factor(band, FORWARD) < 1.1


def test_the_c_factor_is_the_ratio_of_the_two_models() -> None:
    sun, view, relative = math.radians(40), math.radians(10), math.radians(-20)
    models = [
        0.3093 + 0.0330 * li_sparse(sun, zenith, relative) + 0.1535 * ross_thick(sun, zenith, relative)
        for zenith in (0, view)
    ]
    assert c_factor("nir", BACKWARD) == pytest.approx(models[0] / models[1], rel=1e-12)


def test_reflectance_is_normalised_before_its_band_pass_is_adjusted() -> None:
    seen = scene(BACKWARD)
    gain, bias = reflectance_terms([seen], ("blue", "nir"), HarmoniseSpec(), "c_factor")
    for b, (band, slope, intercept) in enumerate((("blue", 0.9778, -0.0040), ("nir_narrow", 0.9966, 0.0))):
        factor = c_factor(band, BACKWARD)
        assert 4000 * gain[0, b] + bias[0, b] == pytest.approx(slope * factor * (0.4 - 0.1) + intercept, abs=1e-6)
    raw = reflectance_terms([seen], ("blue",), HarmoniseSpec(), "c_factor", is_adjusted=False)
    assert (raw[0][0, 0], raw[1][0, 0]) == (np.float32(1e-4), np.float32(-0.1))


def test_a_scene_without_angles_is_refused() -> None:
    check_angles([])
    with pytest.raises(ValueError, match="1 of 1 lack them, the first item"):
        check_angles([scene(None)])
    with pytest.raises(ValueError, match="brdf: c_factor needs the angles of sun and view, item has none"):
        reflectance_terms([scene(None)], ("blue",), None, "c_factor")


def with_pixel_angles(angles: Angles | None) -> Scene:
    one = scene(angles)
    return replace(one, bands={**one.bands, **{band: BandFile("angles.tif", 0.01, 0, -32768) for band in ANGLE_BANDS}})


def test_every_pixel_has_the_c_factor_of_its_own_angles() -> None:
    bands = ("red", "nir")
    numbers = np.full((2, 1, 4), 2000, np.uint16)
    numbers[0, 0, 3], numbers[1, 0, 3] = 0, 65535
    angles = np.array(
        [[[40, 40, 40, 40]], [[130, 130, -170, 130]], [[0, 10, 7.5, 10]], [[0, 110, 100, 110]]], np.float32
    )
    lost = np.zeros((1, 4), np.bool_)
    to_nadir(
        numbers, angles, np.array([GLOBAL_PARAMETERS[band] for band in bands]), np.full(2, 1e-4), np.full(2, -0.1), lost
    )

    assert not lost.any()
    assert numbers[:, 0, 0].tolist() == [2000, 2000] and numbers[:, 0, 3].tolist() == [0, 65535]
    for b, band in enumerate(bands):
        for x, known in ((1, Angles(50, 130, 10, 110)), (2, Angles(50, -170, 7.5, 100))):
            wanted = 0.1 * c_factor(band, known)
            assert numbers[b, 0, x] * 1e-4 - 0.1 == pytest.approx(wanted, abs=0.51e-4)
    assert numbers[0, 0, 1] != 2000 != numbers[1, 0, 1]


@pytest.mark.parametrize("wrong", [np.nan, -1.0, 89.5])
def test_a_pixel_without_an_angle_is_lost(wrong: float) -> None:
    numbers, lost = np.full((1, 1, 2), 2000, np.uint16), np.zeros((1, 2), np.bool_)
    angles = np.broadcast_to(np.float32([40, 130, 5, 110])[:, None, None], (4, 1, 2)).copy()
    angles[2, 0, 1] = wrong
    to_nadir(numbers, angles, np.array([GLOBAL_PARAMETERS["red"]]), np.full(1, 1e-4), np.zeros(1), lost)
    assert lost.tolist() == [[False, True]] and numbers[0, 0, 1] == 2000


def test_scenes_with_the_angles_of_every_pixel_need_no_others_and_are_told_apart() -> None:
    check_angles([with_pixel_angles(None)])
    gain, _ = reflectance_terms([with_pixel_angles(BACKWARD)], ("blue",), None, "c_factor")
    assert gain[0, 0] == np.float32(1e-4)
    keys = [
        source_keys([each], with_angles=True)[0]
        for each in (scene(BACKWARD), with_pixel_angles(BACKWARD), with_pixel_angles(None))
    ]
    assert keys[0] != keys[1] == keys[2]
    assert source_keys([scene(BACKWARD)]) == source_keys([with_pixel_angles(None)])
