"""Whether the grids of a scene can be those of its sensor."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import isclose
from typing import Any

from odc.geo.crs import CRS

METRES_PER_DEGREE = 111_320.0
# The finest pixel and the longest side of a scene. A Landsat scene is 185 km along its path and up to 250 km across in UTM
# (USGS LSDS-1619), a Sentinel-2 tile 109.8 km. Coarser pixels are overviews: what they show is the same ground.
FINEST_M: Mapping[str, float] = {"landsat": 30.0, "sentinel": 10.0}
LONGEST_M: Mapping[str, float] = {"landsat": 400_000.0, "sentinel": 120_000.0}
COARSEST_M = 5_000.0
SLACK = 0.9
SQUARE, SQUARE_OVERVIEW, OVERVIEW_M = 0.01, 0.25, 61.0
"""How much the sides of a pixel may differ: an overview of few pixels does not divide the scene evenly."""
LEAST_SHARED = 0.5

Box = tuple[float, float, float, float]


def grid_fault(document: Mapping[str, Any]) -> str:
    """What is wrong with the grids of an EO3 document, empty if nothing is."""
    family = str(document["properties"].get("eo:platform", "")).partition("-")[0]
    metres = METRES_PER_DEGREE if _is_geographic(str(document["crs"])) else 1.0
    footprint = _bounds(_positions(document["geometry"]["coordinates"]))
    for name, grid in document["grids"].items():
        transform, shape = [float(n) for n in grid["transform"]], grid["shape"]
        fault = _shape_fault(shape, transform, family, metres) or _place_fault(shape, transform, footprint)
        if fault:
            return f"grid {name}: {fault}"
    return ""


def _shape_fault(shape: Sequence[int], transform: Sequence[float], family: str, metres: float) -> str:
    rows, columns = shape
    across, skew, _, turn, down, _ = transform[:6]
    if min(rows, columns) < 1:
        return f"expected rows and columns, got {rows} x {columns}"
    if skew or turn or across <= 0 or down >= 0:
        return f"expected a north-up grid, got the transform {tuple(transform[:6])}"
    if metres == 1.0 and not isclose(across, -down, rel_tol=SQUARE if -down < OVERVIEW_M else SQUARE_OVERVIEW):
        return f"expected square pixels, got {across:g} x {-down:g} m"
    finest, longest = FINEST_M.get(family, 0.0), LONGEST_M.get(family)
    pixel_m = -down * metres
    if not SLACK * finest <= pixel_m <= COARSEST_M:
        return f"expected pixels of {finest:g} m or an overview of them, got {pixel_m:g} m"
    side_m = max(rows, columns) * pixel_m
    if longest is not None and side_m > longest:
        return (
            f"expected a scene of at most {longest / 1000:g} km, got {side_m / 1000:g} km ({rows} x {columns} pixels)"
        )
    return ""


def _place_fault(shape: Sequence[int], transform: Sequence[float], footprint: Box) -> str:
    """Whether a grid leaves out most of the footprint's box."""
    across, _, west, _, down, north = transform[:6]
    east, south = west + shape[1] * across, north + shape[0] * down
    left, bottom, right, top = footprint
    shared = max(0.0, min(right, east) - max(left, west)) * max(0.0, min(top, north) - max(bottom, south))
    share = shared / ((right - left) * (top - bottom))
    return "" if share >= LEAST_SHARED else f"it holds {share:.0%} of the footprint's box, expected the scene"


def _positions(coordinates: Iterable[Any]) -> Iterator[Sequence[float]]:
    """The positions of GeoJSON coordinates, however deep they are nested."""
    for part in coordinates:
        if isinstance(part[0], int | float):
            yield part
        else:
            yield from _positions(part)


def _bounds(positions: Iterable[Sequence[float]]) -> Box:
    x, y = zip(*((position[0], position[1]) for position in positions), strict=True)
    return min(x), min(y), max(x), max(y)


@lru_cache(64)
def _is_geographic(crs: str) -> bool:
    return bool(CRS(crs).geographic)
