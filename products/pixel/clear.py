"""From mask bands to causes: lookup tables, one observation per pass, growth of clouds by a disk."""

import math
from functools import cache

import numba
import numpy as np
from numpy.typing import NDArray

from products.pixel.causes import NOT_EXPECTED, Cause

Bytes = NDArray[np.uint8]
Counts = NDArray[np.uint16]

# QA_PIXEL bits, least cause last (USGS LSDS-1619 Landsat 8-9 Collection 2 Level 2 guide, table 5-1); bit 0 fill, 1 dilated cloud
_QA_PIXEL_BITS = (
    (1, Cause.DILATED),
    (5, Cause.SNOW),
    (2, Cause.CIRRUS),
    (4, Cause.SHADOW),
    (3, Cause.CLOUD),
    (0, Cause.NODATA),
)
# SCL classes (Sentinel-2 Level-2A product definition); 2 dark area, 4 vegetation, 5 bare, 6 water and 7 unclassified are used
_SCL_CLASSES = {
    0: Cause.NODATA, 1: Cause.SATURATED, 3: Cause.SHADOW, 8: Cause.CLOUD, 9: Cause.CLOUD, 10: Cause.CIRRUS, 11: Cause.SNOW,
}  # fmt: skip
GROWN = (Cause.CLOUD, Cause.SHADOW)


@cache
def cause_table(mask: str, keep: tuple[str, ...] = ()) -> Bytes:
    """uint8 (65536,): the cause of each value of `qa_pixel` or `scl`; causes named in `keep` count as used."""
    values = np.arange(65536)
    table = np.zeros(65536, np.uint8)
    kept = {name.upper() for name in keep}
    if mask == "qa_pixel":
        for bit, cause in _QA_PIXEL_BITS:
            if cause.name not in kept:
                table[(values >> bit) & 1 == 1] = cause
    elif mask == "scl":
        table[12:] = Cause.NODATA
        for value, cause in _SCL_CLASSES.items():
            table[value] = Cause.USED if cause.name in kept else cause
    else:
        raise ValueError(f"expected the mask band qa_pixel or scl, got {mask!r}")
    table.setflags(write=False)
    return table


@numba.njit(nogil=True, cache=True)
def look_up(table: Bytes, values: Counts, causes: Bytes) -> None:
    """The cause of each mask value (y, x) into causes (y, x)."""
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            causes[y, x] = table[values[y, x]]


def disk(radius_px: int) -> NDArray[np.int64]:
    """int64 (n, 2): row and column offsets within `radius_px` of the centre."""
    span = range(-radius_px, radius_px + 1)
    return np.array([(dy, dx) for dy in span for dx in span if math.hypot(dy, dx) <= radius_px], np.int64).reshape(
        -1, 2
    )


@numba.njit(nogil=True, cache=True)
def keep_one_scene(causes: Bytes) -> None:
    """Of the scenes (scene, y, x) of one pass, in their written order, keep one per pixel, in place.

    The first scene that has data wins; where none has, the first unread one, then the first nodata one; all others become NOT_EXPECTED.
    """
    n_scenes, height, width = causes.shape
    for y in range(height):
        for x in range(width):
            winner, rank = -1, 3
            for s in range(n_scenes):
                cause = causes[s, y, x]
                if cause == NOT_EXPECTED:
                    continue
                this = 1 if cause == 1 else 2 if cause == 2 else 0
                if this < rank:
                    winner, rank = s, this
            for s in range(n_scenes):
                if s != winner:
                    causes[s, y, x] = NOT_EXPECTED


@numba.njit(nogil=True, cache=True)
def grow(causes: Bytes, offsets: NDArray[np.int64], halo_px: int) -> Bytes:
    """uint8 (y, x) without the halo: 1 within the disk of a cloud or shadow pixel of any scene (scene, y + 2 halo, x + 2 halo) of a pass."""
    n_scenes, height, width = causes.shape
    seed = np.zeros((height, width), np.uint8)
    for s in range(n_scenes):
        for y in range(height):
            for x in range(width):
                if causes[s, y, x] == 3 or causes[s, y, x] == 4:
                    seed[y, x] = 1
    grown = np.zeros((height - 2 * halo_px, width - 2 * halo_px), np.uint8)
    for i in range(offsets.shape[0]):
        dy, dx = halo_px + offsets[i, 0], halo_px + offsets[i, 1]
        for y in range(grown.shape[0]):
            for x in range(grown.shape[1]):
                grown[y, x] |= seed[y + dy, x + dx]
    return grown


@numba.njit(nogil=True, cache=True)
def note_extremes(numbers: Counts, extremes: Bytes) -> None:
    """Add what one band (y, x) says to extremes (y, x): bit 0 where it has no data (DN 0), bit 1 where it is saturated (DN 65535)."""
    for y in range(numbers.shape[0]):
        row, noted = numbers[y], extremes[y]
        for x in range(row.size):
            noted[x] |= np.uint8(row[x] == 0) | np.uint8(row[x] == 65535) << np.uint8(1)


@numba.njit(nogil=True, cache=True)
def note_saturation(bits: Counts, extremes: Bytes) -> None:
    """Add a radiometric saturation band (y, x) to extremes (y, x): bit 1 where any band saturated."""
    for y in range(bits.shape[0]):
        row, noted = bits[y], extremes[y]
        for x in range(row.size):
            noted[x] |= np.uint8(row[x] != 0) << np.uint8(1)


@numba.njit(nogil=True, cache=True)
def refine(causes: Bytes, extremes: Bytes) -> None:
    """Apply, in place, what only the bands know: causes (y, x), extremes (y, x) as noted.

    Of pixels that the mask calls clear, one with a band without data becomes nodata, one with a saturated band saturated.
    """
    for y in range(causes.shape[0]):
        row, noted = causes[y], extremes[y]
        for x in range(row.size):
            found = np.uint8(2) if noted[x] & 1 else np.uint8(7) if noted[x] else row[x]
            row[x] = found if row[x] == 0 or row[x] == 8 else row[x]


@numba.njit(nogil=True, cache=True)
def mark_grown(causes: Bytes, grown: Bytes) -> None:
    """Clear pixels (scene, y, x) near a cloud or shadow (y, x) become DILATED, in place."""
    for s in range(causes.shape[0]):
        for y in range(causes.shape[1]):
            for x in range(causes.shape[2]):
                if grown[y, x] and causes[s, y, x] == 0:
                    causes[s, y, x] = 8


@numba.njit(nogil=True, cache=True)
def count_causes(causes: Bytes, accounts: Counts) -> None:
    """Add the scenes (scene, y, x) to accounts (1 + cause, y, x): expected first, then each cause."""
    for y in range(causes.shape[1]):
        for s in range(causes.shape[0]):
            row = causes[s, y]
            for x in range(row.size):
                if row[x] != NOT_EXPECTED:
                    accounts[0, y, x] += np.uint16(1)
                    accounts[1 + row[x], y, x] += np.uint16(1)


@numba.njit(nogil=True, cache=True)
def unbalanced(accounts: Counts) -> int:
    """The number of pixels (1 + cause, y, x) whose causes do not add up to what was expected."""
    wrong = 0
    total = np.zeros(accounts.shape[2], np.uint32)
    for y in range(accounts.shape[1]):
        total[:] = 0
        for c in range(1, accounts.shape[0]):
            row = accounts[c, y]
            for x in range(row.size):
                total[x] += row[x]
        for x in range(total.size):
            wrong += total[x] != accounts[0, y, x]
    return wrong
