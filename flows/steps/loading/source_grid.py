"""Where the pixels of a raster of another grid lie on a target: found once for all bands, and all dates, of one grid."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np
from affine import Affine
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, box
from rasterio.features import rasterize
from rasterio.windows import Window

from products.antimeridian import MAX_WIDTH_DEG, centre, in_one_piece, turned_shapes
from products.grid import METRES_PER_DEGREE
from products.window.lattice_warp import NODE_PX, Lattice
from products.window.resample import SQUARE_PX, Flags

_RASTERIZING = threading.Lock()  # rasterio mutes a warning of its own in-memory datasets, not safely in threads
KEPT_GRIDS: Final = 16  # a tile of Sentinel-2 has three, a scene of Landsat one, and masks a wider target
OUTLINE_PLACES: Final = 65  # on each edge of the target, to find what of the source lies around it
AROUND_DEG: Final = 1.0  # the ground of a file over much of the world is cut so far from the target
BESIDE_PX: Final = 4  # source pixels: those of a cubic, and what the edge bends between two places
PLACES_IN_SQUARE: Final = 4  # along each side of a square of the target
LEAST_COSINE: Final = 0.01  # of a latitude, as near a pole as a scale is worked out
Places = NDArray[np.float64]
IsNeeded = Callable[[int, int, int, int], bool]  # of a part of a raster: its top, left, bottom and right
Kept = TypeVar("Kept", NDArray[np.float64], NDArray[np.uint8])


def covered_by(ground: Geometry, geobox: GeoBox) -> NDArray[np.bool_]:
    """Whether the centre of each pixel (y, x) lies on a piece of ground in the CRS of the geobox."""
    with _RASTERIZING:
        burnt = rasterize([ground.geom], out_shape=geobox.shape, transform=geobox.affine, dtype="uint8")
    return burnt.astype(bool)


@dataclass(frozen=True, slots=True)
class SourceGrid:
    """The pixels of a raster."""

    shape: tuple[int, int]
    transform: Affine
    crs: CRS

    @classmethod
    def of(cls, source: Any) -> "SourceGrid":  # noqa: ANN401
        """Those of an open rasterio dataset."""
        return cls((source.height, source.width), source.transform, CRS(source.crs))

    @property
    def ground(self) -> Geometry:
        """What they cover, in their CRS."""
        return GeoBox(self.shape, self.transform, self.crs).extent

    def sides(self, units: tuple[float, float] = (1.0, 1.0)) -> tuple[float, float]:
        """The lengths of a pixel along a row and along a column, however the grid is turned; `units`: the lengths of a unit of its CRS along x and y."""
        (x, y), grid = units, self.transform
        return math.hypot(grid.a * x, grid.d * y), math.hypot(grid.b * x, grid.e * y)

    def places(self, geobox: GeoBox, column: Places, row: Places) -> tuple[Places, Places]:
        """Columns and rows here of places on the target, in pixels of each from the upper left corner; infinite where there is none."""
        assert geobox.crs is not None
        x, y = geobox.crs.transformer_to_crs(self.crs)(*(geobox.affine * (column, row)))
        columns, rows = ~self.transform * (np.asarray(x, np.float64), np.asarray(y, np.float64))
        return columns, rows

    def window_around(self, geobox: GeoBox, beside_px: int = BESIDE_PX) -> Window | None:
        """The pixels that may lie under the target or beside it; None where there are none. All, where the map of the source does not hold the target."""
        y, x = np.linspace(0, geobox.height, OUTLINE_PLACES), np.linspace(0, geobox.width, OUTLINE_PLACES)
        column = np.concatenate([x, x, np.zeros_like(y), np.full_like(y, geobox.width)])
        row = np.concatenate([np.zeros_like(x), np.full_like(x, geobox.height), y, y])
        edges, (height, width) = self.places(geobox, column, row), self.shape
        if not np.isfinite(edges).all():
            return Window(0, 0, width, height)
        (left, right), (top, bottom) = (
            (max(math.floor(places.min()) - beside_px, 0), min(math.ceil(places.max()) + beside_px, size))
            for places, size in zip(edges, (width, height), strict=True)
        )
        return None if left >= right or top >= bottom else Window(left, top, right - left, bottom - top)

    def turn(self, geobox: GeoBox) -> float:
        """By how many degrees, 0 to 45, rows of the target are turned against rows or columns here, at the centre."""
        assert geobox.crs is not None
        height, width = self.shape
        (x, y), side = self.transform * (width / 2, height / 2), min(self.sides())
        there = self.crs.transformer_to_crs(geobox.crs)
        (x0, x1), (y0, y1) = there(np.array([x, x + side]), np.array([y, y]))
        angle = math.degrees(math.atan2(y1 - y0, x1 - x0)) % 90
        return min(angle, 90 - angle)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Where a target lies on a raster.

    `n_covered` pixels of the target have their centre on it, those of `bits` in the order of rows; `along_row` and `along_column`: the sides of a pixel of the
    raster in units of the target's CRS.
    """

    n_covered: int
    bits: NDArray[np.uint8]
    along_row: float
    along_column: float

    def covered(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Whether each pixel of the target (y, x) has its centre on the raster."""
        return np.unpackbits(self.bits, count=shape[0] * shape[1]).reshape(shape).view(np.bool_)


@lru_cache(KEPT_GRIDS)
def overlap(grid: SourceGrid, geobox: GeoBox) -> Overlap:
    """How a target lies on a raster of another grid."""
    ground = grid.ground
    covered = np.zeros(geobox.shape, np.bool_)
    for piece in _pieces(ground, geobox):
        covered |= covered_by(piece.to_crs(geobox.crs, resolution=min(grid.sides()) * 16), geobox)
    sides = grid.sides(_units_in(ground, CRS(geobox.crs)))
    return Overlap(int(np.count_nonzero(covered)), _kept(np.packbits(covered)), *sides)


@dataclass(frozen=True, slots=True)
class TargetLattice:
    """How the pixels of a target lie in a raster.

    `window`: the pixels that it is made of, at least; `lattice` begins at its first. `turn_deg`: how its rows are turned; `source_px`: how many pixels of the
    raster lie along a side of one of its own. `squares` (edge, square y, square x): top, left, bottom and right, in pixels of the raster, of what each square
    of `SQUARE_PX` target pixels is made of, at most.
    """

    window: Window
    lattice: Lattice
    turn_deg: float
    source_px: float
    squares: Places

    def needed(self, wanted: Flags) -> IsNeeded:
        """Whether a part of the raster is needed for squares that are wanted (square y, square x)."""
        tops, lefts, bottoms, rights = self.squares[:, wanted]

        def is_needed(top: int, left: int, bottom: int, right: int) -> bool:
            return bool(((tops < bottom) & (lefts < right) & (bottoms > top) & (rights > left)).any())

        return is_needed


@lru_cache(KEPT_GRIDS)
def lattice_of(grid: SourceGrid, geobox: GeoBox) -> TargetLattice | None:
    """Nodes at whole multiples of their distance from the origin of the target's CRS, so that they are the same for any crop; None where some have no place, or
    nothing of the raster lies there.
    """
    left, top = geobox.affine.c / geobox.affine.a, geobox.affine.f / geobox.affine.e
    (first_x, last_x), (first_y, last_y) = (
        (math.floor(start / NODE_PX) - 1, math.floor((start + size) / NODE_PX) + 2)
        for start, size in ((left, geobox.width), (top, geobox.height))
    )
    y, x = np.mgrid[first_y : last_y + 1, first_x : last_x + 1] * float(NODE_PX)
    columns, rows = grid.places(geobox, x - left, y - top)
    window = grid.window_around(geobox)
    if window is None or not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        return None
    moved = _kept(columns - window.col_off), _kept(rows - window.row_off)
    lattice = Lattice(*moved, top / NODE_PX - first_y, left / NODE_PX - first_x)
    source_px = geobox.resolution.x / min(grid.sides())
    return TargetLattice(window, lattice, grid.turn(geobox), source_px, _kept(_around_squares(grid, geobox)))


def _around_squares(grid: SourceGrid, geobox: GeoBox) -> Places:
    """`squares` of a `TargetLattice`: around places in each square, and beside them what a cubic takes and what the ground bends between two of them."""
    n_rows, n_columns = -(-geobox.height // SQUARE_PX), -(-geobox.width // SQUARE_PX)
    row, column = np.mgrid[: n_rows * PLACES_IN_SQUARE + 1, : n_columns * PLACES_IN_SQUARE + 1]
    apart_px = SQUARE_PX / PLACES_IN_SQUARE
    across, down = grid.places(geobox, column * apart_px, row * apart_px)
    if not (np.isfinite(across).all() and np.isfinite(down).all()):
        return np.tile(np.reshape([0.0, 0.0, *map(float, grid.shape)], (4, 1, 1)), (1, n_rows, n_columns))
    edges = []
    for places in (down, across):
        beside_px = BESIDE_PX + max(np.abs(np.diff(places, 2, axis)).max() for axis in (0, 1))
        among = sliding_window_view(places, (PLACES_IN_SQUARE + 1,) * 2)[::PLACES_IN_SQUARE, ::PLACES_IN_SQUARE]
        edges.append((among.min(axis=(2, 3)) - beside_px, among.max(axis=(2, 3)) + beside_px))
    (top, bottom), (left, right) = edges
    return np.stack([top, left, bottom, right])


def _kept(numbers: Kept) -> Kept:
    """An array that nobody may write to, since it is handed out again."""
    numbers.flags.writeable = False
    return numbers


def _pieces(ground: Geometry, geobox: GeoBox) -> list[Geometry]:
    """The ground of a file in its CRS; of a file over much of the world, which no map of metres shows whole, what lies around the target."""
    if not ground.crs.geographic or ground.boundingbox.span_x <= MAX_WIDTH_DEG:
        return [ground]
    around = in_one_piece(geobox.extent).boundingbox.buffered(AROUND_DEG)
    readable = ground & box(-180, -90, 180, 90, ground.crs)  # GDAL finds nothing at longitudes beyond 180
    pieces = [readable & turned for turned in turned_shapes(box(*around.bbox, ground.crs))]
    return [piece for piece in pieces if piece.area > 0]


def _units_in(ground: Geometry, target: CRS) -> tuple[float, float]:
    """The lengths of a unit of a file's CRS along x and y, in units of the target's, at the centre of the file's ground."""
    if ground.crs.geographic == target.geographic:
        return 1.0, 1.0
    _, latitude = centre(ground)
    degrees = METRES_PER_DEGREE * max(math.cos(math.radians(latitude)), LEAST_COSINE), METRES_PER_DEGREE
    return degrees if ground.crs.geographic else (1 / degrees[0], 1 / degrees[1])
