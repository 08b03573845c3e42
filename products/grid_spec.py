"""Where and when the cells of a recipe lie: its grid and its calendar."""

import re
from typing import Any, Literal

from odc.geo.geom import Geometry
from pydantic import Field, field_validator, model_validator

from products.antimeridian import centre
from products.closed import Closed
from products.errors import RequestError
from products.grid import LANDSAT_ANCHOR_M, PixelGrid, checked_crs, utm_crs
from products.period import Calendar, Duration


class GridSpec(Closed):
    """The pixel grid: `crs` is `utm` (the zone of the area's centre) or an authority code; `anchor: landsat` puts pixel edges 15 m off
    multiples of the pixel."""

    crs: str = "utm"
    resolution_m: float = Field(gt=0, le=1_000_000)
    tile_px: int = Field(ge=16, le=8192, multiple_of=8, default=1024)
    anchor: Literal["edge", "landsat"] = "edge"

    @field_validator("crs")
    @classmethod
    def _known(cls, crs: str) -> str:
        return crs if crs == "utm" else str(checked_crs(crs))

    def pixel_grid(self, area: Geometry) -> PixelGrid:
        """The lattice for an area: its own CRS, or the UTM zone of the area's centre."""
        crs = utm_crs(*centre(area)) if self.crs == "utm" else self.crs
        return PixelGrid(crs, self.resolution_m, self.tile_px, LANDSAT_ANCHOR_M if self.anchor == "landsat" else 0.0)


class PeriodSpec(Closed):
    """`length` of a cell, `step` between cells (default the length), and the month and day that steps count from."""

    length: str
    step: str | None = None
    start: str = "01-01"

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:  # noqa: ANN401
        return {"length": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _readable(self) -> "PeriodSpec":
        _ = self.calendar
        return self

    @property
    def calendar(self) -> Calendar:
        """The calendar that cuts time into cells."""
        found = re.fullmatch(r"(\d\d)-(\d\d)", self.start)
        if not found or not (1 <= int(found[1]) <= 12 and 1 <= int(found[2]) <= 28):
            raise RequestError(f"expected start as MM-DD with a day up to 28, got {self.start!r}")
        length = Duration.parse(self.length)
        return Calendar(length, Duration.parse(self.step) if self.step else length, int(found[1]), int(found[2]))
