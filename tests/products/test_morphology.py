"""Masks grown, shrunk and opened by a disk, and distances to them: exact, and the same for any crop and array library."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from products.window import reference
from products.window.distance import distance_m, halo_px, known_distance_m, signed_distance_m
from products.window.morphology import dilate, erode, half_widths, opened, radius_px
from products.window.sliding import interior

Mask = NDArray[np.bool_]
masks = arrays(np.bool_, (14, 15), elements=st.sampled_from([True, False, False, False, False, False]))
crops = st.tuples(*(st.integers(0, 3) for _ in range(4)))


def mask(seed: int = 0, shape: tuple[int, int] = (30, 41), share: float = 0.05) -> Mask:
    return np.random.default_rng(seed).random(shape) < share


def footprint(radius: float) -> Mask:
    reach = int(radius)
    rows, columns = np.indices((2 * reach + 1, 2 * reach + 1)) - reach
    return np.hypot(rows, columns) <= radius


@pytest.mark.parametrize("radius", [0, 0.9, 1, 1.5, 2, 3.2, 5, 9])
def test_a_grown_mask_is_that_of_the_reference(radius: float) -> None:
    found = dilate(mask(), radius)
    np.testing.assert_array_equal(found, interior(reference.dilated(mask(), radius), int(radius)), strict=True)


@pytest.mark.parametrize(("radius", "pixels"), [(0, 1), (1, 5), (2, 13), (3, 29)])
def test_a_disk_has_the_pixels_of_a_circle(radius: int, pixels: int) -> None:
    assert 2 * half_widths(radius).sum() + len(half_widths(radius)) == pixels


@pytest.mark.parametrize("radius", [1, 2.5, 4])
def test_shrinking_and_opening_are_those_of_scipy(radius: float) -> None:
    thick, reach = mask(2, share=0.93), int(radius)
    shrunk = ndimage.binary_erosion(thick, footprint(radius))
    open_mask = ndimage.binary_dilation(shrunk, footprint(radius))

    np.testing.assert_array_equal(erode(thick, radius), interior(shrunk, reach))
    np.testing.assert_array_equal(opened(thick, radius), interior(open_mask, 2 * reach))


@settings(deadline=None, max_examples=60)
@given(masks, st.sampled_from([0.0, 1.0, 1.5, 2.0, 2.9]))
def test_opening_keeps_part_of_a_mask_and_opening_again_changes_nothing(pixels: Mask, radius: float) -> None:
    thick, reach = ~pixels, int(radius)
    once = opened(np.pad(thick, 4 * reach), radius)
    assert not (once & ~np.pad(thick, 2 * reach)).any()
    np.testing.assert_array_equal(opened(once, radius), interior(once, 2 * reach))


@pytest.mark.parametrize("grown", [False, True])
def test_a_mask_of_one_value_stays_it(grown: bool) -> None:
    same = np.full((12, 9), grown)
    assert (dilate(same, 3) == grown).all() and (erode(same, 3) == grown).all() and (opened(same, 2) == grown).all()


def test_the_largest_disk_fits_into_bytes() -> None:
    wide = np.zeros((509, 1100), bool)
    wide[254, 300] = True
    found = dilate(wide, 254)
    assert found.shape == (1, 592)
    assert np.flatnonzero(found[0]).tolist() == [x for x in range(592) if abs(x + 254 - 300) <= 254]


@settings(deadline=None, max_examples=60)
@given(masks, crops, st.sampled_from([1.0, 2.3]))
def test_any_crop_of_a_mask_gives_the_same(pixels: Mask, crop: tuple[int, ...], radius: float) -> None:
    top, bottom, left, right = crop
    part = np.s_[top : 14 - bottom, left : 15 - right]
    for kernel, halo in ((dilate, int(radius)), (opened, 2 * int(radius))):
        whole = kernel(pixels, radius)
        rows, columns = 14 - 2 * halo, 15 - 2 * halo
        expected = whole[top : rows - bottom, left : columns - right]
        if expected.size:
            np.testing.assert_array_equal(kernel(pixels[part], radius), expected, strict=True)


@settings(deadline=None, max_examples=60)
@given(masks, crops, st.sampled_from([10.0, 25.0, 39.0]))
def test_any_crop_of_a_mask_gives_the_same_distances(pixels: Mask, crop: tuple[int, ...], most_m: float) -> None:
    top, bottom, left, right = crop
    halo = halo_px(most_m, 10.0)
    whole = signed_distance_m(pixels, 10.0, most_m)
    expected = whole[top : 14 - 2 * halo - bottom, left : 15 - 2 * halo - right]
    if expected.size:
        part = signed_distance_m(pixels[top : 14 - bottom, left : 15 - right], 10.0, most_m)
        np.testing.assert_array_equal(part, expected, strict=True)


@pytest.mark.parametrize("most_m", [15.0, 75.0, 300.0])
def test_distances_are_those_of_the_reference(most_m: float) -> None:
    sparse = mask(3, (50, 46), share=0.01)
    expected = np.minimum(np.sqrt(reference.squared_distance(sparse)) * 15.0, most_m)
    np.testing.assert_allclose(distance_m(sparse, 15.0, most_m), interior(expected, halo_px(most_m, 15.0)), rtol=1e-6)


def test_far_from_any_mask_is_the_largest_distance() -> None:
    nothing = np.zeros((9, 9), bool)
    assert (distance_m(nothing, 10.0, 25.0) == 25).all()
    assert (signed_distance_m(nothing, 10.0, 25.0) == 25).all()
    assert (signed_distance_m(~nothing, 10.0, 25.0) == -25).all()
    assert (distance_m(~nothing, 10.0, 25.0) == 0).all()


def test_the_shore_lies_between_a_pixel_and_minus_a_pixel() -> None:
    sea = np.zeros((7, 20), bool)
    sea[:, :10] = True
    assert signed_distance_m(sea, 30.0, 90.0)[0].tolist() == [-90.0] * 5 + [-60, -30, 30, 60] + [90.0] * 5


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_another_array_library_gives_the_same(share: float) -> None:
    pixels = mask(4, (17, 19), share)
    other = array_api_strict.asarray(pixels)
    for kernel in (dilate, erode, opened):
        np.testing.assert_array_equal(np.asarray(kernel(other, 2.9)), kernel(pixels, 2.9), strict=True)
    found = np.asarray(signed_distance_m(other, 30.0, 130.0))
    np.testing.assert_array_equal(found, signed_distance_m(pixels, 30.0, 130.0), strict=True)


def test_a_radius_in_metres_is_one_in_pixels() -> None:
    assert radius_px(60.0, 20.0) == 3
    assert radius_px(0.3, 0.1) == 3  # 2.9999999999999996 in floating point
    assert halo_px(0.3, 0.1) == 3
    assert (halo_px(89.0, 30.0), halo_px(90.0, 30.0)) == (2, 3)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a radius of 0 to 254 pixels, got 255"):
        dilate(mask(), 255)
    with pytest.raises(ValueError, match="expected a radius of 0 to 254 pixels, got -1"):
        half_widths(-1)
    with pytest.raises(ValueError, match=r"wider than two halos of 4 pixels, got the shape \(8, 9\)"):
        dilate(mask(0, (8, 9)), 4)
    with pytest.raises(
        ValueError, match="expected a radius of 0 m or more on a positive resolution, got -30 m on 10 m"
    ):
        radius_px(-30, 10)
    with pytest.raises(ValueError, match="expected a positive distance and resolution, got 0 m and 10 m"):
        distance_m(mask(), 10, 0)
    with pytest.raises(ValueError, match="wider than two halos of 3 pixels"):
        distance_m(mask(0, (6, 9)), 10, 30)


@pytest.mark.parametrize("is_signed", [False, True])
@settings(deadline=None, max_examples=60)
@given(masks, masks, st.sampled_from([10.0, 25.0, 39.0]))
def test_a_distance_is_known_where_no_uncovered_pixel_may_be_nearer_to_what_is_found(
    is_signed: bool, pixels: Mask, beyond: Mask, most_m: float
) -> None:
    covered = ~beyond
    found = known_distance_m(pixels, covered, 10.0, most_m, is_signed)
    measure = signed_distance_m if is_signed else distance_m
    lowest, highest = measure(pixels & covered, 10.0, most_m), measure(pixels | ~covered, 10.0, most_m)
    is_known = ~np.isnan(found)

    np.testing.assert_array_equal(found[is_known], lowest[is_known], strict=True)
    np.testing.assert_array_equal(found[is_known], highest[is_known], strict=True)
    assert not is_known[~interior(covered, halo_px(most_m, 10.0))].any()
    if not is_signed:
        np.testing.assert_array_equal(is_known, (lowest == highest) & interior(covered, halo_px(most_m, 10.0)))
