"""Terrain: planes and cones by hand, gdaldem's numbers, the papers' formulas; missing neighbours as stated."""

import math
import tracemalloc

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from products.window import reference
from products.window.sliding import STRIP_ROWS
from products.window.terrain import MEASURES, halo_px, terrain

Doubles = NDArray[np.float64]
nan = math.nan

# Whole metres, so that gdaldem's float32 sums are exact; made by GDAL 3.6.2: gdaldem slope | aspect | roughness | TRI -alg Riley, 30 m pixels
HILL = [
    [10, 12, 15, 15, 15, 9],
    [11, 14, 18, 15, 15, 7],
    [13, 17, 24, 15, 15, 6],
    [12, 20, 31, 29, 22, nan],
    [11, 19, 28, 33, 30, 21],
]
GDALDEM = {
    "slope": [[8.81123, 5.52021, 4.16874, 7.39396], [12.8142, 10.9398, 13.2707, nan], [15.4366, 9.70293, 14.1295, nan]],
    "aspect": [[306.254, 352.569, 59.0362, 95.5275], [298.443, 352.569, 32.0054, nan], [275.194, 313.025, 24.444, nan]],
    "roughness": [[14.0, 12.0, 9.0, 9.0], [20.0, 17.0, 16.0, nan], [20.0, 18.0, 18.0, nan]],
    "ruggedness": [[12.49, 11.1803, 9.48683, 13.4536], [18.4662, 20.9045, 24.3105, nan], [20.1246, 27.9821, 22.0907, nan]],
}  # fmt: skip


def hills(seed: int = 0, shape: tuple[int, int] = (13, 17), missing: float = 0.05) -> Doubles:
    random = np.random.default_rng(seed)
    elevation = random.normal(0, 8, shape) + np.linspace(0, 90, shape[1]) ** 1.1
    elevation[random.random(shape) < missing] = np.nan
    return elevation


def plane(east: float, north: float, shape: tuple[int, int] = (6, 7), resolution_m: float = 30.0) -> Doubles:
    rows, columns = np.indices(shape)
    return 100 + resolution_m * (east * columns - north * rows)


@pytest.mark.parametrize("measure", list(GDALDEM))
def test_a_hill_has_the_numbers_of_gdaldem(measure: str) -> None:
    found = terrain(np.array(HILL, np.float32), [measure], 30.0)[measure]
    np.testing.assert_allclose(found, GDALDEM[measure], rtol=1e-5)


def test_every_measure_is_that_of_the_reference() -> None:
    elevation = hills()
    found = terrain(elevation, MEASURES, 20.0)
    for y, x in np.ndindex(11, 15):
        expected = reference.terrain(elevation[y : y + 3, x : x + 3], 20.0)
        assert set(expected) == set(MEASURES)
        for measure, value in expected.items():
            np.testing.assert_allclose(found[measure][y, x], value, rtol=1e-6, atol=1e-5, err_msg=measure)


@pytest.mark.parametrize(
    ("east", "north", "aspect"),
    [(0, -1, 0), (-1, -1, 45), (-1, 0, 90), (-1, 1, 135), (0, 1, 180), (1, 1, 225), (1, 0, 270), (1, -1, 315)],
)
def test_a_plane_faces_where_it_falls(east: int, north: int, aspect: float) -> None:
    found = terrain(plane(east * 0.2, north * 0.2), ["slope", "aspect", "eastness", "northness"], 30.0)
    slope = math.atan(0.2 * math.hypot(east, north))

    np.testing.assert_allclose(found["slope"], math.degrees(slope), rtol=1e-6)
    np.testing.assert_allclose(found["aspect"], aspect, atol=1e-4)
    np.testing.assert_allclose(found["eastness"], math.sin(slope) * math.sin(math.radians(aspect)), atol=1e-7)
    np.testing.assert_allclose(found["northness"], math.sin(slope) * math.cos(math.radians(aspect)), atol=1e-7)


def test_a_cone_is_as_steep_on_every_side() -> None:
    rows, columns = np.indices((81, 81)) - 40
    found = terrain(-0.5 * 10.0 * np.hypot(rows, columns), ["slope", "aspect"], 10.0)
    away = np.hypot(rows, columns)[1:-1, 1:-1] > 20
    bearing = np.degrees(np.arctan2(columns, -rows))[1:-1, 1:-1] % 360
    turned = (found["aspect"] - bearing + 180) % 360 - 180

    np.testing.assert_allclose(found["slope"][away], math.degrees(math.atan(0.5)), atol=0.05)
    np.testing.assert_allclose(turned[away], 0, atol=0.1)


def test_level_ground_faces_nowhere() -> None:
    found = terrain(np.full((4, 5), 7.5), MEASURES, 30.0)
    assert np.isnan(found.pop("aspect")).all()
    np.testing.assert_allclose(found.pop("hillshade"), math.sin(math.radians(45)), rtol=1e-6)
    assert all((value == 0).all() for value in found.values())


def test_a_slope_away_from_the_light_is_in_its_own_shadow() -> None:
    steep = 3.0 / math.sqrt(2)
    lit = terrain(plane(steep, -steep), ["hillshade"], 30.0)["hillshade"]  # faces south-west
    shaded = terrain(plane(-steep, steep), ["hillshade"], 30.0)["hillshade"]  # faces south-east
    bright = terrain(plane(1 / math.sqrt(2), -1 / math.sqrt(2)), ["hillshade"], 30.0)[
        "hillshade"
    ]  # 45 degrees, to the light

    assert (shaded == 0).all() and ((lit > 0) & (lit < 1)).all()
    np.testing.assert_allclose(bright, 1, rtol=1e-6)


def test_a_missing_neighbour_makes_all_but_the_position_missing() -> None:
    elevation = hills(1, (7, 7), missing=0)
    elevation[3, 3] = np.nan
    found = terrain(elevation, MEASURES, 30.0)
    for measure, value in found.items():
        expected = np.zeros((5, 5), bool)
        expected[(2, 2) if measure == "position" else (slice(1, 4), slice(1, 4))] = True
        np.testing.assert_array_equal(np.isnan(value), expected, err_msg=measure)


def test_a_pixel_alone_has_no_position_and_nothing_has_one_among_missing_ones() -> None:
    elevation = np.full((5, 5), np.nan)
    elevation[2, 2] = 3.0
    assert np.isnan(terrain(elevation, ["position"], 30.0, 5)["position"]).all()
    elevation[0, 4] = 1.0
    assert terrain(elevation, ["position"], 30.0, 5)["position"].tolist() == [[2.0]]
    assert np.isnan(terrain(np.full((5, 5), np.nan), MEASURES, 30.0)["position"]).all()


def test_measures_of_different_reach_share_the_widest_halo() -> None:
    elevation = hills(2)
    both = terrain(elevation, ["position", "slope", "ruggedness"], 30.0, 7)
    assert both["position"].shape == both["slope"].shape == (7, 11)
    for measure in ("slope", "ruggedness"):
        np.testing.assert_array_equal(both[measure], terrain(elevation[2:-2, 2:-2], [measure], 30.0)[measure])


@settings(deadline=None, max_examples=40)
@given(
    arrays(np.float32, (12, 13), elements=st.floats(-50, 3000, width=32) | st.just(np.float32(np.nan))),
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
)
def test_any_crop_gives_the_same_bits(elevation: NDArray[np.float32], crop: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = crop
    whole = terrain(elevation, MEASURES, 30.0, 5)
    part = terrain(elevation[top : 12 - bottom, left : 13 - right], MEASURES, 30.0, 5)
    for measure, value in whole.items():
        rows, columns = value.shape
        np.testing.assert_array_equal(part[measure], value[top : rows - bottom, left : columns - right], strict=True)


def test_what_is_computed_in_strips_of_rows_has_the_same_bits() -> None:
    elevation = hills(5, (2 * STRIP_ROWS + 27, 19))
    found = terrain(elevation, MEASURES, 30.0, 7)
    for first in range(0, elevation.shape[0] - 6, 20):
        part = terrain(elevation[first : first + 26], MEASURES, 30.0, 7)
        for measure, value in part.items():
            expected = found[measure][first : first + 20]
            np.testing.assert_array_equal(value, expected, err_msg=measure, strict=True)


def test_little_memory_is_held_beside_the_layers_that_are_made() -> None:
    elevation = hills(6, (1024, 512)).astype(np.float32)
    tracemalloc.start()
    try:
        found = terrain(elevation, MEASURES, 30.0, 11)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - sum(layer.nbytes for layer in found.values()) < 16 * elevation.size


def test_turned_ground_has_turned_terrain() -> None:
    straight = terrain(hills(3), MEASURES, 30.0)
    turned = terrain(np.rot90(hills(3)), MEASURES, 30.0)  # what faced north faces west
    back = {measure: np.rot90(value, -1) for measure, value in turned.items()}
    for measure in ("slope", "roughness", "ruggedness", "position"):
        np.testing.assert_allclose(back[measure], straight[measure], rtol=1e-6, atol=1e-5, err_msg=measure)
    np.testing.assert_allclose((back["aspect"] + 90) % 360, straight["aspect"], atol=1e-4)
    np.testing.assert_allclose(back["northness"], straight["eastness"], atol=1e-7)
    np.testing.assert_allclose(back["eastness"], -straight["northness"], atol=1e-7)


def test_another_array_library_gives_the_same_numbers() -> None:
    elevation = hills(4).astype(np.float32)
    other = terrain(array_api_strict.asarray(elevation), MEASURES, 30.0, 5)
    for measure, expected in terrain(elevation, MEASURES, 30.0, 5).items():
        assert other[measure].dtype == array_api_strict.float32
        np.testing.assert_allclose(np.asarray(other[measure]), expected, rtol=1e-6, err_msg=measure)


def test_the_halo_of_the_position_is_half_its_window() -> None:
    assert [halo_px("slope"), halo_px("slope", 9), halo_px("position"), halo_px("position", 9)] == [1, 1, 1, 4]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"measures": ["slop"]}, "unknown terrain measure 'slop': expected one of slope, aspect"),
        ({"measures": []}, r"a positive resolution and at least one measure, got 30.0 m and \[\]"),
        ({"resolution_m": 0.0}, "expected a positive resolution"),
        ({"position_window_px": 4}, "expected an odd window of 3 pixels or more, got 4"),
        ({"elevation_m": np.zeros((2, 9))}, r"wider than two halos of 1 pixels, got the shape \(2, 9\)"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object], said: str) -> None:
    asked = {"elevation_m": hills(), "measures": ["slope"], "resolution_m": 30.0}
    with pytest.raises(ValueError, match=said):
        terrain(**{**asked, **wrong})
