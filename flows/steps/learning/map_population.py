"""The pixels of a published map that a sample is drawn from: strip by strip of each of its pieces, so that a map of any size is counted exactly."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from flows.steps.cubes.cube_pieces import open_pieces
from flows.steps.cubes.cube_times import CubeTime, times_of
from flows.steps.cubes.open_cube import geobox_of
from flows.steps.loading.source_grid import covered_by
from products.area import Area
from products.errors import RequestError
from products.learning.ground_area import ground_m2
from products.learning.maps import MAP_CLASS, PROBABILITY

STRIP_ROWS, STRIP_PX = 1024, 2**23  # at most, of a strip


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows of a map: `stratum` (y, x) is 0 outside the area and where a period has no class; x and y are pixel centres."""

    stratum: NDArray[np.int64]
    is_inside: NDArray[np.bool_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StrataCounts:
    """Pixel counts and square metres on the ground of each stratum, pixels of the area without a class, and the extremes of a pixel on the ground."""

    pixels: NDArray[np.int64]
    ground_m2: NDArray[np.float64]
    unmapped: int
    smallest_m2: float
    largest_m2: float


@dataclass(frozen=True, slots=True)
class MapPopulation:
    """A map in one period, its classes as strata; or in two, and the strata are what stays and what changes. Of each piece of it, its times."""

    url: str
    crs: str
    pieces: tuple[tuple[CubeTime, ...], ...]
    map_classes: tuple[str, ...]
    area: Area | None
    cells: tuple[str, ...]
    product: str
    version: int

    @property
    def strata(self) -> tuple[str, ...]:
        """Class names; of two periods `water`, where it stays, and `mangrove to water`."""
        names = self.map_classes
        if len(self.times) == 1:
            return names
        return tuple(first if first == then else f"{first} to {then}" for first in names for then in names)

    @property
    def times(self) -> tuple[CubeTime, ...]:
        """The times of the map, at its first piece."""
        return self.pieces[0]

    @property
    def resolution_m(self) -> float:
        """The side of a pixel in the map's CRS."""
        return float(abs(geobox_of(self.times[0].arrays, self.crs).affine.a))

    def strips(self) -> Iterator[Strip]:
        """The map in strips of rows, piece by piece."""
        ground = None if self.area is None else self.area.geometry.to_crs(CRS(self.crs))
        for times in self.pieces:
            whole = geobox_of(times[0].arrays, self.crs)
            n_rows = strip_rows(whole.width)
            for start in range(0, whole.height, n_rows):
                rows = slice(start, min(start + n_rows, whole.height))
                box = whole[rows, :]
                inside = np.ones(box.shape, np.bool_) if ground is None else covered_by(ground, box)
                yield Strip(self._strata_of(times, rows, inside), inside, *_centres(box))

    def _strata_of(self, times: Sequence[CubeTime], rows: slice, inside: NDArray[np.bool_]) -> NDArray[np.int64]:
        codes = [time.arrays[MAP_CLASS].isel(y=rows).values.astype(np.int64) for time in times]
        is_mapped = inside & np.logical_and.reduce([each > 0 for each in codes])
        stratum = codes[0] if len(codes) == 1 else (codes[0] - 1) * len(self.map_classes) + codes[1]
        return np.where(is_mapped, stratum, 0)


def strip_rows(width: int) -> int:
    """The rows of a strip of a map so wide: 1024, or a power of two that holds 8 million pixels, so that a wider map takes no more memory."""
    return min(STRIP_ROWS, 2 ** int(np.log2(max(STRIP_PX // width, 1))))


def map_population(url: str, options: Mapping[str, Any], area: Area | None, labels: Sequence[str]) -> MapPopulation:
    """The population of a map cube in the periods of these labels; RequestError if there is none, it is no map of classes, or lacks a period."""
    pieces = open_pieces(url, options)
    cube = pieces[0]
    if MAP_CLASS not in cube.data_vars or "class" not in cube.dims:
        held = ", ".join(map(str, cube.data_vars))
        raise RequestError(f"expected a map of classes, {url} has {held}: give the product of `neocube map`")
    times = [{time.label: time for time in times_of(piece)} for piece in pieces]
    known = times[0]
    asked = list(labels) or list(known)
    for label in asked:
        if label not in known:
            raise RequestError(f"the map has no period {label}: expected of {', '.join(known)}")
    if not labels and len(known) > 1:
        raise RequestError(f"the map has the periods {', '.join(known)}: choose one with --period")
    if len(asked) == 2 and known[asked[0]].first >= known[asked[1]].first:
        raise RequestError(f"expected two periods in order, got {asked[0]} and then {asked[1]}")
    names = tuple(str(name).removeprefix(f"{PROBABILITY}_") for name in cube["class"].values)
    facts = cube.attrs
    return MapPopulation(
        url, str(facts["proj:code"]), tuple(tuple(each[label] for label in asked) for each in times), names, area,
        tuple(facts["neocube:cells"]), str(facts["neocube:product"]), int(facts["neocube:version"]),
    )  # fmt: skip


def count_strata(population: MapPopulation) -> StrataCounts:
    """Exact pixel counts of the strata, and their ground; RequestError if there is no pixel."""
    n = len(population.strata)
    pixels, ground, unmapped = np.zeros(n + 1, np.int64), np.zeros(n + 1), 0
    smallest, largest = np.inf, 0.0
    for strip in population.strips():
        counted = np.bincount(strip.stratum.ravel(), minlength=n + 1)
        if counted[1:].any():
            size = ground_m2(population.crs, strip.x, strip.y, population.resolution_m)
            ground += np.bincount(strip.stratum.ravel(), weights=size.ravel(), minlength=n + 1)
            mapped = size[strip.stratum > 0]
            smallest, largest = min(smallest, float(mapped.min())), max(largest, float(mapped.max()))
        pixels += counted
        unmapped += int((strip.is_inside & (strip.stratum == 0)).sum())
    if not pixels[1:].any():
        raise RequestError(f"no pixel of {population.product} has a class inside the area: nothing to sample")
    return StrataCounts(pixels[1:], ground[1:], unmapped, smallest, largest)


def _centres(box: GeoBox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    along, down = np.arange(box.width) + 0.5, np.arange(box.height) + 0.5
    return box.affine.c + along * box.affine.a, box.affine.f + down * box.affine.e
