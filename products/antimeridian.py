"""Ground across the antimeridian, whose longitudes run on beyond 180, and ground that holds a pole, which has all of them."""

from math import copysign, floor
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

LONLAT = CRS("EPSG:4326")
MAX_WIDTH_DEG = 90.0  # of the footprint of a scene
EDGE_PARTS = 100  # of the longest side of what is bent in degrees, may cross the antimeridian or hold a pole

Ring = NDArray[np.float64]
Box = tuple[float, float, float, float]


def in_one_piece(shape: Geometry) -> Geometry:
    """A shape of any CRS in degrees: beyond 180 where it crosses the antimeridian, from -180 to 180 where it holds a pole or spans the world.

    Its edges are straight in its own CRS, and cut so finely that their longitudes leap at the antimeridian only.
    """
    lonlat = shape.to_crs(LONLAT)
    if lonlat.boundingbox.span_x <= 180:
        return lonlat
    fine = _cut_finely(shape).to_crs(LONLAT)
    polygons = [part for part in shapely.get_parts(shapely.get_parts(fine.geom)) if part.geom_type == "Polygon"]
    return Geometry(shapely.union_all(side_by_side([_whole(polygon) for polygon in polygons])), LONLAT)


def as_geojson(shape: Geometry) -> tuple[dict[str, Any], Box]:
    """The geometry of a shape of any CRS, cut in two where it crosses the antimeridian, and its box: west, then south, east, north (RFC 7946, 3.1.9, 5.2).

    The west of a box across the antimeridian is larger than its east.
    """
    whole = in_one_piece(shape)
    west, south, east, north = whole.boundingbox.bbox
    if east <= 180:
        return whole.json, (west, south, east, north)
    halves = [
        shapely.clip_by_rect(turned, -180.0, -90.0, 180.0, 90.0)
        for turned in (whole.geom, _shifted(whole.geom, -360.0))
    ]
    surfaces = [part for half in halves for part in shapely.get_parts(half) if part.geom_type == "Polygon"]
    cut = shapely.orient_polygons(shapely.MultiPolygon(surfaces))
    return Geometry(cut, LONLAT).json, (west - 360 if west >= 180 else west, south, east - 360, north)


def outline(box: GeoBox) -> Geometry:
    """The extent of a box with many places along its sides, which are bent in another CRS."""
    return _cut_finely(box.extent)


def centre(shape: Geometry) -> tuple[float, float]:
    """The longitude, within -180 to 180, and the latitude of the centroid of a shape of any CRS."""
    longitude, latitude = in_one_piece(shape).centroid.coords[0]
    return longitude - 360 if longitude > 180 else longitude, latitude


def meet(footprint: Geometry, area: Geometry) -> bool:
    """Whether two shapes in degrees share ground, whichever longitudes they write for it."""
    return any(footprint.intersects(turned) for turned in turned_shapes(area))


def turned_shapes(area: Geometry) -> tuple[Geometry, Geometry, Geometry]:
    """A shape in degrees under every longitude that another may write for its ground: as it is, and turned by 360 degrees both ways."""
    return area, _turned(area, 360.0), _turned(area, -360.0)


def turns(west: float, east: float, widest: float = MAX_WIDTH_DEG) -> list[tuple[float, float]]:
    """The ranges of longitude under which the index may have what meets one: scenes, or other ground that is at most so many degrees wide."""
    beyond = [(west + 360, east + 360)] if west <= widest - 180 else []
    behind = [(west - 360, east - 360)] if east > 180 else []
    return [(west, east), *beyond, *behind]


def unrolled(ring: Ring) -> tuple[Ring, int]:
    """A ring (vertex, longitude and latitude) that starts in -180 to 180 and runs on across the antimeridian, and how often it runs round a pole."""
    rounds = np.rint(np.diff(ring[:, 0], append=ring[0, 0]) / 360)
    longitudes = ring[:, 0] - 360 * np.concatenate(([0.0], np.cumsum(rounds)[:-1]))
    longitudes -= 360 * floor((longitudes.min() + 180) / 360)
    return np.stack((longitudes, ring[:, 1]), axis=1), int(rounds.sum())


def side_by_side(parts: list[BaseGeometry]) -> list[BaseGeometry]:
    """Parts on both sides of the antimeridian, the western ones beyond 180."""
    if not parts:
        return parts
    west, east = min(part.bounds[0] for part in parts), max(part.bounds[2] for part in parts)
    if east - west <= 180:
        return parts
    return [_shifted(part, 360.0) if part.bounds[2] <= 0 else part for part in parts]


def _cut_finely(shape: Geometry) -> Geometry:
    box = shape.boundingbox
    return shape.segmented(max(box.span_x, box.span_y) / EDGE_PARTS)


def _whole(polygon: shapely.Polygon) -> BaseGeometry:
    ring, rounds = unrolled(shapely.get_coordinates(polygon.exterior))
    whole = _cap(ring) if rounds else shapely.make_valid(shapely.Polygon(ring))
    for interior in polygon.interiors:
        hole, rounds = unrolled(shapely.get_coordinates(interior))
        if not rounds:
            within = shapely.make_valid(shapely.Polygon(hole))
            whole -= shapely.union_all([_shifted(within, degrees) for degrees in (-360.0, 0.0, 360.0)])
    return whole


def _cap(ring: Ring) -> BaseGeometry:
    """The ground, from -180 to 180, between a ring round a pole and the pole."""
    pole = copysign(90.0, float(ring[:, 1].mean()))
    cap = shapely.make_valid(shapely.Polygon(np.concatenate((ring, [(ring[-1, 0], pole), (ring[0, 0], pole)]))))
    beyond = _shifted(shapely.clip_by_rect(cap, 180.0, -90.0, 540.0, 90.0), -360.0)
    return shapely.union(shapely.clip_by_rect(cap, -180.0, -90.0, 180.0, 90.0), beyond)


def _turned(area: Geometry, degrees: float) -> Geometry:
    return Geometry(_shifted(area.geom, degrees), area.crs)


def _shifted(shape: BaseGeometry, degrees: float) -> BaseGeometry:
    return shapely.transform(shape, lambda lonlat: lonlat + np.array([degrees, 0.0]))
