"""A stratified sample: its size, its allocation, and that place and seed alone decide it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from products.errors import RequestError
from products.learning.ground_area import areal_scale, ground_m2
from products.learning.stratified_design import allocate, candidates, joined, sample_size

WEIGHT = np.array([0.02, 0.015, 0.32, 0.645])


def test_the_sample_size_is_that_of_equation_13() -> None:
    assert sample_size(np.array([0.3, 0.7]), 0.9, 0.01, 10**9) == 900
    assert sample_size(np.array([0.3, 0.7]), 0.9, 0.01, 1000) == 474  # 0.09 / (0.0001 + 0.09 / 1000)


def test_rare_strata_get_the_least_and_the_others_shares_of_the_rest() -> None:
    pixels = np.array([200_000, 150_000, 3_200_000, 6_450_000])
    assert allocate(pixels, 640, 75, "abcd").tolist() == [75, 75, 162, 328]


def test_a_stratum_of_fewer_pixels_than_the_least_is_drawn_whole() -> None:
    assert allocate(np.array([3, 1, 5000]), 100, 50, "abc").tolist() == [3, 1, 96]


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=12), st.integers(2, 60), st.integers(0, 2000))
def test_an_allocation_sums_up_and_stays_between_least_and_all(pixels: list[int], least: int, more: int) -> None:
    counted = np.array(pixels)
    n = min(int(np.minimum(counted, least).sum()) + more, int(counted.sum()))
    found = allocate(counted, n, least, ["s"] * counted.size)
    assert found.sum() == n
    assert (found >= np.minimum(counted, least)).all()
    assert (found <= counted).all()


def test_a_sample_too_small_for_its_strata_or_larger_than_the_map_is_refused() -> None:
    with pytest.raises(
        RequestError, match=r"expected between 100 points, 50 \(or all pixels\) in each of the strata a, b"
    ):
        allocate(np.array([200, 300]), 99, 50, "ab")
    with pytest.raises(RequestError, match="and 500, all pixels, got 501"):
        allocate(np.array([200, 300]), 501, 50, "ab")


def landscape() -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """A grid of 100 x 100 pixels of 30 m in three strata."""
    x, y = (axis.ravel() for axis in np.meshgrid(15 + 30.0 * np.arange(100), 15 + 30.0 * np.arange(100)))
    return np.digitize(x, (300, 1500)) + 1, x, y


COUNTS = np.array([20, 30, 50])


def test_the_cut_and_order_of_the_pieces_do_not_change_the_sample() -> None:
    stratum, x, y = landscape()
    whole = joined([candidates(stratum, x, y, COUNTS, 5)], COUNTS)
    shuffled = np.random.default_rng(1).permutation(stratum.size)
    pieces = [candidates(stratum[rows], x[rows], y[rows], COUNTS, 5) for rows in np.array_split(shuffled, 7)]
    again = joined(pieces, COUNTS)
    assert np.bincount(whole.stratum).tolist() == [0, *COUNTS]
    assert all((getattr(whole, name) == getattr(again, name)).all() for name in ("stratum", "x", "y"))


def test_another_seed_draws_other_pixels_and_strata_are_mixed() -> None:
    stratum, x, y = landscape()
    one, two = (joined([candidates(stratum, x, y, COUNTS, seed)], COUNTS) for seed in (1, 2))
    assert len({*zip(one.x, one.y, strict=True)} & {*zip(two.x, two.y, strict=True)}) < 20
    assert (np.diff(one.stratum) != 0).sum() > 30


def test_every_pixel_of_a_stratum_is_drawn_equally_often() -> None:
    stratum, x, y = landscape()
    small = stratum == 1
    drawn = np.zeros(small.sum())
    for seed in range(300):
        found = joined([candidates(stratum[small], x[small], y[small], COUNTS[:1], seed)], COUNTS[:1])
        drawn += np.isin(x[small] * 1e6 + y[small], found.x * 1e6 + found.y)
    expected = 300 * 20 / small.sum()
    assert ((drawn - expected) ** 2 / expected).sum() == pytest.approx(small.sum(), rel=0.15)  # chi-squared


def test_the_ground_of_a_pixel_is_that_of_the_ellipsoid() -> None:
    from pyproj import Geod, Transformer

    for crs, x0, y0, to in (
        ("EPSG:32647", 250_000.0, 550_000.0, 2e-5),
        ("EPSG:3035", 4_300_000.0, 3_200_000.0, 2e-5),
        ("EPSG:3857", 11_200_000.0, 5_500_000.0, 3e-4),  # PROJ takes a sphere for it
    ):
        x, y = x0 + 30.0 * np.arange(200), y0 - 30.0 * np.arange(300)
        left, right, top, bottom = x[0] - 15, x[-1] + 15, y[0] + 15, y[-1] - 15
        ring = np.linspace(0, 1, 50)
        edge_x = np.concatenate(
            [left + ring * (right - left), np.full(50, right), right - ring * (right - left), np.full(50, left)]
        )
        edge_y = np.concatenate(
            [np.full(50, top), top + ring * (bottom - top), np.full(50, bottom), bottom - ring * (bottom - top)]
        )
        longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(edge_x, edge_y)
        area = abs(Geod(ellps="WGS84").polygon_area_perimeter(longitude, latitude)[0])
        assert ground_m2(crs, x, y, 30.0).sum() == pytest.approx(area, rel=to)


def test_equal_area_has_scale_one_and_degrees_are_refused() -> None:
    assert areal_scale("EPSG:3035", np.array([4e6, 5e6]), np.array([3e6, 2e6])) == pytest.approx(1.0)
    with pytest.raises(RequestError, match="expected a map in a projected CRS with metres, got EPSG:4326"):
        areal_scale("EPSG:4326", np.zeros(1), np.zeros(1))
