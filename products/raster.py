"""A raster that is not a scene as the pipeline sees it: an elevation model, a mask, labels."""

from dataclasses import dataclass
from uuid import UUID

from odc.geo.geom import Geometry

from products.identity import SourceKey
from products.window_spec import RasterInput


@dataclass(frozen=True, slots=True)
class RasterFile:
    """One dataset behind an input: value = DN * scale + offset, `nodata` marks missing DN; `footprint` is EPSG:4326."""

    input: RasterInput
    id: UUID
    footprint: Geometry
    href: str
    layer: int
    scale: float
    offset: float
    nodata: float

    @property
    def key(self) -> SourceKey:
        """What a cell that reads it is made of: the dataset's id stands for its product, tile, time and version."""
        return SourceKey(f"{self.input.product}/{self.input.band}", str(self.id))
