"""How large a pixel of a projected grid is on the ground."""

import numpy as np
import numpy.typing as npt
from pyproj import CRS

from products.errors import RequestError
from products.map_scale import factors_at

MOST_SPREAD = 0.02
ROWS_AT_ONCE = 1024
Float64 = npt.NDArray[np.float64]


def areal_scale(crs: str, x: Float64, y: Float64) -> Float64:
    """Area on the map by area on the ellipsoid at each place, (n,): 1 in an equal-area projection, 0.9992 to 1.002 in a UTM zone; PROJ's `areal_scale`."""
    if not CRS(crs).is_projected:
        raise RequestError(f"expected a map in a projected CRS with metres, got {crs}: its pixels are degrees wide")
    return np.asarray(factors_at(crs, x, y).areal_scale, dtype=np.float64)


def ground_m2(crs: str, x: Float64, y: Float64, resolution_m: float) -> Float64:
    """Square metres on the ground of pixels with centres at columns x and rows y, (y, x) float64.

    The scale is taken along the middle row and the middle column and multiplied, which is exact to first order over the piece of a map.
    """
    row, column = y[y.size // 2], x[x.size // 2]
    along = areal_scale(crs, x, np.full(x.shape, row))
    down = areal_scale(crs, np.full(y.shape, column), y)
    return resolution_m**2 / (along[None, :] * (down / along[x.size // 2])[:, None])


def ground_of_codes(
    codes: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], n: int, crs: str, x: Float64, y: Float64, resolution_m: float
) -> Float64:  # fmt: skip
    """Square metres on the ground of the pixels `inside` (y, x) of each code 0 to n - 1, (n,)."""
    found = np.zeros(n)
    for start in range(0, y.size, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        here = inside[rows]
        if here.any():
            size = ground_m2(crs, x, y[rows], resolution_m)
            found += np.bincount(codes[rows][here], weights=size[here], minlength=n)
    return found
