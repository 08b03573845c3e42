"""From mask bands to causes: lookup tables, one observation per pass, growth of clouds by a disk."""

import math
from functools import cache

import numba
import numpy as np
from numpy.typing import NDArray

from products.pixel.causes import NOT_EXPECTED, Cause
from products.window.morphology import dilate, opened

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


@numba.njit(nogil=True, cache=True)
def squares_with(causes: Bytes, wanted: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Whether each square of `side` pixels of causes (y, x) holds one that is wanted, bool (256,): bool (y / side, x / side), rounded up."""
    height, width = causes.shape
    found = np.zeros((-(-height // side), -(-width // side)), np.bool_)
    for y in range(height):
        row, marked = causes[y], found[y // side]
        for square in range(marked.size):
            if not marked[square]:
                for cause in row[square * side : min((square + 1) * side, width)]:
                    if wanted[cause]:
                        marked[square] = True
                        break
    return found


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
                this = 1 if cause == 1 else 2 if cause == 2 or cause == 10 else 0
                if this < rank:
                    winner, rank = s, this
            for s in range(n_scenes):
                if s != winner:
                    causes[s, y, x] = NOT_EXPECTED


@numba.njit(nogil=True, cache=True)
def cloudy(causes: Bytes) -> NDArray[np.bool_]:
    """bool (y, x): where any scene (scene, y, x) of a pass has cloud or shadow."""
    found = np.zeros(causes.shape[1:], np.bool_)
    for s in range(causes.shape[0]):
        for y in range(causes.shape[1]):
            row, marked = causes[s, y], found[y]
            for x in range(row.size):
                marked[x] |= (row[x] == 3) | (row[x] == 4)
    return found


def small_clouds(causes: Bytes, radius_px: float) -> NDArray[np.bool_]:
    """bool (y, x): clouds into which a disk of a radius in pixels does not fit; none in a border of twice the whole pixels of it."""
    border = 2 * math.floor(radius_px)
    is_cloud = causes == Cause.CLOUD
    found = np.zeros_like(is_cloud)
    inner = np.s_[border : causes.shape[0] - border, border : causes.shape[1] - border]
    found[inner] = is_cloud[inner] & ~opened(is_cloud, radius_px)
    return found


def clear_far_from_clouds(causes: Bytes, radius_px: float, border: int) -> None:
    """What is DILATED and farther than a radius in pixels from any CLOUD (y, x) becomes USED, in place, but for a border and the whole pixels of the radius."""
    within = np.s_[border : causes.shape[0] - border, border : causes.shape[1] - border]
    is_near = dilate(causes[within] == Cause.CLOUD, radius_px)
    reach = border + math.floor(radius_px)
    inner = causes[reach : causes.shape[0] - reach, reach : causes.shape[1] - reach]
    inner[(inner == Cause.DILATED) & ~is_near] = Cause.USED


def mark_likely(causes: Bytes, probability: Counts, limit: int) -> None:
    """What has a cloud probability (y, x) of at least `limit` percent becomes CLOUD, in place, as far as a cloud comes first in precedence."""
    can_be = (causes == Cause.USED) | ((causes > Cause.CLOUD) & (causes <= Cause.DILATED))
    causes[can_be & (probability >= limit) & (probability <= 100)] = Cause.CLOUD


@numba.njit(nogil=True, cache=True)
def mark_persistent(causes: Bytes, is_of_source: NDArray[np.bool_], share: float, least: int, becomes: int) -> None:
    """Cloud of pixels that are cloud in at least a share of the scenes of a source (scene, y, x) that see them, of which there must be `least`, in place."""
    for y in range(causes.shape[1]):
        for x in range(causes.shape[2]):
            clouds, seen = 0, 0
            for s in range(causes.shape[0]):
                cause = causes[s, y, x]
                is_seen = (cause != 1) & (cause != 2) & (cause != 10) & (cause != NOT_EXPECTED)
                clouds += is_of_source[s] & (cause == 3)
                seen += is_of_source[s] & is_seen
            if seen >= least and clouds >= share * seen:
                for s in range(causes.shape[0]):
                    if is_of_source[s] and causes[s, y, x] == 3:
                        causes[s, y, x] = becomes


@numba.njit(nogil=True, cache=True)
def note_extremes(numbers: Counts, lowest: int, highest: int, saturated: int, extremes: Bytes) -> None:
    """Add what one band (y, x) says to extremes (y, x): bit 0 no data (DN 0), bit 1 at least the DN `saturated`, bit 2 beyond lowest to highest DN."""
    low, high, full = np.uint16(lowest), np.uint16(highest), np.uint16(saturated)
    for y in range(numbers.shape[0]):
        row, noted = numbers[y], extremes[y]
        for x in range(row.size):
            beyond = np.uint8(row[x] < low) | np.uint8(row[x] > high)
            noted[x] |= np.uint8(row[x] == 0) | np.uint8(row[x] >= full) << np.uint8(1) | beyond << np.uint8(2)


@numba.njit(nogil=True, cache=True)
def note_saturation(bits: Counts, saturated: int, lost: int, extremes: Bytes) -> None:
    """Add a radiometric saturation band (y, x) to extremes (y, x): bit 1 where one of the bits `saturated` is set, bit 0 (no data) where one of `lost` is."""
    full, gone = np.uint16(saturated), np.uint16(lost)
    for y in range(bits.shape[0]):
        row, noted = bits[y], extremes[y]
        for x in range(row.size):
            noted[x] |= np.uint8((row[x] & full) != 0) << np.uint8(1) | np.uint8((row[x] & gone) != 0)


@numba.njit(nogil=True, cache=True)
def refine(causes: Bytes, extremes: Bytes) -> None:
    """Apply, in place, what only the bands know: causes (y, x), extremes (y, x) as noted.

    Of pixels that the mask calls clear, one with a band without data becomes nodata, one with a saturated band saturated, and one with a band beyond
    its range out of range.
    """
    for y in range(causes.shape[0]):
        row, noted = causes[y], extremes[y]
        for x in range(row.size):
            found = np.uint8(2) if noted[x] & 1 else np.uint8(7) if noted[x] & 2 else row[x]
            found = np.uint8(9) if noted[x] == 4 and row[x] == 0 else found
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
