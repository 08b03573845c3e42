"""Shapes with class codes, and which pixels of a tile they label."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from flows.steps.learning.label_facts import LabelSource
from flows.steps.sampling.label_grid import frame, least_px, margin_px
from products.learning.label_places import CONTRADICTING, Codes, Places, inner_places, joined
from products.learning.label_spec import LabelsSpec
from products.learning.place_kernels import pixels_at

FINE = 5  # sub-pixels along each side of a pixel: shares of polygons in steps of 0.04


@dataclass(frozen=True, slots=True)
class ShapeLabels:
    """Shapes with class codes (0: ignored) in the CRS of the grid, None far from it; `n_repaired` had crossing edges."""

    spec: LabelsSpec
    source: LabelSource
    shapes: geopandas.GeoDataFrame
    n_classes: int
    n_repaired: int

    def overlaps(self, geobox: GeoBox) -> bool:
        """Whether any shape shares ground with the grid."""
        return bool(self.shapes.sindex.query(frame(geobox), predicate="intersects").size)

    def n_outside(self, tiles: Sequence[GeoBox]) -> int:
        """How many shapes share no ground with any of some tiles."""
        inside = np.zeros(len(self.shapes), np.bool_)
        for geobox in tiles:
            inside[self.shapes.sindex.query(frame(geobox), predicate="intersects")] = True
        return int((~inside).sum())

    def places(self, geobox: GeoBox, number: int) -> tuple[Places, Counter[str]]:
        """The labelled pixels of a tile: those that polygons fill, those that lines cross and those that points lie in."""
        margin = margin_px(self.spec, geobox)
        near = self.shapes.iloc[self.shapes.sindex.query(frame(geobox.pad(margin)), predicate="intersects")]
        has_area = shapely.get_dimensions(near.geometry.values) == 2
        fine = _burnt_classes(near[has_area], geobox.pad(margin).zoom_out(1 / FINE))
        found, dropped = inner_places(
            fine,
            FINE,
            self.n_classes,
            margin,
            self.spec.min_label_fraction,
            self.spec.edge_px,
            least_px(self.spec, geobox),
            number,
        )
        return joined([found, _thin_places(near[~has_area], geobox, number)]), dropped


def _burnt_classes(shapes: geopandas.GeoDataFrame, fine: GeoBox) -> Codes:
    """The class code of each sub-pixel whose centre a polygon holds, 255 where two classes do; ignored ones contradict the others."""
    found = np.zeros(fine.shape, np.uint8)
    is_ignored = np.zeros(fine.shape, np.bool_)
    for code, members in shapes.groupby("code"):
        burnt = rasterize(members.geometry.values, fine.shape, transform=fine.affine, dtype="uint8").astype(np.bool_)
        if code == 0:
            is_ignored = burnt
        else:
            found = np.where(burnt & (found > 0), CONTRADICTING, np.where(burnt, np.uint8(code), found)).astype(
                np.uint8
            )
    return np.where(is_ignored & (found > 0), CONTRADICTING, found).astype(np.uint8)


def _thin_places(shapes: geopandas.GeoDataFrame, geobox: GeoBox, number: int) -> Places:
    """The pixels that points lie in and lines cross, one for each of them; their shares are not known."""
    labelled = shapes[shapes["code"] > 0]
    is_point = shapely.get_dimensions(labelled.geometry.values) == 0
    parts = [_points_in(labelled[is_point], geobox)]
    for shape, code in zip(labelled.geometry.values[~is_point], labelled["code"].values[~is_point], strict=True):
        burnt = rasterize([shape], geobox.shape, transform=geobox.affine, all_touched=True, dtype="uint8")
        row, column = np.nonzero(burnt)
        parts.append((row, column, np.full(row.size, code, np.uint8)))
    row, column, code = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Places(row, column, code, np.full(row.size, np.nan, np.float32), np.full(row.size, number, np.uint8))


def _points_in(points: geopandas.GeoDataFrame, geobox: GeoBox) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Row, column and code of each point in a grid, of several points each."""
    places, number = shapely.get_coordinates(points.geometry.values, return_index=True)
    row, column = pixels_of(places, geobox)
    inside = (row >= 0) & (row < geobox.shape[0]) & (column >= 0) & (column < geobox.shape[1])
    return row[inside], column[inside], points["code"].values[number][inside]


def pixels_of(places: NDArray[np.float64], geobox: GeoBox) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the pixels that places (n, 2) in the CRS of a grid lie in, also beyond it."""
    row, column = np.empty((2, len(places)), np.int64)
    pixels_at(places, tuple(~geobox.affine)[:6], row, column)
    return row, column
