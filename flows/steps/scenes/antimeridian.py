"""Footprints across the antimeridian, whose longitudes go on beyond 180, beside areas within -180 to 180."""

import numpy as np
import shapely
from odc.geo.crs import CRS
from odc.geo.geom import Geometry

from flows.steps.scenes.geojson_polygons import MAX_WIDTH_DEG, lonlat_polygon

LONLAT = CRS("EPSG:4326")


def in_one_piece(shape: Geometry) -> Geometry:
    """A shape of any CRS in degrees, beyond 180 where it crosses the antimeridian."""
    lonlat = shape.to_crs(LONLAT)
    if lonlat.boundingbox.span_x <= 180:
        return lonlat
    return Geometry(lonlat_polygon(lonlat.json), LONLAT)


def meet(footprint: Geometry, area: Geometry) -> bool:
    """Whether two shapes in degrees share ground, whichever longitudes they write for it."""
    return any(footprint.intersects(turned) for turned in (area, _turned(area, 360.0), _turned(area, -360.0)))


def turns(west: float, east: float) -> list[tuple[float, float]]:
    """The ranges of longitude under which the index may have scenes that meet one."""
    beyond = [(west + 360, east + 360)] if west <= MAX_WIDTH_DEG - 180 else []
    behind = [(west - 360, east - 360)] if east > 180 else []
    return [(west, east), *beyond, *behind]


def _turned(area: Geometry, degrees: float) -> Geometry:
    return Geometry(shapely.transform(area.geom, lambda lonlat: lonlat + np.array([degrees, 0.0])), area.crs)
