"""Angles over a grid: detectors merged, scipy's interpolation, azimuths that pass north; and the c-factors that follow."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from products.pixel.angle_grids import AngleGrids, Directions, angles_at, factors_at, merged
from products.pixel.brdf import c_factor, multiply_between
from products.scene import Angles

nan = np.nan
ROWS, COLUMNS = np.indices((5, 6)).astype(float)
SUN = Directions(30 + 0.5 * ROWS + 0.1 * COLUMNS**2, 350 + 4 * COLUMNS - ROWS)
VIEW = Directions(2 + 0.3 * ROWS * COLUMNS, 100 + 3 * ROWS)
GRIDS = AngleGrids("EPSG:32647", 500_000.0, 600_000.0, (5000.0, 5000.0), SUN, {"red": VIEW, "nir": SUN})


def test_a_node_has_the_mean_of_the_detectors_that_look_at_it_and_another_what_the_nearest_has() -> None:
    one = Directions(np.array([[2.0, 4.0, nan, nan]]), np.array([[350.0, 350.0, nan, nan]]))
    other = Directions(np.array([[nan, 6.0, nan, nan]]), np.array([[nan, 20.0, nan, nan]]))
    found = merged([one, other])
    assert found.zenith_deg.tolist() == [[2.0, 5.0, 5.0, 5.0]]
    np.testing.assert_allclose(found.azimuth_deg, [[350.0, 5.0, 5.0, 5.0]], atol=1e-9)
    with pytest.raises(ValueError, match="no angle at any node"):
        merged([Directions(np.full((2, 2), nan), np.full((2, 2), nan))])


def test_angles_between_nodes_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    rows, columns = random.uniform(0, 4, (7, 9)), random.uniform(0, 5, (7, 9))
    zenith, azimuth = angles_at(SUN, rows, columns)
    nodes = np.arange(5.0), np.arange(6.0)
    radians = np.radians(SUN.azimuth_deg)
    wanted, east, north = (
        RegularGridInterpolator(nodes, values)(np.stack([rows, columns], axis=-1))
        for values in (SUN.zenith_deg, np.sin(radians), np.cos(radians))
    )
    np.testing.assert_allclose(zenith, wanted, atol=1e-12)
    np.testing.assert_allclose(azimuth, np.degrees(np.arctan2(east, north)), atol=1e-10)
    plain = RegularGridInterpolator(nodes, SUN.azimuth_deg)(np.stack([rows, columns], axis=-1))
    np.testing.assert_allclose(
        (azimuth - plain + 180) % 360 - 180, 0, atol=5e-3
    )  # some degrees apart, as scipy has them
    assert azimuth.min() < -5 < 5 < azimuth.max()


def test_a_node_has_its_own_angles_and_what_lies_beyond_the_edge_those_of_the_edge() -> None:
    zenith, azimuth = angles_at(VIEW, ROWS, COLUMNS)
    np.testing.assert_allclose(zenith, VIEW.zenith_deg, rtol=1e-14)
    np.testing.assert_allclose(azimuth, VIEW.azimuth_deg, rtol=1e-14)
    beyond = angles_at(VIEW, np.array([[-3.0, 9.0]]), np.array([[2.0, 99.0]]))
    np.testing.assert_allclose(beyond[0], [[VIEW.zenith_deg[0, 2], VIEW.zenith_deg[4, 5]]])


def test_the_factors_of_a_place_are_those_of_its_angles() -> None:
    eastings, northings = np.array([[500_000.0, 512_345.0]]), np.array([[600_000.0, 583_210.0]])
    found = factors_at(GRIDS, ("red", "nir"), eastings, northings)
    for x, (row, column) in enumerate([(0.0, 0.0), (16_790 / 5000, 12_345 / 5000)]):
        at = np.array([[row]]), np.array([[column]])
        for b, (band, grid) in enumerate((("red", VIEW), ("nir", SUN))):
            (sun, azimuth), (view, towards) = ([each[0, 0] for each in angles_at(g, *at)] for g in (SUN, grid))
            assert found[b, 0, x] == pytest.approx(c_factor(band, Angles(90 - sun, azimuth, view, towards)), rel=1e-12)
    assert found[0, 0, 0] != found[0, 0, 1] != found[1, 0, 1]


def test_where_the_sun_is_down_there_is_no_factor() -> None:
    dark = replace(GRIDS, sun=Directions(np.full((5, 6), 91.0), SUN.azimuth_deg))
    assert np.isnan(factors_at(dark, ("red",), np.full((1, 2), 510_000.0), np.full((1, 2), 590_000.0))).all()


def test_numbers_are_multiplied_by_the_factor_between_the_nodes() -> None:
    factors = np.array([[[1.0, 1.2, nan], [1.4, 1.6, 1.0]]])
    numbers, lost = np.full((1, 1, 4), 3000, np.uint16), np.zeros((1, 4), np.bool_)
    numbers[0, 0, 2] = 0
    scale, offset = np.full(1, 1e-4), np.full(1, -0.1)
    multiply_between(numbers, factors, np.array([0.25]), np.array([0.0, 0.5, 0.75, 1.5]), scale, offset, lost)
    # rows: 0.75 and 0.25; 0.2 of reflectance times 1.1 and 1.2
    assert numbers[0, 0].tolist() == [3200, 3400, 0, 3000]
    assert lost.tolist() == [[False, False, False, True]]
    full = np.full((1, 1, 1), 65535, np.uint16)
    multiply_between(full, factors, np.zeros(1), np.zeros(1), scale, offset, np.zeros((1, 1), np.bool_))
    assert full[0, 0, 0] == 65535
