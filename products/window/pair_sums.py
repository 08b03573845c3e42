"""Sums over the pairs of neighbouring pixels in each window: on the CPU in one pass for all of them, elsewhere by window sums."""

from collections.abc import Callable, Iterable
from functools import partial

import numba
import numpy as np
from numpy.typing import NDArray

from products.window.sliding import Array, array_namespace, window_sum

QUANTITIES = ("pairs", "total", "squares", "absolute", "square", "inverse")

Levels = NDArray[np.int32]


def inverse_bits(window_px: int) -> int:
    """The bits after the point of the terms 1 / (1 + difference^2): as many as keep their sum over a window in int32."""
    return 30 - (4 * window_px**2).bit_length()


def pair_sums(grey: Array, window_px: int, quantities: Iterable[str]) -> dict[str, Array]:
    """int32 (y, x) by quantity: its sum over the pairs in each window of grey levels int32 (y + 2 halo, x + 2 halo), -1 where missing.

    Of a pair (a, b): pairs 1, total a + b, squares a^2 + b^2, absolute |a - b|, square (a - b)^2, inverse 1 / (1 + (a - b)^2) in fixed point.
    """
    bits = inverse_bits(window_px)
    if not isinstance(grey, np.ndarray):
        return {name: pair_sum(grey, window_px, partial(_quantity, name, bits)) for name in quantities}
    inverse = _quantity("inverse", bits, np.arange(grey.max(initial=0) + 1, dtype=np.int32), np.int32(0))
    sums = np.zeros((len(QUANTITIES), grey.shape[0] - window_px + 1, grey.shape[1] - window_px + 1), np.int32)
    _slide(np.ascontiguousarray(grey), window_px, inverse, sums)
    return {name: sums[QUANTITIES.index(name)] for name in quantities}


def pair_sum(grey: Array, window_px: int, quantity: Callable[[Array, Array], Array]) -> Array:
    """(y, x): the sum of a quantity of two arrays of grey levels over the pairs of 8-neighbours that lie in each window."""
    w = window_px
    along = window_sum(quantity(grey[:, :-1], grey[:, 1:]), w, w - 1)
    across = window_sum(quantity(grey[:-1, :], grey[1:, :]), w - 1, w)
    diagonal = quantity(grey[:-1, :-1], grey[1:, 1:]) + quantity(grey[:-1, 1:], grey[1:, :-1])
    return along + across + window_sum(diagonal, w - 1, w - 1)


def _quantity(name: str, bits: int, a: Array, b: Array) -> Array:
    """int32: one quantity of each pair of grey levels, 0 where one is missing."""
    xp = array_namespace(a)
    square = (a - b) * (a - b)
    if name == "pairs":
        value = xp.ones_like(a)
    elif name == "total":
        value = a + b
    elif name == "squares":
        value = a * a + b * b
    elif name == "absolute":
        value = xp.abs(a - b)
    elif name == "square":
        value = square
    else:
        value = ((square + 1) // 2 + 2**bits) // (square + 1)
    return xp.where((a >= 0) & (b >= 0), value, xp.zeros_like(value))


@numba.njit(nogil=True, cache=True)
def _slide(grey: Levels, window_px: int, inverse: Levels, sums: NDArray[np.int32]) -> None:
    """All quantities into sums (quantity, y, x): sums of each column of pairs move down by a row, windows over them along the row."""
    width = grey.shape[1]
    beside = np.zeros((sums.shape[0], width - 1), np.int32)
    below = np.zeros((sums.shape[0], width), np.int32)
    for row in range(grey.shape[0]):
        _add_pairs(grey[row, :-1], grey[row, 1:], 1, inverse, beside)
        if row > 0:
            _add_two_rows(grey[row - 1], grey[row], 1, inverse, beside, below)
        top = row - window_px + 1
        if top > 0:
            _add_pairs(grey[top - 1, :-1], grey[top - 1, 1:], -1, inverse, beside)
            _add_two_rows(grey[top - 1], grey[top], -1, inverse, beside, below)
        if top >= 0:
            for i in range(sums.shape[0]):
                _sum_along(beside[i], below[i], window_px, sums[i, top])


@numba.njit(nogil=True, cache=True)
def _add_two_rows(upper: Levels, lower: Levels, sign: int, inverse: Levels, beside: Levels, below: Levels) -> None:
    _add_pairs(upper, lower, sign, inverse, below)
    _add_pairs(upper[:-1], lower[1:], sign, inverse, beside)
    _add_pairs(upper[1:], lower[:-1], sign, inverse, beside)


@numba.njit(nogil=True, cache=True)
def _add_pairs(first: Levels, second: Levels, sign: int, inverse: Levels, sums: NDArray[np.int32]) -> None:
    pairs, total, squares, absolute, square, inverses = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
    for x in range(first.size):
        a, b = first[x], second[x]
        counted = np.int32(sign) if a >= 0 and b >= 0 else np.int32(0)
        difference = abs(a - b)
        pairs[x] += counted
        total[x] += counted * (a + b)
        squares[x] += counted * (a * a + b * b)
        absolute[x] += counted * difference
        square[x] += counted * difference * difference
        inverses[x] += counted * inverse[min(difference, np.int32(inverse.size - 1))]


@numba.njit(nogil=True, cache=True)
def _sum_along(beside: Levels, below: Levels, window_px: int, out: Levels) -> None:
    total = below[: window_px - 1].sum() + beside[: window_px - 1].sum()
    for x in range(out.size):
        total += below[x + window_px - 1]
        out[x] = total
        total -= below[x] + beside[x]
        if x + window_px - 1 < beside.size:
            total += beside[x + window_px - 1]
