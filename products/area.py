"""Areas of interest: a name and a polygon in longitude and latitude."""

from dataclasses import dataclass
from functools import cached_property

import shapely
from odc.geo.crs import CRS
from odc.geo.geom import Geometry, box
from shapely.geometry.base import BaseGeometry

from products.antimeridian import turned_shapes
from products.errors import RequestError


@dataclass(frozen=True)
class Area:
    """A named polygon, EPSG:4326, degrees."""

    name: str
    geometry: Geometry

    def meets(self, shape: BaseGeometry) -> bool:
        """Whether a shape in degrees shares ground with the area, whichever longitudes it writes for it."""
        return any(shape.intersects(turned) for turned in self._turned)

    @cached_property
    def _turned(self) -> tuple[BaseGeometry, ...]:
        return tuple(turned.geom for turned in turned_shapes(self.geometry))


def area_from_bounds(text: str) -> Area:
    """The area of `west,south,east,north` in degrees."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise RequestError(f"expected west,south,east,north in degrees, got {text!r}") from error
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise RequestError(
            f"expected west < east within -180..180 and south < north within -90..90 degrees, got {text!r}"
        )
    name = "bbox_" + "_".join(
        f"{value:.9g}".replace("-", "m").replace(".", "p") for value in (west, south, east, north)
    )
    return Area(name, box(west, south, east, north, CRS("EPSG:4326")))


def area_from_shape(name: str, shape: BaseGeometry) -> Area:
    """The area of a polygon in degrees; RequestError if it is empty or has no surface."""
    if shape.is_empty:
        raise RequestError(f"the area {name!r} is empty: expected at least one polygon")
    valid = shapely.make_valid(shape)
    if not valid.area > 0:
        raise RequestError(f"the area {name!r} has no surface: expected polygons, got {shape.geom_type}")
    west, south, east, north = valid.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise RequestError(
            f"the area {name!r} reaches {west:g},{south:g},{east:g},{north:g}: expected degrees of longitude and latitude"
        )
    return Area(name, Geometry(valid, CRS("EPSG:4326")))
