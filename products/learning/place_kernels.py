"""What is done to each of many labelled places, compiled: the pixel that it lies in, its order of reading, its number to draw by."""

import math
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

_NEAR_BITS: Final = 11  # values of 2 ** so many neighbours stay in the first cache while they are gathered

Integers = NDArray[np.int64]


@numba.njit(nogil=True, cache=True)
def pixels_at(places: NDArray[np.float64], inverse: tuple[float, ...], row: Integers, column: Integers) -> None:
    """Row and column (n,) of the pixels that places (n, 2) lie in, also beyond a grid; `inverse` are the six numbers of the inverse of its affine."""
    a, b, c, d, e, f = inverse
    for i in range(row.size):
        x, y = places[i, 0], places[i, 1]
        column[i] = math.floor(a * x + b * y + c)
        row[i] = math.floor(d * x + e * y + f)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def count_near(
    row: Integers, column: Integers, side: int, tile_px: int, near: NDArray[np.uint32], inner: NDArray[np.uint32],
    count: Integers,
) -> bool:  # fmt: skip
    """Where pixels (n,) of a tile lie: in which neighbourhood, as its chunks of `side` pixels lie, and at which place of the chunk; `count`
    (neighbourhood,) of them. False where one lies beyond the tile."""
    across, per_chunk = tile_px // side, near_per_chunk(side)
    chunk_of, place_of = np.empty(tile_px, np.uint32), np.empty(tile_px, np.uint32)
    for line in range(tile_px):
        chunk_of[line], place_of[line] = line // side * per_chunk, line % side
    for i in range(row.size):
        y, x = np.uint64(row[i]), np.uint64(column[i])
        if max(y, x) >= np.uint64(tile_px):
            return False
        place = place_of[y] * side + place_of[x]
        inner[i] = place
        near[i] = chunk_of[y] * across + chunk_of[x] + (place >> _NEAR_BITS)
        count[near[i]] += 1
    return True


@numba.njit(nogil=True, cache=True)
def put_near(
    near: NDArray[np.uint32], inner: NDArray[np.uint32], start: Integers, first: int, order: Integers,
    ordered: NDArray[np.uint32],
) -> None:  # fmt: skip
    """Pixels (n,), which are numbered from `first` on, and their places in their chunks, behind the `start` of their neighbourhood, which moves."""
    for i in range(near.size):
        at = start[near[i]]
        order[at], ordered[at] = first + i, inner[i]
        start[near[i]] = at + 1


@numba.njit(nogil=True, cache=True)
def near_per_chunk(side: int) -> int:
    """How many neighbourhoods a chunk of `side` pixels has."""
    return (side * side + 2**_NEAR_BITS - 1) >> _NEAR_BITS


@numba.njit(nogil=True, cache=True)
def take_pixels(
    chunk: NDArray[Any], inner: NDArray[np.uint32], found: NDArray[Any], complete: NDArray[np.bool_]
) -> None:
    """The values of a flat chunk at places in it, which are not checked, into `found` (n,); `complete` (n,) becomes False where one is not finite."""
    all_finite = True
    for i in range(inner.size):
        value = chunk[inner[i]]
        found[i] = value
        all_finite &= np.isfinite(value)
    if not all_finite:
        for i in range(inner.size):
            if not np.isfinite(found[i]):
                complete[i] = False


@numba.njit(nogil=True, cache=True)
def centres_in_order(
    order: Integers,
    row: Integers,
    column: Integers,
    affine: tuple[float, ...],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> None:
    """Easting and northing (n,) of the centres of pixels in an order, of the six numbers of an affine without rotation."""
    a, _, c, _, e, f = affine
    for i in range(order.size):
        x[i] = c + (column[order[i]] + 0.5) * a
        y[i] = f + (row[order[i]] + 0.5) * e


@numba.njit(nogil=True, cache=True)
def hash_places(
    x: NDArray[np.float64], y: NDArray[np.float64], period: int, seed: np.uint64, found: NDArray[np.uint64]
) -> None:
    """SplitMix64 (Steele et al. 2014) of places in whole centimetres, of a period and of a seed."""
    last = _mixed(np.uint64(period))
    for i in range(x.size):
        state = _mixed(seed ^ _mixed(np.uint64(np.int64(np.rint(x[i] * 100.0)))))
        state = _mixed(state ^ _mixed(np.uint64(np.int64(np.rint(y[i] * 100.0)))))
        found[i] = _mixed(state ^ last)


@numba.njit(nogil=True, cache=True)
def _mixed(state: np.uint64) -> np.uint64:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
