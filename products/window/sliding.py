"""Sums and extremes over sliding windows, for any array library: a value depends on its window alone, so any crop gives the same bits."""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # of NumPy, CuPy, or another library that follows the array API standard
STRIP_ROWS = 64  # on the CPU, so that what one strip needs stays in the cache


def array_namespace(array: Array) -> ModuleType:
    """The library of an array: numpy, cupy, or another with the functions of the array API standard (2024.12)."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    return sys.modules[type(array).__module__.partition(".")[0]]  # CuPy 14: the standard's functions, not its method


def window_sum(values: Array, rows: int, columns: int) -> Array:
    """(y - rows + 1, x - columns + 1), in the dtype of values (y, x): the sum over each window; exact for integers."""
    return _over(_over(values, rows, 0, lambda a, b: a + b), columns, 1, lambda a, b: a + b)


def window_maximum(values: Array, rows: int, columns: int) -> Array:
    """(y - rows + 1, x - columns + 1), in the dtype of values (y, x): the largest of each window; NaN where it holds one."""
    xp = array_namespace(values)
    return _over(_over(values, rows, 0, xp.maximum), columns, 1, xp.maximum)


def window_any(mask: Array, rows: int, columns: int) -> Array:
    """bool (y - rows + 1, x - columns + 1): where the window over mask (y, x) holds a True."""
    return _over(_over(mask, rows, 0, lambda a, b: a | b), columns, 1, lambda a, b: a | b)


def interior(array: Array, halo_px: int) -> Array:
    """The view of the array (y + 2 halo, x + 2 halo) without its halo."""
    return array[halo_px : array.shape[0] - halo_px, halo_px : array.shape[1] - halo_px]


def in_row_strips(values: Array, halo_px: int, kernel: Callable[[Array], Mapping[str, Array]]) -> dict[str, Array]:
    """What a kernel makes of values (y + 2 halo, x + 2 halo): arrays (y, x) by name; with NumPy in strips of rows, else whole.

    A strip has STRIP_ROWS rows, or as many as its two halos where these are more: most of its work would be halo.
    """
    if not isinstance(values, np.ndarray):
        return dict(kernel(values))
    rows, columns = values.shape[0] - 2 * halo_px, values.shape[1] - 2 * halo_px
    made: dict[str, Array] = {}
    strip_rows = max(STRIP_ROWS, 2 * halo_px)
    for first in range(0, rows, strip_rows):
        last = min(first + strip_rows, rows)
        for name, layer in kernel(values[first : last + 2 * halo_px]).items():
            made.setdefault(name, np.empty((rows, columns), layer.dtype))[first:last] = layer
    return made


def check_halo(shape: tuple[int, ...], halo_px: int) -> None:
    """ValueError unless an array (y, x) of this shape has pixels inside its halo."""
    if len(shape) != 2 or min(shape) <= 2 * halo_px:
        raise ValueError(
            f"expected an array (y, x) wider than two halos of {halo_px} pixels, got the shape {shape}; read a wider halo"
        )


def _over(values: Array, length: int, axis: int, combine: Callable[[Array, Array], Array]) -> Array:
    """Each run of `length` neighbours along an axis combined, by runs of 1, 2, 4 …: about 2 log2(length) passes, always in one order."""
    n = values.shape[axis] - length + 1
    result, start = None, 0
    run, width = values, 1
    while True:
        if length & width:
            piece = _part(run, axis, start, start + n)
            result = piece if result is None else combine(result, piece)
            start += width
        if 2 * width > length:
            return result
        run = combine(_part(run, axis, 0, run.shape[axis] - width), _part(run, axis, width, run.shape[axis]))
        width *= 2


def _part(values: Array, axis: int, start: int, stop: int) -> Array:
    return values[start:stop, :] if axis == 0 else values[:, start:stop]
