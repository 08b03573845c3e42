"""The ground that a shape covers, its edges bent between their ends: what is searched for, and what may be found."""

from collections.abc import Callable
from math import atan, cos, degrees, inf, radians, tan

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

from products.antimeridian import LONLAT, Box, in_one_piece, unrolled
from products.grid import METRES_PER_DEGREE

TOLERANCE_M = 5.0  # by which a chord may lie beside the edge that it stands for
FEW_PARTS = (
    16  # into so many an edge is cut by what one look at it says: its parts are off by the square of their number less
)
MOST_PARTS, ROUNDS = 500, 4  # of the longest side of a shape; near a pole it is looked at again
LONGEST_EDGE_M = 200_000.0  # of a scene: Landsat's are 185 km long
GREAT_CIRCLE_PARTS = 16  # of an edge of a scene: a chord of 12.5 km is off by 25 m at most
MOST_TURN_DEG = 90.0  # of longitude along an edge of what is plainly no ground at a pole
STEEPEST_DEG = 84.0  # of latitude, as far as scenes reach in UTM; Landsat turns at 82.7
SIDEWAYS_M = 50.0  # by which such an edge in UTM or polar stereographic lies beside the great circle of its ends
RADIUS_M = METRES_PER_DEGREE * degrees(1)

ToLonlat = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]


def covered_ground(shape: Geometry) -> Geometry:
    """All ground of a shape of any CRS, in degrees and in one piece: within its edges as they are straight in its CRS, and as they are straight in degrees.

    GeoJSON draws edges straight in degrees (RFC 7946, 3.1.1), pixels lie along edges straight in the CRS. True to TOLERANCE_M.
    """
    fine = cut_to_bend(shape)
    if fine is shape:
        return in_one_piece(shape)
    bent = _in_degrees(fine)
    is_wide = bent.bounds[2] - bent.bounds[0] > MOST_TURN_DEG
    straight = in_one_piece(shape).geom if is_wide else _in_degrees(shape)
    turns = round((straight.bounds[0] - bent.bounds[0]) / 360)
    both = shapely.union(shapely.make_valid(straight), shapely.make_valid(_turned(bent, 360.0 * turns)))
    return Geometry(_turned(both, 360.0) if both.bounds[0] < -180 else both, LONLAT)


def cut_to_bend(shape: Geometry) -> Geometry:
    """A shape with so many places along its edges that none is off by more than TOLERANCE_M in degrees; itself where none is as it comes."""
    if shape.crs.geographic:
        return shape
    fine, to_lonlat = shape.geom, shape.crs.transformer_to_crs(LONLAT)
    left, bottom, right, top = fine.bounds
    least = max(right - left, top - bottom) / MOST_PARTS
    for _ in range(ROUNDS):
        length, n_parts = _length_within_tolerance(fine, to_lonlat)
        if n_parts == 1:
            break
        fine = shapely.segmentize(fine, max(length, least))
        if n_parts <= FEW_PARTS or length <= least:
            break
    return shape if fine is shape.geom else Geometry(fine, shape.crs)


def bend_deg(latitude: float) -> float:
    """By how much, degrees of latitude, an edge of a scene reaches nearer to the pole than the parallel of its ends, at most."""
    steep = tan(radians(min(abs(latitude), STEEPEST_DEG)))
    return degrees((LONGEST_EDGE_M / RADIUS_M) ** 2 / 8 * steep)


def with_bends(box: Box) -> Box:
    """A box in degrees with the ground beside it on which scenes have the ends of edges that reach into it: west, south, east, north."""
    west, south, east, north = box
    beside = SIDEWAYS_M / METRES_PER_DEGREE / cos(radians(min(max(-south, north), STEEPEST_DEG)))
    low = max(south - bend_deg(south), 0.0) if south > 0 else south
    high = min(north + bend_deg(north), 0.0) if north < 0 else north
    return west - beside, low, east + beside, high


def asked_box(box: Box) -> Box:
    """The box that an archive is asked for, which compares by edges straight in degrees: `with_bends`, within -180 to 180."""
    west, south, east, north = with_bends(box)
    return max(west, -180.0), south, min(east, 180.0), north


def with_great_circles(footprint: BaseGeometry) -> BaseGeometry:
    """The footprint of a scene in degrees, its edges along great circles, and SIDEWAYS_M more: what it covers whichever CRS its edges are straight in."""
    south, north = footprint.bounds[1::2]
    beside = SIDEWAYS_M / METRES_PER_DEGREE / cos(radians(min(max(-south, north), STEEPEST_DEG)))
    rings = [_great_circles(shapely.get_coordinates(part.exterior)) for part in shapely.get_parts(footprint)]
    return shapely.union_all(shapely.buffer([shapely.make_valid(shapely.Polygon(ring)) for ring in rings], beside))


def poleward(latitude: float, turn_deg: float) -> float:
    """The latitude nearest to the pole of a great circle between two places of one latitude, so many degrees of longitude apart."""
    return degrees(atan(tan(radians(latitude)) / cos(radians(turn_deg / 2))))


def _great_circles(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """A ring (vertex, longitude and latitude) with GREAT_CIRCLE_PARTS places along each edge; longitudes run on as they do in the ring."""
    lon, lat = np.radians(ring).T
    places = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    share = np.arange(GREAT_CIRCLE_PARTS) / GREAT_CIRCLE_PARTS
    x, y, z = places[:, :-1, None] * (1 - share) + places[:, 1:, None] * share
    chord = ring[:-1, :1] * (1 - share) + ring[1:, :1] * share
    longitudes = chord + _within_180(np.degrees(np.arctan2(y, x)) - chord)
    return np.stack([longitudes.ravel(), np.degrees(np.arctan2(z, np.hypot(x, y))).ravel()], axis=1)


def _length_within_tolerance(shape: BaseGeometry, to_lonlat: ToLonlat) -> tuple[float, int]:
    """How long an edge of a shape may be, in units of its CRS, and into how many parts that cuts the worst; infinite and 1 where none is off."""
    ends = shapely.get_coordinates(shape)
    along, n_edges = np.diff(ends, axis=0), len(ends) - 1
    lon, lat = to_lonlat(*np.concatenate([ends, ends[:-1] + along / 2]).T)
    (lon, middle_lon), (lat, middle_lat) = np.split(lon, [n_edges + 1]), np.split(lat, [n_edges + 1])
    with np.errstate(invalid="ignore"):  # beyond the edge of a CRS
        half_turn = _within_180(np.diff(lon)) / 2
        east = _within_180(middle_lon - lon[:-1] - half_turn) * np.cos(np.radians(middle_lat))
        north = middle_lat - (lat[:-1] + lat[1:]) / 2
    parts = np.ceil(np.sqrt(np.hypot(east, north) * METRES_PER_DEGREE / TOLERANCE_M))
    is_off = np.isfinite(parts) & (parts > 1)
    if not is_off.any():
        return inf, 1
    return float((np.hypot(*along[is_off].T) / parts[is_off]).min()), int(parts[is_off].max())


def _within_180(degrees_east: NDArray[np.float64]) -> NDArray[np.float64]:
    return (degrees_east + 180) % 360 - 180


def _in_degrees(shape: Geometry) -> BaseGeometry:
    """A shape in degrees and in one piece, its edges straight in degrees."""
    to_lonlat = shape.crs.transformer_to_crs(LONLAT)
    there = shapely.transform(shape.geom, lambda xy: np.column_stack(to_lonlat(*xy.T)))
    west, _, east, _ = there.bounds
    if east - west <= 180:
        return there
    if there.geom_type == "Polygon" and not shapely.get_num_interior_rings(there):
        ring, rounds = unrolled(shapely.get_coordinates(there))
        if not rounds and abs(np.diff(ring[:, 0])).max() < MOST_TURN_DEG:
            return shapely.Polygon(ring)
    return in_one_piece(shape).geom


def _turned(shape: BaseGeometry, degrees_east: float) -> BaseGeometry:
    return shapely.transform(shape, lambda lonlat: lonlat + np.array([degrees_east, 0.0])) if degrees_east else shape
