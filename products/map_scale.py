"""How true a grid is to the ground: lengths, and where north is."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pyproj import CRS, Proj

from products.errors import RequestError
from products.grid import PixelGrid, Tile

MOST_OFF = 0.02  # of a length
MOST_TURNED_DEG = 5.0
Float64 = npt.NDArray[np.float64]


def factors_at(crs: str, x: Float64, y: Float64) -> Any:  # noqa: ANN401, pyproj's Factors, with arrays
    """PROJ's scales and angles of a projected CRS at each place (n,); infinite where it shows no ground."""
    projection = Proj(CRS(crs))
    longitude, latitude = projection(x, y, inverse=True)
    return projection.get_factors(longitude, latitude)


@cache
def is_turned(crs: str) -> bool:
    """Whether north is not up everywhere in a CRS, as it nearly is in UTM and in Mercator's: grids of scenes may be turned against it."""
    operation = CRS(crs).coordinate_operation
    return operation is not None and not any(name in operation.method_name for name in ("Mercator", "Cylindrical"))


def check_true(
    grid: PixelGrid,
    tiles: Sequence[Tile],
    of_lengths: Sequence[str],
    of_north: Sequence[str],
    in_chosen_zone: bool = False,
) -> None:
    """RequestError where a grid is not true to the ground under some tiles, for features that take its metres and its up for those of the ground.

    `in_chosen_zone`: the grid is of the UTM zone of the area's centre, which `check_one_zone` has passed.
    """
    if not (of_lengths or of_north):
        return
    factors = factors_at(grid.crs, *_places(grid, tiles))
    scales = _scales(factors)
    if _off(scales) > MOST_OFF:
        raise RequestError(
            f"{(*of_lengths, *of_north)[0]} in {grid.crs}: a metre of the ground is {scales.min():.2f} to {scales.max():.2f} metres of this grid here, "
            f"expected within {MOST_OFF:.0%} of 1: use crs: utm, or leave {_listed(of_lengths, of_north)} out"
        )
    turned = np.abs(np.asarray(factors.meridian_convergence, np.float64))
    most = turned[np.isfinite(turned)].max(initial=0.0)
    if of_north and most > MOST_TURNED_DEG:
        remedy = "ask for areas within one UTM zone each" if in_chosen_zone else "use crs: utm"
        raise RequestError(
            f"{of_north[0]} in {grid.crs}: the grid's up is up to {most:.0f} degrees off north here, "
            f"expected within {MOST_TURNED_DEG:.0f}: {remedy}, or leave {_listed(of_north)} out"
        )


def check_one_zone(grid: PixelGrid, tiles: Sequence[Tile]) -> None:
    """RequestError where the UTM zone of an area's centre is too far from some of its tiles: sites of several zones in one area."""
    off = _off(_scales(factors_at(grid.crs, *_places(grid, tiles))))
    if off > MOST_OFF:
        raise RequestError(
            f"crs: utm is {grid.crs} here, the zone of the area's centre, whose metres are up to {off:.0%} off at the far end of the area, expected within "
            f"{MOST_OFF:.0%}: ask for the sites of each zone as an area of their own, or name a CRS of equal areas"
        )


def _scales(factors: Any) -> Float64:  # noqa: ANN401, pyproj's Factors
    """Metres of a grid to a metre of the ground, along and across, (2, n), at the places that show ground."""
    scales = np.stack([factors.tissot_semimajor, factors.tissot_semiminor])
    return scales[:, np.isfinite(scales).all(axis=0)]


def _off(scales: Float64) -> float:
    """By how much of a length a grid is off at most."""
    return float(np.abs(scales - 1).max(initial=0.0))


def _places(grid: PixelGrid, tiles: Sequence[Tile]) -> tuple[Float64, Float64]:
    """x and y of the corners and centres of tiles, each (n,)."""
    rows, columns = np.array([(tile.row, tile.column) for tile in tiles], np.float64).T
    side = grid.tile_px * grid.resolution_m
    down, across = (np.array(shares)[:, None] for shares in ((0.5, 0, 0, 1, 1), (0.5, 0, 1, 0, 1)))
    return (grid.anchor_m + (columns + across) * side).ravel(), (grid.anchor_m - (rows + down) * side).ravel()


def _listed(*names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(name for some in names for name in some))
