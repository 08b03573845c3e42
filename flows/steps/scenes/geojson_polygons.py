"""GeoJSON geometries of a catalogue as polygons in degrees, whole across the antimeridian."""

from math import isfinite
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flows.steps.archives.item_refused import ItemRefused, brief
from products.antimeridian import MAX_WIDTH_DEG, side_by_side, unrolled

MAX_VERTICES, MAX_VERTICES_TO_REPAIR = 20_000, 400


def lonlat_polygon(geometry: object) -> BaseGeometry:
    """The surface of a GeoJSON geometry, in one piece: beyond 180 across the antimeridian. ItemRefused if none."""
    if not isinstance(geometry, dict):
        raise ItemRefused("no geometry: expected a GeoJSON polygon")
    try:
        parts = [part for rings in _polygons(geometry) if not (part := _polygon(rings)).is_empty]
        whole = parts[0] if len(parts) == 1 else shapely.union_all(side_by_side(parts))
    except shapely.errors.ShapelyError as error:
        raise ItemRefused(f"unreadable geometry: {brief(str(error))}") from error
    if not whole.area > 0:
        raise ItemRefused(f"the geometry has no surface: expected a polygon, got {brief(geometry.get('type'))}")
    west, _, east, _ = whole.bounds
    if east - west > MAX_WIDTH_DEG:
        raise ItemRefused(f"the geometry wraps the world: it is {east - west:.0f} degrees wide")
    return whole


def is_one_ring(shape: BaseGeometry) -> bool:
    """Whether a shape is a polygon without holes."""
    return shape.geom_type == "Polygon" and not shapely.get_num_interior_rings(shape)


def _polygons(geometry: dict[str, Any]) -> list[list[NDArray[np.float64]]]:
    """The rings of each polygon of a GeoJSON geometry, (vertex, longitude and latitude)."""
    members = geometry.get("geometries") if geometry.get("type") == "GeometryCollection" else [geometry]
    rings: list[Any] = []
    for member in members if isinstance(members, list) else []:
        kind, coordinates = (member.get("type"), member.get("coordinates")) if isinstance(member, dict) else ("", None)
        if kind in ("Polygon", "MultiPolygon") and isinstance(coordinates, list | tuple):
            rings += [coordinates] if kind == "Polygon" else coordinates
    if not rings:
        raise ItemRefused(f"unreadable geometry: expected a polygon, got {brief(geometry.get('type'))}")
    try:
        if sum(len(ring) for polygon in rings for ring in polygon) > MAX_VERTICES:
            raise ItemRefused(f"unreadable geometry: more than {MAX_VERTICES} vertices")
        return [[_ring(ring) for ring in polygon] for polygon in rings if len(polygon)]
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        if isinstance(error, ItemRefused):
            raise
        raise ItemRefused(f"unreadable geometry: {geometry.get('type')} of {brief(rings)}") from error


def _ring(vertices: Any) -> NDArray[np.float64]:  # noqa: ANN401, whatever the item holds
    """A ring that starts in -180 to 180, whose longitudes run on across the antimeridian; ItemRefused for one that is not in degrees."""
    longitudes, latitudes = [float(vertex[0]) for vertex in vertices], [float(vertex[1]) for vertex in vertices]
    if len(longitudes) < 3:
        raise ItemRefused(f"unreadable geometry: a ring of {len(longitudes)} vertices")
    west, south, east, north = min(longitudes), min(latitudes), max(longitudes), max(latitudes)
    if not all(map(isfinite, (*longitudes, *latitudes))) or max(-west, east) > 540 or max(-south, north) > 90:
        raise ItemRefused(f"the geometry is not in degrees: it spans {west:g} to {east:g}, {south:g} to {north:g}")
    ring = np.array((longitudes, latitudes)).T
    if east - west > 180 and (abs(np.diff(ring[:, 0], append=ring[0, 0])) >= 360).any():
        raise ItemRefused("the geometry wraps the world: an edge is 360 degrees long")
    whole, rounds = unrolled(ring)
    if rounds:
        raise ItemRefused("the geometry runs round a pole")
    return whole


def _polygon(rings: list[NDArray[np.float64]]) -> BaseGeometry:
    west = rings[0][:, 0].min() if len(rings) > 1 else 0.0
    holes = [ring + np.array([360.0 if ring[:, 0].min() < west else 0.0, 0.0]) for ring in rings[1:]]
    polygon = shapely.Polygon(rings[0], holes)
    if polygon.is_valid:
        return polygon
    if len(shapely.get_coordinates(polygon)) > MAX_VERTICES_TO_REPAIR:
        raise ItemRefused("the geometry is invalid: its rings cross each other")
    return _surface(shapely.make_valid(polygon))


def _surface(shape: BaseGeometry) -> BaseGeometry:
    """The polygons of a shape, without the lines that making it valid may leave."""
    parts = [part for part in shapely.get_parts(shape) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts)
