"""Which tiles of a cube there are: of sites across oceans nearly all of its box is ground that no tile covers."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import odc.geo.xr  # noqa: F401 - gives the datasets `.odc`
import xarray

from flows.steps.cubes.cube_plan import missing_in
from flows.steps.storage import storage_at
from products.grid import place_of

MOST_PX: Final = 2**28  # of a raster: 16384 x 16384
FILLED: Final = 0.5  # of a raster, by tiles that are not taken apart
LEAST_CHUNK_PX: Final = 1024  # shards of smaller tiles are read several at a time
EMPTY_CHUNK_PX: Final = 8192  # a side: a chunk of ground without tiles, 256 MiB as float32
ROUNDING: Final = 1e-6  # of a tile, in coordinates of its corner

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class HeldTiles:
    """Row and column, from the upper left corner of a cube, of each tile that has a shard or that the cube is said to lack in a period."""

    side_px: int
    places: frozenset[Place]

    def chunks(self, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Sides in pixels, along y and x, of chunks of whole tiles: small where there are tiles, large over the ground between them."""
        rows, columns = zip(*self.places, strict=True) if self.places else ((), ())
        return self._sides(rows, height), self._sides(columns, width)

    def _sides(self, held: Iterable[int], size_px: int) -> tuple[int, ...]:
        numbers, n_tiles = sorted(set(held)), size_px // self.side_px
        edges = {0, n_tiles, *numbers, *(number + 1 for number in numbers)}
        runs = sorted(edge for edge in edges if not (edge in numbers and edge - 1 in numbers))
        cuts = [0]
        for start, stop in pairwise(runs):
            most_px = LEAST_CHUNK_PX if start in numbers else EMPTY_CHUNK_PX
            cuts += [*range(start, stop, -(-most_px // self.side_px))[1:], stop]
        return tuple((after - before) * self.side_px for before, after in pairwise(cuts))


def tile_px(stored: xarray.Dataset) -> int:
    """The side of a tile of a cube as stored, in its pixels."""
    encoding = next(iter(stored.data_vars.values())).encoding
    return int((encoding.get("shards") or encoding["chunks"])[-1])


def held_tiles(url: str, options: Mapping[str, Any] | None, stored: xarray.Dataset) -> HeldTiles:
    """The tiles of a snapshot of which `stored` is the cube as stored or an overview: its files are listed."""
    side_px = tile_px(stored)
    return HeldTiles(side_px, frozenset({*_held(url, options, stored), *_missing(stored, side_px)}))


def scattered_tiles(url: str, options: Mapping[str, Any] | None, stored: xarray.Dataset) -> HeldTiles | None:
    """The tiles of one of more than `MOST_PX` pixels that they fill less than half of; None of any other."""
    size_px = stored.sizes["y"] * stored.sizes["x"]
    if size_px <= MOST_PX:
        return None
    held = held_tiles(url, options, stored)
    return held if len(held.places) * held.side_px**2 < FILLED * size_px else None


def _held(url: str, options: Mapping[str, Any] | None, stored: xarray.Dataset) -> Iterator[Place]:
    place, array = storage_at(url, options), next(iter(stored.data_vars))
    for path in place.files(f"{place.root.rstrip('/')}/{array}/c"):
        row, column = path.split("/")[-2:]
        yield int(row), int(column)


def _missing(stored: xarray.Dataset, side_px: int) -> Iterator[Place]:
    affine = stored.odc.geobox.affine
    side = side_px * affine.a
    first_row, first_column = math.ceil(-affine.f / side - ROUNDING), math.floor(affine.c / side + ROUNDING)
    for tile, _ in missing_in(stored.attrs):
        row, column = place_of(tile)
        yield row - first_row, column - first_column
