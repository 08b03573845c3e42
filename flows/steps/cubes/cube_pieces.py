"""A cube in pieces: where its sites lie far apart, each has a raster of its own and the ground between them none."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import shapely
import xarray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from flows.steps.cubes.held_tiles import FILLED, MOST_PX, held_tiles, tile_px
from flows.steps.cubes.open_cube import asked_stored, by_shards, geobox_of, stored_snapshot
from products.grid import PixelGrid, Tile

MOST_SHOWN_PX: Final = 2**24  # of a picture: 4096 x 4096
SHOWN: Final = 0.1  # of a picture, by tiles that are seen well in it

Window = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Sites:
    """A snapshot and, where its sites lie far apart, the first and last row and column, in tiles, of each; none where it is shown as one."""

    url: str
    options: Mapping[str, Any] | None = field(compare=False, repr=False)
    windows: tuple[Window, ...]

    def at(self, level: int = 0) -> list[xarray.Dataset]:
        """Each site as `open_snapshot` has it, from north to south; `level` above 0 is an overview."""
        stored = stored_snapshot(self.url, self.options, level)
        return _cut(stored, self.windows) if self.windows else [by_shards(stored)]


def find_sites(url: str, options: Mapping[str, Any] | None = None) -> Sites:
    """The sites of a snapshot for the eye: pieces, and these cut further while their tiles fill less than a tenth of them."""
    stored = stored_snapshot(url, options)
    if stored.sizes["y"] * stored.sizes["x"] <= MOST_SHOWN_PX:
        return Sites(url, options, ())
    grid, tiles = _tiles(url, options, stored)
    sites = [site for piece in grid.pieces(tiles, MOST_PX, FILLED) for site in grid.sites(piece, SHOWN)]
    return Sites(url, options, tuple(sorted(map(_window, sites))) if len(sites) > 1 else ())


def open_pieces(url: str, options: Mapping[str, Any] | None = None, most_px: int = MOST_PX) -> list[xarray.Dataset]:
    """A snapshot as `open_snapshot` has it; one of more than `most_px` pixels, most of them of no tile, in pieces. RequestError where there is none."""
    stored = asked_stored(url, options)
    if stored.sizes["y"] * stored.sizes["x"] <= most_px:
        return [by_shards(stored)]
    grid, tiles = _tiles(url, options, stored)
    return _cut(stored, map(_window, grid.pieces(tiles, most_px, FILLED)))


def piece_tails(pieces: Sequence[object]) -> list[str]:
    """What the names of the files of each piece end in: nothing where there is one, else `_1`, `_2`, …"""
    return [f"_{number}" for number in range(1, len(pieces) + 1)] if len(pieces) > 1 else [""]


def window_of(ground: Geometry, piece: GeoBox) -> tuple[slice, slice]:
    """The rows and the columns of a piece that the box around the ground on it covers, in the CRS of both; all where it has but the bulge of an edge."""
    clipped = shapely.clip_by_rect(shapely.make_valid(ground.geom), *piece.extent.boundingbox.bbox)
    on_it = piece.extent if clipped.is_empty else Geometry(clipped, ground.crs)
    rows, columns = piece.overlap_roi(piece.enclosing(on_it), tol=0.01)
    return rows, columns


def _tiles(url: str, options: Mapping[str, Any] | None, stored: xarray.Dataset) -> tuple[PixelGrid, tuple[Tile, ...]]:
    """The tiles of a cube, counted from its upper left corner, on a grid of their size."""
    held = held_tiles(url, options, stored)
    box = geobox_of(stored, str(stored.attrs["proj:code"]))
    grid = PixelGrid(str(box.crs), float(box.resolution.x), held.side_px, 0.0)
    return grid, tuple(sorted(Tile(grid.crs, row, column) for row, column in held.places))


def _window(tiles: Iterable[Tile]) -> Window:
    rows, columns = {tile.row for tile in tiles}, {tile.column for tile in tiles}
    return (min(rows), max(rows)), (min(columns), max(columns))


def _cut(stored: xarray.Dataset, windows: Iterable[Window]) -> list[xarray.Dataset]:
    side_px = tile_px(stored)
    parts = [[slice(first * side_px, (last + 1) * side_px) for first, last in window] for window in windows]
    return [by_shards(stored.isel(y=rows, x=columns)) for rows, columns in parts]
