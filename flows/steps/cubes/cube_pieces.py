"""A cube in pieces: where its sites lie far apart, each has a raster of its own and the ground between them none."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import shapely
import xarray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from flows.steps.cubes.cube_plan import missing_in
from flows.steps.cubes.open_cube import asked_stored, by_shards, geobox_of
from flows.steps.storage import storage_at
from products.grid import PixelGrid, Tile, place_of

MOST_PX: Final = 2**28  # of a raster: 16384 x 16384
FILLED: Final = 0.5  # of a raster, by tiles that are not taken apart
ROUNDING: Final = 1e-6  # of a tile, in coordinates of its corner


def open_pieces(url: str, options: Mapping[str, Any] | None = None, most_px: int = MOST_PX) -> list[xarray.Dataset]:
    """A snapshot as `open_snapshot` has it; one of more than `most_px` pixels, most of them of no tile, in pieces. RequestError where there is none."""
    stored = asked_stored(url, options)
    if stored.sizes["y"] * stored.sizes["x"] <= most_px:
        return [by_shards(stored)]
    side_px = _tile_px(stored)
    box = geobox_of(stored, str(stored.attrs["proj:code"]))
    grid = PixelGrid(str(box.crs), float(box.resolution.x), side_px, 0.0)
    places = {*_held(url, options, stored), *_missing(stored, side_px)}
    tiles = tuple(sorted(Tile(grid.crs, row, column) for row, column in places))
    found = []
    for piece in grid.pieces(tiles, most_px, FILLED):
        rows, columns = (_span((getattr(tile, axis) for tile in piece), side_px) for axis in ("row", "column"))
        found.append(by_shards(stored.isel(y=rows, x=columns)))
    return found


def piece_tails(pieces: Sequence[object]) -> list[str]:
    """What the names of the files of each piece end in: nothing where there is one, else `_1`, `_2`, …"""
    return [f"_{number}" for number in range(1, len(pieces) + 1)] if len(pieces) > 1 else [""]


def window_of(ground: Geometry, piece: GeoBox) -> tuple[slice, slice]:
    """The rows and the columns of a piece that the box around the ground on it covers, in the CRS of both; all where it has but the bulge of an edge."""
    clipped = shapely.clip_by_rect(shapely.make_valid(ground.geom), *piece.extent.boundingbox.bbox)
    on_it = piece.extent if clipped.is_empty else Geometry(clipped, ground.crs)
    rows, columns = piece.overlap_roi(piece.enclosing(on_it), tol=0.01)
    return rows, columns


def _tile_px(stored: xarray.Dataset) -> int:
    encoding = next(iter(stored.data_vars.values())).encoding
    return int((encoding.get("shards") or encoding["chunks"])[-1])


def _held(url: str, options: Mapping[str, Any] | None, stored: xarray.Dataset) -> Iterator[tuple[int, int]]:
    """Row and column, from the upper left corner of the cube, of each tile that has a shard."""
    place, array = storage_at(url, options), next(iter(stored.data_vars))
    for path in place.files(f"{place.root.rstrip('/')}/{array}/c"):
        row, column = path.split("/")[-2:]
        yield int(row), int(column)


def _missing(stored: xarray.Dataset, side_px: int) -> Iterator[tuple[int, int]]:
    """Row and column, from the upper left corner of the cube, of each tile that it is said to lack in a period."""
    affine = stored.odc.geobox.affine
    side = side_px * affine.a
    first_row, first_column = math.ceil(-affine.f / side - ROUNDING), math.floor(affine.c / side + ROUNDING)
    for tile, _ in missing_in(stored.attrs):
        row, column = place_of(tile)
        yield row - first_row, column - first_column


def _span(places: Iterable[int], side_px: int) -> slice:
    found = set(places)
    return slice(min(found) * side_px, (max(found) + 1) * side_px)
