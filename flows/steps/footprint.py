"""Where a STAC item lies: its footprint, coordinate system and pixel grids."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import rasterio
import shapely
from odc.geo.crs import CRS
from odc.geo.geom import Geometry
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from flows.steps.item_refused import ItemRefused


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """Rows and columns, and the affine pixel-to-CRS transform (a, b, c, d, e, f)."""

    shape: tuple[int, int]
    transform: tuple[float, ...]

    @property
    def outline(self) -> BaseGeometry:
        """The rectangle of the grid, in its CRS."""
        (rows, columns), (a, b, c, d, e, f) = self.shape, self.transform
        corners = ((0, 0), (columns, 0), (columns, rows), (0, rows))
        return shapely.Polygon([(a * x + b * y + c, d * x + e * y + f) for x, y in corners])


FileGrid = tuple[str, PixelGrid]
ReadGrid = Callable[[str], FileGrid | None]


def lonlat_footprint(item: dict[str, Any]) -> BaseGeometry:
    """The footprint in degrees, in one piece: beyond 180 across the antimeridian. ItemRefused if there is none."""
    geometry = item.get("geometry")
    if not isinstance(geometry, dict):
        raise ItemRefused("no geometry: expected a GeoJSON polygon")
    try:
        shape = shapely.geometry.shape(geometry)
        whole = shapely.make_valid(shapely.union_all([_unwrapped(part) for part in _polygons(shape)]))
    except (shapely.errors.ShapelyError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ItemRefused(f"unreadable geometry: {error}") from error
    if not whole.area > 0:
        raise ItemRefused(f"the geometry has no surface: expected a polygon, got {geometry.get('type')}")
    return whole


def grids_of(
    item: dict[str, Any], assets: dict[str, dict[str, Any]], hrefs: dict[str, str], read_grid: ReadGrid
) -> tuple[CRS, dict[str, PixelGrid]]:
    """The CRS and the grid of each band, as the item states them; where it states none, as the file beside it says."""
    properties = item["properties"]
    crs = _stated_crs([properties, *assets.values()])
    grids: dict[str, PixelGrid] = {}
    read: FileGrid | None = None
    for band, asset in assets.items():
        stated = _stated_grid(asset) or _stated_grid(properties)
        if stated is None or crs is None:
            read = read_grid(hrefs[band]) or read
            if read is None:
                raise ItemRefused(
                    f"no grid for {band}: expected proj:shape, proj:transform and proj:code, "
                    "or a readable file beside the item"
                )
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
        with rasterio.open(href) as raster:
            if raster.crs is None:
                return None
            return raster.crs.to_string(), PixelGrid(raster.shape, tuple(raster.transform)[:6])
    except rasterio.errors.RasterioError:
        return None


def located_crs(crs: CRS, grid: PixelGrid, footprint: BaseGeometry) -> tuple[CRS, str | None]:
    """The stated CRS if it puts the grid on the footprint, else the UTM zone that does, with a note; or ItemRefused."""
    if grid.outline.intersects(project(footprint, crs)):
        return crs, None
    longitude = (footprint.centroid.x + 180) % 360 - 180
    zone = int((longitude + 180) // 6) % 60 + 1
    for epsg in (32600 + zone, 32700 + zone):
        placed = project(footprint, CRS(f"EPSG:{epsg}"))
        if grid.outline.intersection(placed).area > 0.5 * placed.area:
            return CRS(f"EPSG:{epsg}"), f"stated {crs} puts the grid elsewhere; EPSG:{epsg} puts it on the geometry"
    raise ItemRefused(f"the grid in {crs} does not meet the geometry of the item, nor does it in UTM zone {zone}")


def project(footprint: BaseGeometry, crs: CRS) -> BaseGeometry:
    """A footprint in degrees, projected and valid."""
    return shapely.make_valid(Geometry(footprint, CRS("EPSG:4326")).to_crs(crs).geom)


def _polygons(shape: BaseGeometry) -> list[shapely.Polygon]:
    parts = [part for part in shapely.get_parts(shape) if isinstance(part, shapely.Polygon)]
    if not parts:
        raise ValueError(f"expected a polygon, got {shape.geom_type}")
    west = min(part.bounds[0] for part in parts)
    east = max(part.bounds[2] for part in parts)
    if east - west > 180 and len(parts) > 1:
        return [_shifted(part) if part.centroid.x < 0 else part for part in parts]
    return parts


def _unwrapped(part: shapely.Polygon) -> BaseGeometry:
    """A polygon whose ring jumps from 180 to -180 without saying so, made continuous."""
    west, _, east, _ = part.bounds
    longitudes = shapely.get_coordinates(part)[:, 0]
    jumps = abs(longitudes[1:] - longitudes[:-1]) > 180
    return shapely.make_valid(_shifted(part) if east - west > 180 and jumps.any() else part)


def _shifted(part: shapely.Polygon) -> shapely.Polygon:
    """A polygon whose western longitudes count on beyond 180."""
    return shapely.transform(shapely.force_2d(part), lambda xy: xy + [360, 0] * (xy[:, :1] < 0))


def _stated_crs(places: list[dict[str, Any]]) -> CRS | None:
    for place in places:
        epsg = place.get("proj:epsg")
        text = place.get("proj:code") or (f"EPSG:{epsg}" if epsg else None) or place.get("proj:wkt2")
        if text:
            try:
                return CRS(text)
            except (CRSError, ValueError) as error:
                raise ItemRefused(f"unknown coordinate system {text!r}") from error
    return None


def _stated_grid(place: dict[str, Any]) -> PixelGrid | None:
    shape, transform = place.get("proj:shape"), place.get("proj:transform")
    if not shape or not transform:
        return None
    try:
        rows, columns = (int(n) for n in shape)
        a, b, c, d, e, f = (float(n) for n in transform[:6])
    except (TypeError, ValueError) as error:
        raise ItemRefused(f"unreadable grid: proj:shape {shape!r}, proj:transform {transform!r}") from error
    if rows <= 0 or columns <= 0 or a * e - b * d == 0 or not all(map(isfinite, (a, b, c, d, e, f))):
        raise ItemRefused(f"impossible grid: proj:shape {shape!r}, proj:transform {transform!r}")
    return PixelGrid((rows, columns), (a, b, c, d, e, f))
