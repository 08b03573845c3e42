"""Grids, footprint and extent of a scene as EO3 writes them."""

from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from flows.steps.scenes.convex_ring import Box, bent_bounds_of
from flows.steps.scenes.footprint import AssetGrid
from flows.steps.scenes.geojson_polygons import is_one_ring


def named_grids(grids: dict[str, AssetGrid]) -> tuple[dict[str, str], dict[str, AssetGrid]]:
    """The name of each band's grid, and the grids by name: the finest is EO3's default, others go by their pixel size in CRS units."""
    # Most bands share the very same few grids.
    same = {id(grid): grid for grid in grids.values()}
    finest_first = sorted(dict.fromkeys(same.values()), key=lambda grid: (abs(grid.transform[0]), grid.transform))
    named: dict[str, AssetGrid] = {}
    for grid in finest_first:
        name = f"g{abs(grid.transform[0]):g}".replace(".", "p") if named else "default"
        named[name if name not in named else f"{name}_{len(named)}"] = grid
    names = {grid: name for name, grid in named.items()}
    of = {number: names[grid] for number, grid in same.items()}
    return {band: of[id(grid)] for band, grid in grids.items()}, named


def geojson_footprint(shape: BaseGeometry) -> dict[str, Any]:
    """GeoJSON of the polygons of a shape, exteriors counter-clockwise."""
    shape = _polygonal(shape)
    if is_one_ring(shape):
        return {"type": "Polygon", "coordinates": [shapely.get_coordinates(shape).tolist()]}
    polygons = [[_ring(one.exterior), *map(_ring, one.interiors)] for one in shapely.get_parts(shape)]
    is_one = shape.geom_type == "Polygon"
    return {"type": shape.geom_type, "coordinates": polygons[0] if is_one else polygons}


def _polygonal(shape: BaseGeometry) -> BaseGeometry:
    """The polygons of a shape, exteriors counter-clockwise, without the lines that making it valid may leave."""
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        shape = shapely.union_all([part for part in shapely.get_parts(shape) if part.geom_type.endswith("Polygon")])
    return shapely.orient_polygons(shape)


def _ring(ring: shapely.LinearRing) -> list[list[float]]:
    coordinates: list[list[float]] = shapely.get_coordinates(ring).tolist()
    return coordinates


def grid_spatial(crs: str, grid: AssetGrid, geometry: dict[str, Any]) -> dict[str, Any]:
    """Corners and footprint in the CRS, as datacube's `prep_eo3` writes it."""
    corners = zip(("ul", "ur", "lr", "ll"), grid.corners, strict=True)
    points = {name: {"x": x, "y": y} for name, (x, y) in corners}
    return {"projection": {"spatial_reference": crs, "geo_ref_points": points, "valid_data": geometry}}


def bent_bounds(shape: BaseGeometry) -> Box:
    """The bounds of the polygons of a shape in degrees whose edges are great circles."""
    bounds = [bent_bounds_of(part.exterior.coords) for part in shapely.get_parts(shape)]
    west, south, east, north = zip(*bounds, strict=True)
    return min(west), min(south), max(east), max(north)


def extent(bounds: Box) -> dict[str, dict[str, float]]:
    """Bounds in degrees, beyond 180 across the antimeridian."""
    west, south, east, north = bounds
    return {"lon": {"begin": west, "end": east}, "lat": {"begin": south, "end": north}}
