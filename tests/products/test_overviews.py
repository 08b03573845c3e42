"""Overviews of a tile: each pixel is made of all pixels below it, and of nothing else."""

import numpy as np
import pytest
from numpy.typing import NDArray

from products.window.overviews import FACTOR, level_sides, overviews

SIDE = 256


def floats(seed: int = 0, layers: int = 3) -> NDArray[np.float32]:
    """A surface with single holes, and a corner that is all hole."""
    random = np.random.default_rng(seed)
    stack = random.normal(0.2, 0.5, (layers, SIDE, SIDE)).astype(np.float32)
    stack[random.random(stack.shape) < 0.4] = np.nan
    stack[:, :70, :90] = np.nan
    return stack


def below(stack: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    """(layer, y, x, pixel): the pixels of the tile below each pixel of a level."""
    step = stack.shape[-1] // side
    return stack.reshape(-1, side, step, side, step).swapaxes(2, 3).reshape(-1, side, side, step**2)


@pytest.mark.parametrize(
    ("tile_px", "sides"),
    [(2048, (512, 128, 32)), (1024, (256, 64, 16)), (256, (64, 16)), (96, (24,)), (300, (75,)), (32, ()), (250, ())],
)
def test_a_level_has_a_quarter_of_the_side_as_long_as_that_is_whole_and_at_least_16(
    tile_px: int, sides: tuple[int, ...]
) -> None:
    assert level_sides(tile_px) == sides


def test_features_are_the_mean_of_all_valid_pixels_below_at_every_level() -> None:
    stack = floats()
    levels = overviews(stack, "mean", float("nan"))
    assert [level.shape for level in levels] == [(3, 64, 64), (3, 16, 16)]
    for level in levels:
        pixels = below(stack, level.shape[-1]).astype(np.float64)
        number = np.isfinite(pixels).sum(-1)
        expected = np.where(number > 0, np.nansum(pixels, -1) / np.maximum(number, 1), np.nan)
        assert level.dtype == np.float32
        np.testing.assert_allclose(level, expected, rtol=2**-23)
        assert np.isnan(level).any() and np.isfinite(level).any()


def test_a_mean_is_not_the_mean_of_the_means_of_unequal_parts() -> None:
    stack = np.full((1, SIDE, SIDE), np.nan, np.float32)
    stack[0, :4, :4] = 1
    stack[0, 4, 4] = 18
    first, second = overviews(stack, "mean", float("nan"))
    assert (first[0, 0, 0], first[0, 1, 1], second[0, 0, 0]) == (1, 18, 2)


def test_a_missing_value_that_is_a_number_is_left_out_and_whole_numbers_are_rounded_half_up() -> None:
    stack = np.full((1, 64, 64), 255, np.uint8)
    stack[0, :4, :4] = np.arange(16).reshape(4, 4)
    stack[0, :4, 4:6] = 3
    (level,) = overviews(stack, "mean", 255)
    assert level.dtype == np.uint8
    assert level[0, 0, :3].tolist() == [8, 3, 255]


def test_counts_that_add_up_in_the_tile_add_up_in_every_level_and_none_is_missing() -> None:
    random = np.random.default_rng(1)
    used, masked = random.integers(0, 300, (2, 2, SIDE, SIDE))
    stack = np.concatenate([used + masked, used, masked]).astype(np.uint16)
    for level in overviews(stack, "mean_count", 0):
        expected, used_here, masked_here = level.reshape(3, 2, *level.shape[1:])
        np.testing.assert_array_equal(expected, used_here + masked_here)
        step = SIDE // level.shape[-1]
        np.testing.assert_array_equal(level * step**2, below(stack, level.shape[-1]).astype(np.int64).sum(-1))
        assert level.dtype == np.float32


def test_classes_are_the_commonest_that_is_not_missing_and_the_smallest_of_several() -> None:
    random = np.random.default_rng(2)
    stack = random.integers(0, 6, (1, SIDE, SIDE)).astype(np.uint8)
    stack[:, :40, :40] = 0
    for level in overviews(stack, "mode", 0):
        pixels = below(stack, level.shape[-1])
        numbers = np.stack([(pixels == value).sum(-1) for value in range(1, 6)], -1)
        np.testing.assert_array_equal(level, np.where(numbers.any(-1), numbers.argmax(-1) + 1, 0))
        assert (level == 0).any()


@pytest.mark.parametrize("method", ["mean", "mean_count", "mode"])
def test_an_overview_of_a_part_is_the_part_of_the_overview_and_threads_change_nothing(method: str) -> None:
    whole = np.random.default_rng(3).integers(0, 9, (2, SIDE, SIDE)).astype(np.uint8)
    levels, part = overviews(whole, method, 0, threads=3), overviews(whole[:, 64:128, 128:192].copy(), method, 0)
    np.testing.assert_array_equal(part[0], levels[0][:, 16:32, 32:48])
    for one, other in zip(overviews(whole, method, 0), levels, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_tile_that_cannot_be_quartered_has_no_overviews() -> None:
    assert overviews(np.zeros((1, 90, 90), np.float32), "mean", float("nan")) == []
    assert FACTOR == 4


def test_a_mode_of_other_than_uint8_is_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8 for overviews by mode, got uint16"):
        overviews(np.zeros((1, 64, 64), np.uint16), "mode", 0)
