"""Warping along a lattice against a plain account of what lies under each pixel, pixel by pixel in float64."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from products.window.lattice_warp import NODE_PX, Lattice, warp_average, warp_cubic
from products.window.resample import EDGE

Places = tuple[NDArray[np.float64], NDArray[np.float64]]
SIDE = 24
EVERY = np.ones((1, 1), np.bool_)


def source_pixels(seed: int, shape: tuple[int, int], dtype: str, nodata: int, saturated: int) -> NDArray[np.uint16]:
    """Any numbers, with missing and saturated pixels, alone and side by side."""
    random = np.random.default_rng(seed)
    largest = np.iinfo(dtype).max
    values = random.integers(0, min(saturated, largest), shape)
    values[random.random(shape) < 0.05] = min(nodata, largest)
    values[: shape[0] // 4, : shape[1] // 5] = min(nodata, largest)
    values[random.random(shape) < 0.01] = min(saturated, largest)
    return values.astype(dtype)


def lattice(step: float, turn: float, row: float, column: float) -> Lattice:
    """Of a target whose first corner lies at a row and column of the source, turned by so many radians."""
    y, x = np.mgrid[-1 : SIDE // NODE_PX + 4, -1 : SIDE // NODE_PX + 4] * float(NODE_PX)
    columns = column + step * (np.cos(turn) * x - np.sin(turn) * y)
    return Lattice(columns, row + step * (np.sin(turn) * x + np.cos(turn) * y), 1.0, 1.0)


def places(step: float, turn: float, row: float, column: float, shift: float) -> Places:
    """Rows and columns in the source of corners (shift 0) or centres (0.5) of the pixels of the same target."""
    y, x = np.mgrid[0 : SIDE + 1, 0 : SIDE + 1] + shift
    rows = row + step * (np.sin(turn) * x + np.cos(turn) * y)
    return rows, column + step * (np.cos(turn) * x - np.sin(turn) * y)


def shares(first: float, last: float, size: int) -> NDArray[np.float64]:
    pixels = np.arange(size)
    found = np.minimum(last, pixels + 1) - np.maximum(first, pixels)
    return np.where(found > EDGE, found, 0.0)


def agrees(out: NDArray[np.uint16], wanted: NDArray[np.float64], nodata: int, saturated: int, largest: int) -> bool:
    """Whether integers are what values ask for: NaN for nodata, infinity for saturated, and a valid one moved off nodata."""
    is_moved = np.isfinite(wanted) & (np.abs(wanted.clip(0, largest) - nodata) <= 0.5 + 1e-6)
    near = np.abs(out - wanted.clip(0, largest)) <= np.where(is_moved, 1.5, 0.5) + 1e-6
    fits = np.where(np.isnan(wanted), out == nodata, np.where(np.isinf(wanted), out == saturated, near))
    return bool(fits.all()) and not (out[np.isfinite(wanted)] == nodata).any()


def averages(source: NDArray[np.uint16], nodata: int, saturated: int, corners: Places) -> NDArray[np.float64]:
    rows, columns = corners
    out = np.full((SIDE, SIDE), np.nan)
    for i, j in np.ndindex(SIDE, SIDE):
        tall = shares(*sorted((rows[i, j], rows[i + 1, j + 1])), source.shape[0])
        wide = shares(*sorted((columns[i, j], columns[i + 1, j + 1])), source.shape[1])
        counted = np.outer(tall, wide) * (source != nodata)
        if ((source >= saturated) & (counted > 0)).any():
            out[i, j] = np.inf
        elif counted.any():
            out[i, j] = (counted * source).sum() / counted.sum()
    return out


def keys(away: float) -> float:
    away = abs(away)
    if away >= 2:
        return 0.0
    return 1.5 * away**3 - 2.5 * away**2 + 1 if away < 1 else -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2


def linear(away: float) -> float:
    return max(1 - abs(away), 0.0)


def cubics(source: NDArray[np.uint16], nodata: int, saturated: int, centres: Places) -> NDArray[np.float64]:
    (height, width), out = source.shape, np.full((SIDE, SIDE), np.nan)
    for i, j in np.ndindex(SIDE, SIDE):
        row, column = centres[0][i, j], centres[1][i, j]
        if not (0 <= row < height and 0 <= column < width) or source[int(row), int(column)] == nodata:
            continue
        first_row, first_column = int(np.floor(row - 0.5 + EDGE)), int(np.floor(column - 0.5 + EDGE))
        valid = {
            (m, n): 0 <= m < height and 0 <= n < width and source[m, n] != nodata
            for m in range(first_row - 1, first_row + 3) for n in range(first_column - 1, first_column + 3)
        }  # fmt: skip
        if all(valid.values()):
            weights = {(m, n): keys(row - m - 0.5) * keys(column - n - 0.5) for m, n in valid}
        else:
            weights = {(m, n): linear(row - m - 0.5) * linear(column - n - 0.5) for m, n in valid if valid[m, n]}
        if any(source[place] >= saturated and abs(weight) > EDGE for place, weight in weights.items()):
            out[i, j] = np.inf
        else:
            out[i, j] = sum(weight * float(source[place]) for place, weight in weights.items()) / sum(weights.values())
    return out


Target = tuple[int, int, int, str, int, int, float, float, float]
PLACES = st.integers(-3000, 6000).map(lambda number: number / 100)  # none a millionth of a pixel from an edge
TARGETS = st.tuples(
    st.integers(0, 10_000), st.integers(1, 80), st.integers(1, 80), st.sampled_from(["uint8", "uint16"]),
    st.sampled_from([0, 7, 255]), st.sampled_from([200, 255, 65_536]), st.integers(-150, 150).map(lambda number: number / 1000),
    PLACES, PLACES,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(TARGETS, st.sampled_from([0.4, 1.0, 1.5, 2.1, 3.0, 3.7, 5.3, 9.0]))
def test_an_average_is_of_what_lies_under_each_pixel_wherever_the_source_ends(target: Target, step: float) -> None:
    seed, height, width, dtype, nodata, saturated, turn, row, column = target
    source = source_pixels(seed, (height, width), dtype, nodata, saturated)
    out = np.empty((SIDE, SIDE), np.uint16)
    warp_average(source, nodata, saturated, lattice(step, turn, row, column), np.iinfo(dtype).max, EVERY, out)
    wanted = averages(source, nodata, saturated, places(step, turn, row, column, 0.0))
    assert agrees(out, wanted, nodata, saturated, np.iinfo(dtype).max)


@settings(max_examples=60, deadline=None)
@given(TARGETS)
def test_a_cubic_is_of_the_sixteen_pixels_around_each_centre_wherever_the_source_ends(target: Target) -> None:
    seed, height, width, dtype, nodata, saturated, turn, row, column = target
    source = source_pixels(seed, (height, width), dtype, nodata, saturated)
    out = np.empty((SIDE, SIDE), np.uint16)
    warp_cubic(source, nodata, saturated, lattice(1.0, turn, row, column), np.iinfo(dtype).max, EVERY, out)
    wanted = cubics(source, nodata, saturated, places(1.0, turn, row, column, 0.5))
    assert agrees(out, wanted, nodata, saturated, np.iinfo(dtype).max)


@pytest.mark.parametrize("noise", [-2e-9, 0.0, 2e-9])
def test_an_edge_that_is_only_just_passed_has_no_part_in_an_average(noise: float) -> None:
    source = np.full((60, 60), 1000, np.uint16)
    source[:, 2 + 2 * SIDE] = 65_535  # the next behind the last pixel of the target
    out = np.empty((SIDE, SIDE), np.uint16)
    warp_average(source, 0, 65_535, lattice(2.0, 0.0, 2.0 + noise, 2.0 + noise), 65_535, EVERY, out)
    assert set(np.unique(out)) == {1000}


@pytest.mark.parametrize("noise", [-9e-7, -4e-7, 0.0, 4e-7, 9e-7])
def test_what_a_box_only_touches_has_no_part_in_its_area(noise: float) -> None:
    source = np.broadcast_to(np.where(np.arange(60) % 2, 60_001, 60_000).astype(np.uint16), (60, 60)).copy()
    out = np.empty((SIDE, SIDE), np.uint16)
    warp_average(source, 0, 65_535, lattice(1.0, 0.0, 2.0 + noise, 2.52), 65_535, EVERY, out)
    np.testing.assert_array_equal(out, np.broadcast_to(60_001 - np.arange(SIDE) % 2, (SIDE, SIDE)))


FENCED = """
import ctypes, mmap
import numpy as np
from tests.products.test_lattice_warp import EVERY, lattice
from products.window.lattice_warp import warp_average, warp_cubic
from products.window.resample import average

def fenced(height, width, at_end):
    size, page = height * width * 2, mmap.PAGESIZE
    pages = -(-size // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for fence in (base, base + (pages + 1) * page):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(fence), page, 0) == 0
    pixels = np.frombuffer(memory, np.uint16, height * width, page + (pages * page - size if at_end else 0))
    pixels = pixels.reshape(height, width)
    pixels[:] = 1000
    return pixels, memory

random, out = np.random.default_rng(0), np.empty((24, 24), np.uint16)
for height, width in ((1, 1), (3, 7), (8, 4), (9, 9), (40, 33)):
    for at_end in (False, True):
        source, memory = fenced(height, width, at_end)
        for step in (0.4, 1.0, 1.5, 3.0, 9.0):
            for row, column in random.uniform(-30, 30, (40, 2)):
                row, column = (round(row), round(column)) if row > 20 else (row, column)
                average(source, 0, 65535, row, column, step, out)
                for warp in (warp_average, warp_cubic):
                    warp(source, 0, 65535, lattice(step, random.uniform(-0.1, 0.1), row, column), 65535, EVERY, out)
print("whole")
"""


def test_nothing_beside_the_source_is_read() -> None:
    done = subprocess.run([sys.executable, "-c", FENCED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr
