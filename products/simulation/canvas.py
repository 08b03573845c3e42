"""Where the simulated landscape lies, and which part of it each tile or row of a pass covers."""

from dataclasses import dataclass
from math import ceil

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, point

from products.simulation.fields import Mask

FINE_M = 10
LANDSAT_M = 30
LANDSAT_ANCHOR_M = 15
SNAP_M = 60
SOUTHERN_FALSE_NORTHING_M = 10_000_000


@dataclass(frozen=True, slots=True)
class Canvas:
    """A square of `size_px` Landsat pixels inside `fine_px` cells of 10 m; `left_m`, `top_m` are multiples of 60 m in
    the northern UTM zone."""

    zone: int
    southern: bool
    left_m: int
    top_m: int
    size_px: int

    @property
    def fine_px(self) -> int:
        """Cells per side: room for the Landsat grid, which starts 15 m inside, in steps of 60 m."""
        return ceil((self.size_px * 3 + 3) / 6) * 6

    @property
    def landsat_epsg(self) -> int:
        """Landsat products use the northern zone in both hemispheres."""
        return 32600 + self.zone

    @property
    def msi_epsg(self) -> int:
        """Sentinel-2 tiles use the southern zone south of the equator."""
        return (32700 if self.southern else 32600) + self.zone

    @property
    def landsat_geobox(self) -> GeoBox:
        """The whole landscape on the 30 m Landsat grid."""
        return self.landsat_frame(0, 0, self.size_px, self.size_px)

    @property
    def fine_geobox(self) -> GeoBox:
        """The whole canvas on 10 m cells, in the northern zone."""
        box = (self.left_m, self.top_m - self.fine_px * FINE_M, self.left_m + self.fine_px * FINE_M, self.top_m)
        return GeoBox.from_bbox(box, CRS(f"EPSG:{self.landsat_epsg}"), resolution=FINE_M, tight=True)

    def landsat_frame(self, row: int, column: int, height: int, width: int) -> GeoBox:
        """A window of the 30 m grid."""
        left = self.left_m + LANDSAT_ANCHOR_M + column * LANDSAT_M
        top = self.top_m - LANDSAT_ANCHOR_M - row * LANDSAT_M
        box = (left, top - height * LANDSAT_M, left + width * LANDSAT_M, top)
        return GeoBox.from_bbox(box, CRS(f"EPSG:{self.landsat_epsg}"), resolution=LANDSAT_M, tight=True)

    def msi_frame(self, row: int, column: int, height: int, width: int, resolution_m: int) -> GeoBox:
        """A window, given in 10 m cells, on the tile's grid of `resolution_m`."""
        left = self.left_m + column * FINE_M
        top = self.top_m + (SOUTHERN_FALSE_NORTHING_M if self.southern else 0) - row * FINE_M
        box = (left, top - height * FINE_M, left + width * FINE_M, top)
        return GeoBox.from_bbox(box, CRS(f"EPSG:{self.msi_epsg}"), resolution=resolution_m, tight=True)


def place_canvas(longitude: float, latitude: float, size_px: int) -> Canvas:
    """The canvas centred on a place, in its UTM zone."""
    zone = int((longitude + 180) // 6) % 60 + 1
    centre = point(longitude, latitude, CRS("EPSG:4326")).to_crs(CRS(f"EPSG:{32600 + zone}"))
    x, y = centre.coords[0]
    half_m = size_px * LANDSAT_M / 2
    left, top = round((x - half_m) / SNAP_M) * SNAP_M, round((y + half_m) / SNAP_M) * SNAP_M
    return Canvas(zone, latitude < 0, left, top, size_px)


@dataclass(frozen=True, slots=True)
class Edge:
    """A swath edge: pixels with `across * column + down * row < limit` are seen; unit: the canvas side."""

    across: float
    down: float
    limit: float

    def polygon(self) -> shapely.Polygon:
        """The seen side, as a polygon much larger than the canvas, in canvas sides."""
        normal = np.array([self.across, self.down]) / np.hypot(self.across, self.down)
        along = np.array([-normal[1], normal[0]])
        foot = normal * self.limit / np.hypot(self.across, self.down)
        corners = [foot + 9 * along, foot - 9 * along, foot - 9 * along - 9 * normal, foot + 9 * along - 9 * normal]
        return shapely.Polygon(corners)


@dataclass(frozen=True, slots=True)
class Frame:
    """A row or tile of a pass: its name, its window in base pixels (30 m or 10 m), and the swath edge that cuts it."""

    name: str
    row: int
    column: int
    height: int
    width: int
    edge: Edge | None

    def seen(self, side_px: int, step_px: int = 1) -> Mask:
        """Where the sensor looked, on the window's grid of `step_px` base pixels; True inside."""
        shape = (self.height // step_px, self.width // step_px)
        if self.edge is None:
            return np.ones(shape, dtype=bool)
        rows = (self.row + (np.arange(shape[0]) + 0.5) * step_px)[:, None] / side_px
        columns = (self.column + (np.arange(shape[1]) + 0.5) * step_px)[None, :] / side_px
        return np.asarray(self.edge.across * columns + self.edge.down * rows < self.edge.limit)

    def footprint(self, geobox: GeoBox, side_px: int) -> Geometry:
        """The true outline of valid data, EPSG:4326."""
        window = shapely.box(self.column, self.row, self.column + self.width, self.row + self.height)
        if self.edge is not None:
            window = window.intersection(shapely.transform(self.edge.polygon(), lambda xy: xy * side_px))
        window = shapely.transform(window, lambda xy: self._to_world(xy, geobox))
        return Geometry(shapely.geometry.polygon.orient(window), geobox.crs).to_crs("EPSG:4326")

    def _to_world(self, xy: NDArray[np.float64], geobox: GeoBox) -> NDArray[np.float64]:
        affine = geobox.affine
        scale = geobox.width / self.width
        column, row = (xy[:, 0] - self.column) * scale, (xy[:, 1] - self.row) * scale
        return np.column_stack([affine.c + affine.a * column, affine.f + affine.e * row])
