"""Distance to a mask, exact and Euclidean between pixel centres, up to a largest distance, so that any crop with that halo gives the same bits."""

import math

import numpy as np
from scipy import ndimage

from products.window.sliding import Array, array_namespace, check_halo, interior


def halo_px(max_distance_m: float, resolution_m: float) -> int:
    """The pixels around a tile that may hold the nearest mask pixel."""
    if not (max_distance_m > 0 and resolution_m > 0):
        raise ValueError(f"expected a positive distance and resolution, got {max_distance_m} m and {resolution_m} m")
    return math.floor(round(max_distance_m / resolution_m, 9))


def distance_m(mask: Array, resolution_m: float, max_distance_m: float) -> Array:
    """float32 (y, x), metres: from each pixel to the nearest True of mask (y + 2 halo, x + 2 halo), 0 inside it.

    max_distance_m where the nearest lies farther away, or there is none.
    """
    halo = halo_px(max_distance_m, resolution_m)
    check_halo(mask.shape, halo)
    xp = array_namespace(mask)
    squared = _squared_px(mask, halo)
    metres = xp.sqrt(xp.astype(squared, xp.float64)) * resolution_m
    far = xp.asarray(max_distance_m, dtype=xp.float64)
    return xp.astype(xp.where(metres < far, metres, far), xp.float32)


def signed_distance_m(mask: Array, resolution_m: float, max_distance_m: float) -> Array:
    """float32 (y, x), metres: the distance to the mask outside it; inside, less than 0, the distance to the nearest pixel outside.

    Never 0: the two sides of an edge are resolution_m and -resolution_m. Between -max_distance_m and max_distance_m.
    """
    return distance_m(mask, resolution_m, max_distance_m) - distance_m(~mask, resolution_m, max_distance_m)


def known_distance_m(mask: Array, covered: Array, resolution_m: float, max_distance_m: float, is_signed: bool) -> Array:
    """float32 (y, x), metres: the distance, signed or not, to mask where its raster covers the ground, both (y + 2 halo, x + 2 halo).

    NaN where ground that is not covered is nearer than what is found.
    """
    xp = array_namespace(mask)
    to_mask = distance_m(mask & covered, resolution_m, max_distance_m)
    to_other = distance_m(~mask & covered, resolution_m, max_distance_m) if is_signed else xp.zeros_like(to_mask)
    to_edge = distance_m(~covered, resolution_m, max_distance_m)
    is_known = to_edge >= xp.maximum(to_mask, to_other)
    return xp.where(is_known, to_mask - to_other, xp.full_like(to_mask, xp.nan))


def _squared_px(mask: Array, halo: int) -> Array:
    """int64 (y, x): the squared distance in pixels to the nearest True, wherever it is within the halo; else something larger."""
    if not isinstance(mask, np.ndarray):
        return _squared_by_shifts(mask, halo)
    beyond = 2 * (halo + 1) ** 2
    if not mask.any():
        return np.full((mask.shape[0] - 2 * halo, mask.shape[1] - 2 * halo), beyond, np.int64)
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    rows, columns = (interior(each, halo) for each in nearest)
    here = np.arange(halo, halo + rows.shape[0])[:, None], np.arange(halo, halo + rows.shape[1])[None, :]
    return (rows - here[0]).astype(np.int64) ** 2 + (columns - here[1]).astype(np.int64) ** 2


def _squared_by_shifts(mask: Array, halo: int) -> Array:
    """int64 (y, x) squared distances as `_squared_px` gives, in any array library: the nearest True of each column first, then the nearest column."""
    xp = array_namespace(mask)
    rows, columns = mask.shape[0] - 2 * halo, mask.shape[1] - 2 * halo
    beyond = xp.asarray(2 * (halo + 1) ** 2, dtype=xp.int64)
    vertical = xp.full((rows, mask.shape[1]), int(beyond), dtype=xp.int64)
    for dy in range(-halo, halo + 1):
        band = mask[halo + dy : halo + dy + rows, :]
        vertical = xp.minimum(vertical, xp.where(band, xp.asarray(dy * dy, dtype=xp.int64), beyond))
    nearest = xp.full((rows, columns), int(beyond), dtype=xp.int64)
    for dx in range(-halo, halo + 1):
        nearest = xp.minimum(nearest, vertical[:, halo + dx : halo + dx + columns] + dx * dx)
    return nearest
