"""A raster that is not a scene as the pipeline sees it: an elevation model, a mask, labels."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from odc.geo.geom import Geometry

from products.identity import SourceKey
from products.period import Period
from products.window_spec import RasterInput


@dataclass(frozen=True, slots=True)
class RasterLayer:
    """An input on the pixels of a tile: float32 (y, x), NaN where there is no data; where (y, x) any file reaches, None for everywhere."""

    values: NDArray[np.float32]
    covered: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class RasterFile:
    """One dataset behind an input: value = DN * scale + offset, `nodata` marks missing DN; `ground` is in degrees.

    It holds from `begin` to `end`, both included (UTC); what does not change holds for a century or more. `is_upright`: its grid is one of a map, not of
    degrees, its rows run from north to south and its columns from west to east.
    """

    input: RasterInput
    id: UUID
    ground: Geometry
    href: str
    layer: int
    scale: float
    offset: float
    nodata: float
    begin: datetime
    end: datetime
    is_upright: bool = True

    @property
    def key(self) -> SourceKey:
        """What a cell that reads it is made of: the dataset's id stands for its product, tile, time and version.

        What is smoothed of degrees or of a turned grid once had another scale in every window.
        """
        is_rescaled = not self.is_upright and self.input.resampling != "nearest"
        return SourceKey(f"{self.input.product}/{self.input.band}", f"{self.id}{' one scale' if is_rescaled else ''}")

    def holds_in(self, period: Period) -> bool:
        """Whether its time shares more with a period than the instant in which the one ends and the other begins."""
        return self.begin < period.end and (self.end > period.start or self.begin == period.start)
