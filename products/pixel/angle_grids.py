"""The angles of sun and view over a coarse grid, as the metadata of a Sentinel-2 tile states them, and the c-factors that follow from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from products.pixel.brdf import GLOBAL_PARAMETERS, c_factors

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Directions:
    """Zenith and azimuth, float64 (row, column), degrees; azimuths clockwise from north, of the way to the sun or the sensor."""

    zenith_deg: Doubles
    azimuth_deg: Doubles


@dataclass(frozen=True, slots=True)
class AngleGrids:
    """The sun, and the view of each band by colour, at nodes (row, column) in metres of a CRS: the first at west, north, a step (down, across) apart."""

    crs: str
    west: float
    north: float
    step_m: tuple[float, float]
    sun: Directions
    views: Mapping[str, Directions]


def merged(detectors: Sequence[Directions]) -> Directions:
    """One direction for each node of some detectors, NaN where one does not look: the mean of those that do, or that of the nearest node where none does.

    Azimuths are averaged as unit vectors. ValueError where no detector looks at any node.
    """
    zenith, azimuth = (np.stack([getattr(each, name) for each in detectors]) for name in Directions.__slots__)
    looks = np.isfinite(zenith) & np.isfinite(azimuth)
    number = looks.sum(axis=0)
    if not number.any():
        raise ValueError("no angle at any node")
    radians = np.radians(azimuth)
    mean, east, north = (
        np.where(looks, part, 0.0).sum(axis=0) / np.maximum(number, 1)
        for part in (zenith, np.sin(radians), np.cos(radians))
    )
    nearest = ndimage.distance_transform_edt(number == 0, return_distances=False, return_indices=True)
    return Directions(mean[tuple(nearest)], np.degrees(np.arctan2(east, north))[tuple(nearest)] % 360)


def angles_at(grid: Directions, rows: Doubles, columns: Doubles) -> tuple[Doubles, Doubles]:
    """Zenith and azimuth, float64 in the shape of rows and columns, between the nodes of a grid, bilinear; beyond its edge those of the edge.

    Azimuths are interpolated as unit vectors, so that 359 and 1 make 0; they lie between -180 and 180.
    """
    n_rows, n_columns = grid.zenith_deg.shape
    down, across = np.clip(rows, 0.0, n_rows - 1.0), np.clip(columns, 0.0, n_columns - 1.0)
    top, left = (np.minimum(np.floor(at).astype(np.int64), n - 2) for at, n in ((down, n_rows), (across, n_columns)))
    down, across = down - top, across - left

    def between(nodes: Doubles) -> Doubles:
        upper = nodes[top, left] * (1 - across) + nodes[top, left + 1] * across
        lower = nodes[top + 1, left] * (1 - across) + nodes[top + 1, left + 1] * across
        return upper * (1 - down) + lower * down

    radians = np.radians(grid.azimuth_deg)
    azimuth = np.degrees(np.arctan2(between(np.sin(radians)), between(np.cos(radians))))
    return between(grid.zenith_deg), azimuth


def factors_at(grids: AngleGrids, bands: Sequence[str], eastings: Doubles, northings: Doubles) -> Doubles:
    """float64 (band, y, x): the c-factor of each band at places (y, x) in metres of the CRS of the grids; NaN where the sun is down."""
    down, across = grids.step_m
    rows, columns = (grids.north - northings) / down, (eastings - grids.west) / across
    sun = angles_at(grids.sun, rows, columns)
    factors = np.empty((len(bands), *rows.shape), np.float64)
    for band, out in zip(bands, factors, strict=True):
        view = angles_at(grids.views[band], rows, columns)
        c_factors(np.stack([*sun, *view]), np.array(GLOBAL_PARAMETERS[band]), out)
    return factors
