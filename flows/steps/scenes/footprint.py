"""Where a STAC item lies: the grids of its bands, and the coordinate system that puts them on its footprint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from odc.geo.crs import CRS
from shapely.geometry.base import BaseGeometry

from flows.steps.archives.item_refused import ItemRefused, brief
from flows.steps.archives.raster_drivers import driver_of, require_self_contained
from flows.steps.scenes.convex_ring import Box, Ring, area_of, bounds_of, turn_of
from flows.steps.scenes.coordinate_systems import candidate_systems, from_lonlat, stated_crs
from flows.steps.scenes.geojson_polygons import is_one_ring, lonlat_polygon

MAX_PX = 100_000
LEAST_OVERLAP, ROUNDING = 0.5, 0.01


@dataclass(frozen=True, slots=True)
class AssetGrid:
    """Rows and columns, and the affine pixel-to-CRS transform (a, b, c, d, e, f)."""

    shape: tuple[int, int]
    transform: tuple[float, ...]

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """Upper left, upper right, lower right and lower left, in the CRS."""
        (rows, columns), (a, b, c, d, e, f) = self.shape, self.transform
        pixels = ((0, 0), (columns, 0), (columns, rows), (0, rows))
        return tuple((a * x + b * y + c, d * x + e * y + f) for x, y in pixels)

    @property
    def outline(self) -> BaseGeometry:
        """The rectangle of the grid, in its CRS."""
        return shapely.Polygon(self.corners)


@dataclass(frozen=True, slots=True)
class Located:
    """The CRS of the grid, the footprint in it, and a note where it is not the CRS that the item states."""

    crs: CRS
    footprint: BaseGeometry
    note: str | None = None


FileGrid = tuple[str, AssetGrid]
ReadGrid = Callable[[str], FileGrid | None]


def lonlat_footprint(item: dict[str, Any]) -> BaseGeometry:
    """The footprint in degrees, in one piece: beyond 180 across the antimeridian. ItemRefused if there is none."""
    return lonlat_polygon(item.get("geometry"))


def grids_of(
    item: dict[str, Any], assets: dict[str, dict[str, Any]], hrefs: dict[str, str], read_grid: ReadGrid
) -> tuple[CRS, dict[str, AssetGrid]]:
    """The CRS and the grid of each band, as the item states them; where it states none, as the file beside it says."""
    properties = item["properties"]
    crs = stated_crs(properties)
    for asset in assets.values():
        own = stated_crs(asset)
        if crs is not None and own is not None and str(own) != str(crs):
            raise ItemRefused(f"two coordinate systems in one item: {crs} and {own}")
        crs = crs or own
    common = _stated_grid(properties)
    grids: dict[str, AssetGrid] = {}
    read: FileGrid | None = None
    for band, asset in assets.items():
        stated = _stated_grid(asset) or common
        if stated is None or crs is None:
            read = read_grid(hrefs[band]) or read
            if read is None:
                missing = "proj:shape and proj:transform" if crs else "proj:code, proj:shape and proj:transform"
                raise ItemRefused(f"no grid for {band}: expected {missing}, or a readable file beside the item")
            crs, stated = crs or CRS(read[0]), stated or read[1]
        grids[band] = stated
    if crs is None:
        raise ItemRefused("no coordinate system: expected proj:code or proj:epsg")
    return crs, grids


def read_file_grid(href: str) -> FileGrid | None:
    """The CRS and grid in the header of a local raster; None for a remote or unreadable one."""
    if not Path(href).is_file():
        return None
    try:
        with rasterio.open(href, driver=driver_of(href)) as raster:
            require_self_contained(raster)
            if raster.crs is None:
                return None
            return raster.crs.to_string(), AssetGrid(raster.shape, tuple(raster.transform)[:6])
    except rasterio.errors.RasterioError:
        return None


def locate(crs: CRS, grid: AssetGrid, footprint: BaseGeometry) -> Located:
    """The footprint in the stated CRS if that puts the grid on it, else in the system that does; or ItemRefused."""
    placed = project(footprint, crs)
    if _meet(grid, placed):
        return Located(crs, placed)
    longitude, latitude = (footprint.centroid.x + 180) % 360 - 180, footprint.centroid.y
    for other in candidate_systems(longitude, latitude):
        placed = project(footprint, other)
        if _meet(grid, placed):
            note = f"stated {crs} puts the grid elsewhere; {other} puts it on the geometry"
            return Located(other, placed, note)
    raise ItemRefused(
        f"the grid in {crs} does not meet the geometry of the item at longitude {longitude:.2f} and latitude "
        f"{latitude:.2f}, nor does it in any UTM zone there"
    )


def project(footprint: BaseGeometry, crs: CRS) -> BaseGeometry:
    """A footprint in degrees, projected and valid; empty where the CRS cannot show it."""
    x, y = shapely.get_coordinates(footprint).T.copy()
    xy = np.column_stack(from_lonlat(str(crs)).transform(x, y, inplace=True))
    if not np.isfinite(xy).all():
        return shapely.Polygon()
    if is_one_ring(footprint):
        shape = shapely.Polygon(xy)
    else:
        shape = shapely.transform(footprint, lambda _: xy)
    return shape if shape.is_valid else shapely.make_valid(shape)


def project_rings(rings: Sequence[Ring], crs: CRS) -> list[Ring]:
    """Rings in degrees, projected in one call."""
    x, y = (np.array([vertex[axis] for ring in rings for vertex in ring]) for axis in (0, 1))
    x, y = from_lonlat(str(crs)).transform(x, y, inplace=True)
    vertices = iter(zip(x.tolist(), y.tolist(), strict=True))
    return [list(islice(vertices, len(ring))) for ring in rings]


def turn_inside(grid: AssetGrid, ring: Ring) -> int:
    """The turn of a projected convex ring that a grid plainly holds most of; 0 is no answer: `locate` gives one."""
    turn = turn_of(ring) if all(map(isfinite, chain.from_iterable(ring))) else 0
    return turn if turn and _holds_most(grid, ring) else 0


def _holds_most(grid: AssetGrid, ring: Ring) -> bool:
    west, south, east, north = bounds = bounds_of(ring)
    if _holds(grid, bounds):
        return True
    a, b, _, d, e, _ = grid.transform
    if b or d or a < 0 or e > 0:
        return False
    (left, top), _, (right, bottom), _ = grid.corners
    shared = max(0.0, min(east, right) - max(west, left)) * max(0.0, min(north, top) - max(south, bottom))
    outside, area = (east - west) * (north - south) - shared, area_of(ring)
    return area - outside > (LEAST_OVERLAP + ROUNDING) * area


def _holds(grid: AssetGrid, bounds: Box) -> bool:
    """Whether bounds are inside a grid, but for an edge of two pixels."""
    west, south, east, north = bounds
    (left, top), _, (right, bottom), _ = grid.corners
    a, b, _, d, _, _ = grid.transform
    edge = 2 * a
    is_large = b == d == 0 and min(east - west, north - south) > 50 * edge > 0
    return is_large and min(west - left, right - east, south - bottom, top - north) >= -edge


def _meet(grid: AssetGrid, placed: BaseGeometry) -> bool:
    """Whether a grid holds at least half of a footprint."""
    if _holds(grid, placed.bounds):
        return True
    return bool(placed.area > 0 and grid.outline.intersection(placed).area > LEAST_OVERLAP * placed.area)


def _stated_grid(place: dict[str, Any]) -> AssetGrid | None:
    shape, transform = place.get("proj:shape"), place.get("proj:transform")
    if not shape or not transform:
        return None
    try:
        return _grid(tuple(shape), tuple(transform))
    except (TypeError, ValueError, OverflowError) as error:
        raise ItemRefused(
            f"impossible grid: expected rows, columns and an affine transform in proj:shape {brief(shape)} "
            f"and proj:transform {brief(transform)}"
        ) from error


@lru_cache(maxsize=4096)
def _grid(shape: tuple[Any, ...], transform: tuple[Any, ...]) -> AssetGrid:
    """The grid of two lists of an item; TypeError, ValueError or OverflowError if they make none."""
    rows, columns = (int(n) for n in shape)
    a, b, c, d, e, f = (float(n) for n in transform[:6])
    if not (0 < rows <= MAX_PX and 0 < columns <= MAX_PX and a * e - b * d and all(map(isfinite, (a, b, c, d, e, f)))):
        raise ValueError("impossible grid")
    return AssetGrid((rows, columns), (a, b, c, d, e, f))
