"""The plan of the GPU leaf: which bands are sent, in strips of how many rows."""

import numpy as np
import pytest

from products.errors import DeviceFull
from products.pixel.gpu_source import Kernel
from products.pixel.gpu_strips import (
    SLOTS,
    STRIP_BYTES,
    StripShape,
    blocks,
    device_bytes,
    pinned_bytes,
    strip_rows,
)
from products.pixel.gpu_temporal import band_order
from products.pixel.temporal import moved_operands


def test_only_the_bands_that_are_used_are_sent_the_geomedians_first() -> None:
    programs_of_two = np.array([[[0, 6], [0, 1], [3, 0], [-1, -1]], [[0, 4], [1, 9], [2, 0], [-1, -1]]], float)
    order = band_order(np.array([4, 2]), programs_of_two)

    np.testing.assert_array_equal(order, [4, 2, 1, 6])
    np.testing.assert_array_equal(moved_operands(programs_of_two, order)[..., 1], [[3, 2, 0, -1], [0, 9, 0, -1]])


def test_the_memory_of_a_strip_is_planned_to_the_byte() -> None:
    shape = StripShape(n_bands=6, n_scenes=20, n_features=18, width=2048, rows=2048)
    crossing = SLOTS * 2048 * 2048 * (20 * (2 * 6 + 1) + 4 * 18)
    assert device_bytes(shape) == crossing + 8 * 6 * 20
    scratch = StripShape(6, 20, 18, 2048, 2048, room_numbers=60, scene_numbers=5, step_numbers=7)
    assert device_bytes(scratch) == crossing + SLOTS * 2048 * 2048 * 8 * 60 + 8 * (6 * 20 + 5 * 20 + 7)
    assert pinned_bytes(scratch) == pinned_bytes(shape) == crossing


@pytest.mark.parametrize("memory_bytes", [2**24, 2**28, 2**36])
def test_strips_fit_the_memory_and_no_larger_ones_do(memory_bytes: int) -> None:
    shape = StripShape(6, 20, 18, 2048, 2048)
    rows = strip_rows(shape, memory_bytes)

    assert 1 <= rows <= shape.rows
    assert device_bytes(StripShape(6, 20, 18, 2048, rows)) <= memory_bytes
    one_more = StripShape(6, 20, 18, 2048, rows + 1)
    assert device_bytes(one_more) > memory_bytes or device_bytes(one_more) > SLOTS * STRIP_BYTES


def test_a_device_that_cannot_hold_a_row_is_refused() -> None:
    with pytest.raises(DeviceFull, match=r"one row of 2048 pixels, 20 observations and 6 bands needs 1,360,832 bytes"):
        strip_rows(StripShape(6, 20, 18, 2048, 2048), 1_000_000)


def test_a_row_of_more_integers_than_the_kernels_count_is_refused() -> None:
    with pytest.raises(
        DeviceFull,
        match=r"one row of 2097152 pixels, 256 observations and 8 bands has 4,294,967,296 integers, the kernels",
    ):
        strip_rows(StripShape(8, 256, 1, 2**21, 1), 2**50)
    assert strip_rows(StripShape(8, 256, 1, 2**21 - 1, 1), 2**50) == 1


def test_blocks_cover_the_pixels() -> None:
    assert [blocks(Kernel("k", 8), n) for n in (1, 16, 17)] == [1, 1, 2]
    assert blocks(Kernel("k", 1), 2**22) == 2**15
