"""Which labels lie near a grid, of files that may reach round the Earth, and where on its CRS."""

import geopandas
import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds

WIDER = 0.02  # of its width: bounds in another CRS come from some points of the edges
WIDE_DEG, WIDE_M = 5.0, 500_000.0  # a shape of this size has no straight edges on a grid
STEP_DEG, STEP_M = 0.01, 1000.0  # a line this long is straight on a grid to 5 cm

Float64 = NDArray[np.float64]


def ground_in(geobox: GeoBox, crs: pyproj.CRS) -> Float64:
    """Boxes (n, 4), west, south, east and north in a CRS, that hold a grid and a little more: in degrees one on each side of the antimeridian."""
    west, south, east, north = transform_bounds(str(geobox.crs), crs.to_wkt(), *geobox.extent.boundingbox.bbox)
    spans = [(west, 180.0), (-180.0, east)] if crs.is_geographic and east < west else [(west, east)]
    more = WIDER * max(north - south, *(last - first for first, last in spans))
    return np.array([(first - more, south - more, last + more, north + more) for first, last in spans])


def meets(bounds: Float64, ground: Float64) -> NDArray[np.bool_]:
    """Whether each of some bounds (m, 4) touches one of the boxes (n, 4)."""
    west, south, east, north = bounds.T[:, :, None]
    each = (west <= ground[:, 2]) & (east >= ground[:, 0]) & (south <= ground[:, 3]) & (north >= ground[:, 1])
    return np.asarray(each.any(axis=1))


def on_grid(shapes: geopandas.GeoSeries, geobox: GeoBox) -> geopandas.GeoSeries:
    """The shapes near a grid in its CRS, None for all others, which may have no place there.

    Of a wide shape only what lies near the grid, its edges straight in the CRS of the file; the edges of others are straight on the grid.
    """
    crs = pyproj.CRS(shapes.crs)
    ground, bounds = ground_in(geobox, crs), shapes.bounds.to_numpy()
    is_near = meets(bounds, ground)
    wide, step = (WIDE_DEG, STEP_DEG) if crs.is_geographic else (WIDE_M, STEP_M)
    is_wide = is_near & ((bounds[:, 2] - bounds[:, 0] > wide) | (bounds[:, 3] - bounds[:, 1] > wide))
    found = shapes.to_numpy().copy()
    found[~is_near] = None
    cut = shapely.intersection(found[is_wide], shapely.union_all(shapely.box(*ground.T)))
    found[is_wide] = np.where(shapely.is_empty(cut), None, shapely.segmentize(cut, step))
    return geopandas.GeoSeries(found, index=shapes.index, crs=shapes.crs).to_crs(str(geobox.crs))
