"""The pixel grid of a product: one immutable lattice per CRS, cut into square tiles."""

import math
import re
from dataclasses import dataclass
from itertools import pairwise

import shapely
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

from products.errors import RequestError

METRES_PER_DEGREE = 111_320.0  # of latitude and of longitude at the equator, WGS 84
LANDSAT_ANCHOR_M = (
    15.0  # Landsat pixel edges lie 15 m off multiples of 30 m (USGS LSDS-1619, pixel centres on multiples of 30 m)
)

MAX_TILES = 1_000_000
LABEL = re.compile(r"[A-Za-z0-9]+_r(-?\d+)_c(-?\d+)")
CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]*:[A-Za-z0-9]+")
REACH_M = 40_000_000.0  # once round the earth: coordinates of ground that a CRS cannot show are larger, or infinite


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A square of `tile_px` pixels: row counts southwards and column eastwards from the anchor."""

    crs: str
    row: int
    column: int

    @property
    def label(self) -> str:
        """`32647_r-12_c3`."""
        return f"{self.crs.split(':')[-1]}_r{self.row}_c{self.column}"


def place_of(label: str) -> tuple[int, int]:
    """The row and the column of the tile that has a label; ValueError if no tile can have it."""
    found = LABEL.fullmatch(label)
    if found is None:
        raise ValueError(f"expected the label of a tile, such as 32647_r-12_c3, got {label!r}")
    return int(found[1]), int(found[2])


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """The lattice of one CRS. Lengths are in CRS units (metres)."""

    crs: str
    resolution_m: float
    tile_px: int
    anchor_m: float

    def geobox(self, tile: Tile, halo_px: int = 0) -> GeoBox:
        """The tile's GeoBox, (tile_px + 2 halo_px) squared."""
        side = self.tile_px * self.resolution_m
        left = self.anchor_m + tile.column * side - halo_px * self.resolution_m
        top = self.anchor_m - tile.row * side + halo_px * self.resolution_m
        size = self.tile_px + 2 * halo_px
        affine = Affine(self.resolution_m, 0.0, left, 0.0, -self.resolution_m, top)
        return GeoBox((size, size), affine, CRS(self.crs))

    def here(self, area: Geometry) -> Geometry:
        """An area given in any CRS on this one, its edges as bent as they are here."""
        step = _edge_step(area.crs, self.resolution_m * self.tile_px)
        return area.to_crs(CRS(self.crs), resolution=step, wrapdateline=False)

    def tiles(self, area: Geometry) -> tuple[Tile, ...]:
        """The tiles that share ground with an area given in any CRS, ordered by row and column; none beyond the reach of the CRS."""
        here = self.here(area)
        if not max(map(abs, here.boundingbox.bbox)) <= REACH_M:
            return ()
        ground = shapely.make_valid(here.geom)
        polygons = [part for part in shapely.get_parts(shapely.get_parts(ground)) if part.area]
        spans = [self._span(polygon) for polygon in polygons]
        together, *each = (len(rows) * len(columns) for rows, columns in (self._span(ground), *spans))
        n_tiles = min(together, sum(each))
        if n_tiles > MAX_TILES:
            raise RequestError(f"the area spans {n_tiles} tiles, at most {MAX_TILES} are allowed: ask for less ground")
        found: set[Tile] = set()
        for polygon, (rows, columns) in zip(polygons, spans, strict=True):
            beside = {Tile(self.crs, row, column) for row in rows for column in columns} - found
            found |= {tile for tile in beside if self.geobox(tile).extent.geom.intersection(polygon).area > 0}
        return tuple(sorted(found))

    def _span(self, shape: BaseGeometry) -> tuple[range, range]:
        """The rows and the columns of tiles that the box of a shape in the CRS meets."""
        side = self.tile_px * self.resolution_m
        left, bottom, right, top = shape.bounds
        rows = range(math.floor((self.anchor_m - top) / side), math.ceil((self.anchor_m - bottom) / side))
        return rows, range(math.floor((left - self.anchor_m) / side), math.ceil((right - self.anchor_m) / side))

    def mosaic(self, tiles: "tuple[Tile, ...]") -> GeoBox:
        """The smallest GeoBox of whole tiles that holds them all."""
        rows, columns = [tile.row for tile in tiles], [tile.column for tile in tiles]
        corner = self.geobox(Tile(self.crs, min(rows), min(columns)))
        shape = ((max(rows) - min(rows) + 1) * self.tile_px, (max(columns) - min(columns) + 1) * self.tile_px)
        return GeoBox(shape, corner.affine, CRS(self.crs))

    def pieces(
        self, tiles: "tuple[Tile, ...]", most_px: int, filled: float = math.inf
    ) -> "tuple[tuple[Tile, ...], ...]":
        """The tiles in groups whose mosaics share no pixel and have at most `most_px` pixels, or one tile; cut where there is most ground between tiles.

        Tiles that fill at least the share `filled` of their mosaic stay together, however many they are.
        """
        todo, done = [tiles], []
        while todo:
            group = todo.pop()
            size_px = math.prod(self.mosaic(group).shape)
            if len(group) == 1 or size_px <= most_px or len(group) * self.tile_px**2 >= filled * size_px:
                done.append(group)
            else:
                todo += _apart(group)
        return tuple(sorted(done))

    def sites(self, tiles: "tuple[Tile, ...]", filled: float) -> "tuple[tuple[Tile, ...], ...]":
        """The tiles in groups that fill at least the share `filled` of their mosaics, or that no band of rows or columns without a tile cuts."""
        todo, done = [tiles], []
        while todo:
            group = todo.pop()
            is_filled = len(group) * self.tile_px**2 >= filled * math.prod(self.mosaic(group).shape)
            if is_filled or len(group) == 1 or _widest_step(group)[0] == 1:
                done.append(group)
            else:
                todo += _apart(group)
        return tuple(sorted(done))


def _apart(tiles: tuple[Tile, ...]) -> list[tuple[Tile, ...]]:
    """The tiles in two groups: on both sides of the widest band of rows or columns without a tile, or in halves along the longer side where there is none."""
    width, start, axis = _widest_step(tiles)
    if width == 1:
        places = _numbers(tiles)
        axis = max(places, key=lambda name: len(places[name]))
        start = places[axis][len(places[axis]) // 2]
    return [tuple(tile for tile in tiles if (getattr(tile, axis) < start) is is_before) for is_before in (True, False)]


def _widest_step(tiles: tuple[Tile, ...]) -> tuple[int, int, str]:
    """The largest difference between rows or columns that follow each other, the one where it ends, and which of the two they are."""
    return max(
        (after - before, after, axis) for axis, found in _numbers(tiles).items() for before, after in pairwise(found)
    )


def _numbers(tiles: tuple[Tile, ...]) -> dict[str, list[int]]:
    """The rows and the columns that have a tile, in order."""
    return {axis: sorted({getattr(tile, axis) for tile in tiles}) for axis in ("row", "column")}


def no_tile(area: str, crs: str) -> RequestError:
    """What is said of an area that is beyond the reach of a CRS."""
    return RequestError(f"the area {area!r} holds no tile of {crs}: expected an area within the reach of that CRS")


def _edge_step(crs: CRS, side_m: float) -> float:
    """A quarter of a tile in units of `crs`: edges of an area are straight there, and curved on the grid."""
    return side_m / 4 / (METRES_PER_DEGREE if crs.geographic else 1.0)


def utm_crs(longitude: float, latitude: float) -> str:
    """The EPSG code of the UTM zone (WGS 84) that holds a point in degrees."""
    zone = min(int((longitude + 180) // 6) + 1, 60)
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


def checked_crs(text: str) -> CRS:
    """The CRS in metres named by an authority code, or RequestError."""
    unknown = f"unknown CRS {text!r}: expected an authority code such as EPSG:32647, or utm"
    if not CODE.fullmatch(text):
        raise RequestError(unknown)
    try:
        crs = CRS(text)
    except Exception as error:  # pyproj and odc-geo raise several unrelated types for an unknown code
        raise RequestError(unknown) from error
    if not crs.projected:
        raise RequestError(f"CRS {text!r} is not projected: features need metres; use utm or an equal-area CRS")
    for axis in crs.proj.axis_info:
        if axis.unit_conversion_factor != 1:
            raise RequestError(
                f"CRS {text!r} counts in {axis.unit_name}: expected one in metres, as utm or an equal-area CRS"
            )
    return crs
