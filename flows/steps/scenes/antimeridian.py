"""Footprints across the antimeridian, whose longitudes go on beyond 180, beside areas within -180 to 180."""

import math
from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geom import Geometry, box

from flows.steps.scenes.geojson_polygons import MAX_WIDTH_DEG, lonlat_polygon

LONLAT = CRS("EPSG:4326")
HALF_TURN_DEG = 180.0
EDGE_PARTS = 100


def in_one_piece(shape: Geometry) -> Geometry:
    """A shape of any CRS in degrees, beyond 180 where it crosses the antimeridian; what spans the world stays, round a pole it is all of the cap."""
    lonlat = shape.to_crs(LONLAT)
    if lonlat.boundingbox.span_x <= HALF_TURN_DEG:
        return lonlat
    for longitudes, latitudes in _edges(shape):
        leaps = np.rint(np.diff(longitudes) / 360)
        if leaps.sum():
            pole = math.copysign(90.0, latitudes.mean())
            return box(-180.0, min(latitudes.min(), pole), 180.0, max(latitudes.max(), pole), LONLAT)
        if not leaps.any() and np.ptp(longitudes) > HALF_TURN_DEG:
            return lonlat
    return Geometry(lonlat_polygon(lonlat.json, 2 * HALF_TURN_DEG), LONLAT)


def meet(footprint: Geometry, area: Geometry) -> bool:
    """Whether two shapes in degrees share ground, whichever longitudes they write for it."""
    return any(footprint.intersects(turned) for turned in (area, _turned(area, 360.0), _turned(area, -360.0)))


def turns(west: float, east: float) -> list[tuple[float, float]]:
    """The ranges of longitude under which the index may have scenes that meet one."""
    beyond = [(west + 360, east + 360)] if west <= MAX_WIDTH_DEG - 180 else []
    behind = [(west - 360, east - 360)] if east > 180 else []
    return [(west, east), *beyond, *behind]


def _edges(shape: Geometry) -> Iterator[NDArray[np.float64]]:
    """Longitudes and latitudes along the outlines of a shape, so dense that they leap at the antimeridian only, as corners of a wide one do not."""
    bounds = shape.boundingbox
    dense = shape.segmented(max(bounds.span_x, bounds.span_y) / EDGE_PARTS).to_crs(LONLAT)
    for ring in shapely.get_exterior_ring(shapely.get_parts(dense.geom)):
        yield shapely.get_coordinates(ring).T


def _turned(area: Geometry, degrees: float) -> Geometry:
    return Geometry(shapely.transform(area.geom, lambda lonlat: lonlat + np.array([degrees, 0.0])), area.crs)
