"""Terrain from an elevation model (metres, rows going south, square pixels), for any array library, as `gdaldem` computes it.

Slope, aspect and what comes from them use the 3 x 3 gradient of Horn 1981 (Proc. IEEE 69, 14-47); a pixel with a missing neighbour is
NaN. Roughness and ruggedness are those of Wilson et al. 2007 (Marine Geodesy 30, 3-35) and Riley et al. 1999 (Intermountain J. Sci. 5,
23-27), likewise; the position index of Weiss 2001 leaves missing neighbours out. Computed in float64, so any crop gives the same bits;
tolerance against the float64 reference and between array libraries: 1e-6 relative, and 1e-5 degrees.
"""

from collections.abc import Sequence

from products.window.sliding import (
    Array,
    array_namespace,
    check_halo,
    in_row_strips,
    interior,
    window_maximum,
    window_sum,
)

FACING = ("aspect", "eastness", "northness", "hillshade")
FROM_GRADIENT = ("slope", *FACING)
MEASURES = (*FROM_GRADIENT, "roughness", "ruggedness", "position")
DEGREES = 180.0 / 3.141592653589793
SUN_AZIMUTH_DEG, SUN_ALTITUDE_DEG = 315.0, 45.0  # the defaults of gdaldem hillshade


def halo_px(measure: str, position_window_px: int = 3) -> int:
    """The pixels around a tile that a measure needs; ValueError for an unknown one."""
    if measure not in MEASURES:
        raise ValueError(f"unknown terrain measure {measure!r}: expected one of {', '.join(MEASURES)}")
    return position_window_px // 2 if measure == "position" else 1


def terrain(
    elevation_m: Array, measures: Sequence[str], resolution_m: float, position_window_px: int = 3
) -> dict[str, Array]:
    """float32 (y, x) by measure, of elevation_m (y + 2 halo, x + 2 halo) with NaN as missing and the widest halo of the measures.

    slope: degrees from level. aspect: degrees clockwise from north, which is up, that the slope faces, NaN where flat. eastness, northness: the
    horizontal parts of the unit normal, sin(slope) sin(aspect) and sin(slope) cos(aspect), 0 where flat (Amatulli et al. 2018, Scientific
    Data 5, 180040). hillshade: cosine of the angle to a light from north-west at 45 degrees, 0 in its own shadow. roughness: metres, the
    largest less the smallest of 3 x 3. ruggedness: metres, root of the summed squares of the 8 differences. position: metres above the
    mean of the other pixels of the window.
    """
    if resolution_m <= 0 or not measures:
        raise ValueError(
            f"expected a positive resolution and at least one measure, got {resolution_m} m and {list(measures)}"
        )
    if position_window_px < 3 or position_window_px % 2 == 0:
        raise ValueError(f"expected an odd window of 3 pixels or more, got {position_window_px}")
    halo = max(halo_px(measure, position_window_px) for measure in measures)
    check_halo(elevation_m.shape, halo)
    return in_row_strips(
        elevation_m, halo, lambda strip: _strip(strip, measures, resolution_m, halo, position_window_px)
    )


def position(elevation: Array, window_px: int) -> Array:
    """float64 (y, x), metres: each pixel less the mean of the others of its window that are not NaN; NaN where it is, or all of them are."""
    xp = array_namespace(elevation)
    missing = xp.isnan(elevation)
    present = xp.where(missing, xp.zeros_like(elevation), elevation)
    known = xp.astype(~missing, xp.int32)
    centre, halo = interior(elevation, window_px // 2), window_px // 2
    others = window_sum(known, window_px, window_px) - interior(known, halo)
    total = window_sum(present, window_px, window_px) - interior(present, halo)
    count = xp.astype(others, xp.float64)
    alone = others == 0
    mean = total / xp.where(alone, xp.ones_like(count), count)
    return xp.where(alone, xp.full_like(centre, xp.nan), centre - mean)


def _strip(
    elevation_m: Array, measures: Sequence[str], resolution_m: float, halo: int, position_window_px: int
) -> dict[str, Array]:
    xp = array_namespace(elevation_m)
    elevation = xp.astype(elevation_m, xp.float64)
    near = interior(elevation, halo - 1)
    east, south = _gradient(near, resolution_m)
    found = {}
    for measure in measures:
        if measure == "position":
            value = position(interior(elevation, halo - position_window_px // 2), position_window_px)
        elif measure == "roughness":
            value = window_maximum(near, 3, 3) + window_maximum(-near, 3, 3)
        elif measure == "ruggedness":
            value = _ruggedness(near)
        else:
            value = _facing(measure, east, south)
        found[measure] = xp.astype(value, xp.float32)
    return found


def _gradient(z: Array, resolution_m: float) -> tuple[Array, Array]:
    """float64 (y, x) twice: the rise to the east and to the south, metres per metre, of z (y + 2, x + 2)."""
    rows = (z[:, 2:] - z[:, :-2]) / (8 * resolution_m)
    columns = (z[2:, :] - z[:-2, :]) / (8 * resolution_m)
    east = rows[:-2, :] + 2 * rows[1:-1, :] + rows[2:, :]
    south = columns[:, :-2] + 2 * columns[:, 1:-1] + columns[:, 2:]
    xp = array_namespace(z)
    missing = xp.isnan(window_maximum(z, 3, 3))
    nan = xp.full_like(east, xp.nan)
    return xp.where(missing, nan, east), xp.where(missing, nan, south)


def _facing(measure: str, east: Array, south: Array) -> Array:
    """float64 (y, x): what follows from the gradient alone."""
    xp = array_namespace(east)
    squared = east * east + south * south
    if measure == "slope":
        return xp.atan(xp.sqrt(squared)) * DEGREES
    if measure == "aspect":
        degrees = xp.atan2(-east, south) * DEGREES
        degrees = xp.where(degrees < 0, degrees + 360.0, degrees)
        return xp.where(squared == 0, xp.full_like(degrees, xp.nan), degrees)
    length = xp.sqrt(1.0 + squared)
    if measure == "eastness":
        return -east / length
    if measure == "northness":
        return south / length
    azimuth, altitude = (xp.asarray(angle / DEGREES, dtype=xp.float64) for angle in (SUN_AZIMUTH_DEG, SUN_ALTITUDE_DEG))
    facing = south * xp.cos(azimuth) - east * xp.sin(azimuth)
    light = (xp.sin(altitude) + xp.cos(altitude) * facing) / length
    return xp.where(light < 0, xp.zeros_like(light), light)


def _ruggedness(z: Array) -> Array:
    xp = array_namespace(z)
    centre = interior(z, 1)
    rows, columns = centre.shape
    total = xp.zeros_like(centre)
    for place in range(9):
        dy, dx = place // 3, place % 3
        difference = z[dy : dy + rows, dx : dx + columns] - centre
        total = total + difference * difference
    return xp.sqrt(total)
