"""Resampling of integers: exact area averages, masks never mixed, and any crop the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from products.window.resample import EDGE, HALF_UP, average, nearest, replicate


def pixels(seed: int = 0, side: int = 60) -> NDArray[np.uint16]:
    random = np.random.default_rng(seed)
    source = random.integers(1, 65535, (side, side)).astype(np.uint16)
    source[random.random(source.shape) < 0.1] = 0
    return source


def test_three_by_three_pixels_become_their_mean_rounded_half_up() -> None:
    source = pixels()
    out = np.empty((20, 20), np.uint16)
    average(source, 0, 65535, 0.0, 0.0, 3.0, out)
    blocks = source.reshape(20, 3, 20, 3).astype(float)
    valid = blocks > 0

    np.testing.assert_array_equal(out, np.floor(blocks.sum((1, 3)) / valid.sum((1, 3)) + 0.5))


def test_a_tie_is_rounded_up_whatever_the_coordinates_carry() -> None:
    source = np.array([[1, 2], [1, 2]], np.uint16)
    for noise in (-1e-9, 0.0, 1e-9):
        out = np.empty((1, 1), np.uint16)
        average(source, 0, 65535, noise, noise, 2.0, out)
        assert out[0, 0] == 2


def test_pixels_that_are_half_under_the_target_count_half() -> None:
    source = np.array([[100, 400]], np.uint16)
    out = np.empty((1, 1), np.uint16)
    average(source, 0, 65535, 0.0, 0.0, 1.5, out)

    assert out[0, 0] == 200


def test_missing_pixels_take_no_part_and_alone_they_stay_missing() -> None:
    source = np.array([[0, 10, 0, 0], [0, 0, 0, 0]], np.uint16)
    out = np.empty((1, 2), np.uint16)
    average(source, 0, 65535, 0.0, 0.0, 2.0, out)

    assert out.tolist() == [[10, 0]]


@pytest.mark.parametrize(("saturated", "value"), [(65535, 65535), (32767, 32767), (32767, 40_000)])
def test_a_mean_with_a_saturated_pixel_is_saturated_and_no_other(saturated: int, value: int) -> None:
    source = np.full((6, 12), 1200, np.uint16)
    source[1, 1], source[4, 3], source[0, 11] = value, saturated - 1, 0
    out = np.empty((2, 4), np.uint16)
    average(source, 0, saturated, 0.0, 0.0, 3.0, out)
    bright = round((8 * 1200 + saturated - 1) / 9)
    assert out.tolist() == [[saturated, 1200, 1200, 1200], [1200, bright, 1200, 1200]]


@pytest.mark.parametrize("nodata", [0, 65535])
def test_a_saturated_pixel_that_only_touches_a_target_pixel_or_is_nodata_has_no_part_in_it(nodata: int) -> None:
    source, out = np.full((1, 4), 1200, np.uint16), np.empty((1, 2), np.uint16)
    source[0, 2] = 65535
    average(source, nodata, 65535, 0.0, 1e-9, 2.0, out)
    assert out.tolist() == [[1200, 1200 if nodata else 65535]]


def test_the_largest_numbers_do_not_wrap() -> None:
    out = np.empty((2, 2), np.uint16)
    average(np.full((6, 6), 65535, np.uint16), 0, 65535, 0.0, 0.0, 3.0, out)

    assert (out == 65535).all()


def test_nearest_takes_the_pixel_under_the_centre_and_nothing_outside() -> None:
    source = np.arange(1, 17, dtype=np.uint8).reshape(4, 4)
    finer, outside = np.empty((8, 8), np.uint8), np.empty((2, 2), np.uint8)
    nearest(source, 0, 0.0, 0.0, 0.5, finer)
    nearest(source, 255, -1.0, 3.0, 1.0, outside)

    np.testing.assert_array_equal(finer, source.repeat(2, 0).repeat(2, 1))
    assert outside.tolist() == [[255, 255], [4, 255]]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([0.5, 1.5, 2.0, 3.0, 1.7, 0.33]),
    st.floats(-4, 4),
    st.integers(0, 12),
    st.integers(0, 12),
    st.booleans(),
)
def test_a_crop_gives_the_same_pixels(step: float, first: float, top: int, left: int, by_area: bool) -> None:
    source = pixels(3)
    whole, part = np.empty((20, 20), np.uint16), np.empty((6, 7), np.uint16)
    for row, column, out in ((first, first, whole), (first + top * step, first + left * step, part)):
        if by_area:
            average(source, 0, 60_000, row, column, step, out)
        else:
            nearest(source, 0, row, column, step, out)

    np.testing.assert_array_equal(part, whole[top : top + 6, left : left + 7])


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (-3, 5), (40, -2)])
def test_pixels_nested_in_source_pixels_are_what_average_and_nearest_give(factor: int, row: int, column: int) -> None:
    rng = np.random.default_rng(factor)
    source = rng.integers(0, 5, (12, 14)).astype("uint16")
    found, mean, near = (np.empty((19, 23), "uint16") for _ in range(3))
    replicate(source, 0, row, column, factor, found)
    average(source, 0, 65535, row / factor, column / factor, 1 / factor, mean)
    nearest(source, 0, row / factor, column / factor, 1 / factor, near)
    np.testing.assert_array_equal(found, mean)
    np.testing.assert_array_equal(found, near)


def test_a_mean_of_valid_pixels_is_never_nodata() -> None:
    source, out = np.array([[10000, 10002, 10001, 10001]], np.uint16), np.empty((1, 2), np.uint16)
    average(source, 10001, 65535, 0.0, 0.0, 2.0, out)
    np.testing.assert_array_equal(out, [[10002, 10001]])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([0.33, 0.5, 1.0, 1.5, 1.7, 2.0, 3.0, 7.3, 20.0]), st.floats(-30, 40), st.floats(-30, 40), st.integers(1, 40),
    st.integers(1, 40), st.sampled_from([0, 7, 65_535]), st.sampled_from([60_000, 65_535, 65_536]),
)  # fmt: skip
def test_an_average_is_of_what_lies_under_each_pixel_wherever_the_source_ends(
    step: float, row: float, column: float, height: int, width: int, nodata: int, saturated: int
) -> None:
    row, column = round(row, 2), round(column, 2)  # none a millionth of a pixel from an edge
    random = np.random.default_rng(height * 41 + width)
    source = random.integers(0, 60_000, (height, width)).astype(np.uint16)
    source[random.random(source.shape) < 0.1] = nodata
    source[random.random(source.shape) < 0.01] = min(saturated, 65_535)
    out = np.empty((9, 8), np.uint16)
    average(source, nodata, saturated, row, column, step, out)

    def shares(first: float, last: float, size: int) -> NDArray[np.float64]:
        at = np.arange(size)
        found = np.minimum(last, at + 1) - np.maximum(first, at)
        return np.where(found > EDGE, found, 0.0)

    for i, j in np.ndindex(*out.shape):
        tall = shares(row + i * step, row + (i + 1) * step, height)
        wide = shares(column + j * step, column + (j + 1) * step, width)
        counted = np.outer(tall, wide) * (source != nodata)
        if not counted.any():
            assert out[i, j] == nodata
        elif ((source >= saturated) & (counted > 0)).any():
            assert out[i, j] == saturated
        else:
            mean = (counted * source).sum() / counted.sum() + HALF_UP
            assert abs(mean - round(mean)) < 1e-6 or out[i, j] == int(mean) + (int(mean) == nodata)
