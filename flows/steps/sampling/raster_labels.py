"""Rasters of label values, of one epoch or several, and which pixels of a tile they label."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.learning.label_facts import LabelSource
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.label_rasters import (
    class_codes,
    label_pixel_size,
    label_values,
    opened_raster,
    shares_ground,
)
from flows.steps.sampling.label_grid import least_px, margin_px
from products.learning.label_codes import LabelValue
from products.learning.label_places import Codes, Places, inner_places
from products.learning.label_spec import LabelsSpec

LEAST_FINE, MOST_FINE = 5, 16  # sub-pixels along each side of a pixel


@dataclass(frozen=True, slots=True)
class EpochRasterLabels:
    """A raster of label values and those of other epochs; `meaning` maps values to class codes, or `reaches` is the code of values that reach `min_value`."""

    spec: LabelsSpec
    source: LabelSource
    others: tuple[LabelFile, ...]
    meaning: dict[LabelValue, int]
    reaches: int | None
    n_classes: int

    @property
    def n_repaired(self) -> int:
        """None: a raster has no edges to cross."""
        return 0

    def overlaps(self, geobox: GeoBox) -> bool:
        """Whether the raster shares ground with the grid."""
        with opened_raster(self.source.file) as file:
            return shares_ground(file, geobox)

    def n_outside(self, tiles: Sequence[GeoBox]) -> int:
        """None: a raster is no list of shapes."""
        return 0

    def places(self, geobox: GeoBox, number: int) -> tuple[Places, Counter[str]]:
        """The pixels of a tile that one class fills, in all epochs."""
        margin = margin_px(self.spec, geobox)
        wide = geobox.pad(margin)
        with opened_raster(self.source.file) as file:
            factor = min(MOST_FINE, max(LEAST_FINE, round(2 * abs(wide.resolution.x) / label_pixel_size(file, wide))))
        fine_grid = wide.zoom_out(1 / factor)
        fine = self._classes_on(self.source.file, fine_grid)
        stable = fine.copy()
        for other in self.others:
            stable[self._classes_on(other, fine_grid) != fine] = 0
        found, dropped = inner_places(
            stable, factor, self.n_classes, margin, self.spec.min_label_fraction, self.spec.edge_px, least_px(self.spec, geobox), number
        )  # fmt: skip
        gone = _any_of(fine, factor) & ~_any_of(stable, factor)
        dropped["unstable"] = int(gone[margin : margin + geobox.shape[0], margin : margin + geobox.shape[1]].sum())
        return found, +dropped

    def _classes_on(self, file: LabelFile, geobox: GeoBox) -> Codes:
        with opened_raster(file) as opened:
            return self._classes(file, label_values(opened, geobox))

    def _classes(self, file: LabelFile, values: np.ma.MaskedArray[Any, Any]) -> Codes:
        if self.reaches is not None:
            least = 1.0 if self.spec.min_value is None else self.spec.min_value
            reaches = (np.ma.getdata(values) >= least) & ~np.ma.getmaskarray(values)
            return np.where(reaches, self.reaches, 0).astype(np.uint8)
        return class_codes(file, values, self.meaning)


def _any_of(fine: Codes, factor: int) -> NDArray[np.bool_]:
    """Pixels with a label in any sub-pixel."""
    rows, columns = fine.shape
    return np.asarray((fine.reshape(rows // factor, factor, columns // factor, factor) > 0).any(axis=(1, 3)))
