"""Masks grown, shrunk and opened by a disk: the CPU through the distance to the nearest True of each row, others through window sums.

A disk of radius r holds the offsets whose length is at most r pixels. Each output pixel depends on a halo of floor(r) pixels (opening:
twice that), and is exact: any crop and any array library give the same.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from products.window.sliding import Array, array_namespace, check_halo, window_any

MAX_RADIUS_PX = 254  # distances along a row fit in a byte

Bytes = NDArray[np.uint8]


def radius_px(radius_m: float, resolution_m: float) -> float:
    """A radius in pixels, of one in metres on a grid of square pixels."""
    if radius_m < 0 or resolution_m <= 0:
        raise ValueError(
            f"expected a radius of 0 m or more on a positive resolution, got {radius_m} m on {resolution_m} m"
        )
    return round(radius_m / resolution_m, 9)


def half_widths(radius_px: float) -> Bytes:
    """uint8 (2 floor(radius) + 1,): how far the disk reaches sideways, in pixels, in each of its rows."""
    if not 0 <= radius_px <= MAX_RADIUS_PX:
        raise ValueError(f"expected a radius of 0 to {MAX_RADIUS_PX} pixels, got {radius_px}")
    reach = math.floor(radius_px)
    widths = [max(x for x in range(reach + 1) if math.hypot(y, x) <= radius_px) for y in range(reach + 1)]
    return np.array(widths[:0:-1] + widths, np.uint8)


def dilate(mask: Array, radius_px: float) -> Array:
    """bool (y, x): where a True of mask (y + 2 halo, x + 2 halo) lies within the disk; the halo is floor(radius_px)."""
    widths = half_widths(radius_px)
    check_halo(mask.shape, len(widths) // 2)
    if isinstance(mask, np.ndarray):
        grown = np.zeros((mask.shape[0] - len(widths) + 1, mask.shape[1] - len(widths) + 1), np.uint8)
        _dilate(np.ascontiguousarray(mask, np.bool_).view(np.uint8), widths, grown)
        return grown.view(np.bool_)
    return _dilate_rows(mask, widths)


def erode(mask: Array, radius_px: float) -> Array:
    """bool (y, x): where the whole disk lies in mask (y + 2 halo, x + 2 halo); the halo is floor(radius_px)."""
    return ~dilate(~mask, radius_px)


def opened(mask: Array, radius_px: float) -> Array:
    """bool (y, x): the union of the disks that fit into mask (y + 2 halo, x + 2 halo); the halo is 2 floor(radius_px)."""
    return dilate(erode(mask, radius_px), radius_px)


def _dilate_rows(mask: Array, widths: Bytes) -> Array:
    xp = array_namespace(mask)
    reach = len(widths) // 2
    rows, columns = mask.shape[0] - 2 * reach, mask.shape[1] - 2 * reach
    grown = xp.zeros((rows, columns), dtype=xp.bool)
    for dy, width in enumerate(int(each) for each in widths):
        row_band = mask[dy : dy + rows, reach - width : mask.shape[1] - (reach - width)]
        grown = grown | window_any(row_band, 1, 2 * width + 1)
    return grown


@numba.njit(nogil=True, cache=True)
def _dilate(mask: Bytes, widths: Bytes, grown: Bytes) -> None:
    reach = widths.size // 2
    away = np.empty((widths.size, mask.shape[1]), np.uint8)  # of the rows under the disk, the newest over the oldest
    for row in range(mask.shape[0]):
        _distance_along(mask[row], reach + 1, away[row % widths.size])
        y = row - 2 * reach
        if y >= 0:
            out = grown[y]
            for dy in range(widths.size):
                _mark_within(away[(y + dy) % widths.size, reach : reach + out.size], widths[dy], out)


@numba.njit(nogil=True, cache=True)
def _distance_along(row: Bytes, most: int, away: Bytes) -> None:
    """The pixels to the nearest True of the row, at most `most`, into away."""
    distance = most
    for x in range(row.size):
        distance = 0 if row[x] else min(distance + 1, most)
        away[x] = distance
    for x in range(row.size - 1, -1, -1):
        distance = min(int(away[x]), distance + 1)
        away[x] = distance


@numba.njit(nogil=True, cache=True)
def _mark_within(away: Bytes, width: np.uint8, out: Bytes) -> None:
    for x in range(out.size):
        out[x] |= np.uint8(away[x] <= width)
