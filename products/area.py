"""Areas of interest: a name and a polygon in longitude and latitude."""

from dataclasses import dataclass
from functools import cached_property

import shapely
from odc.geo.crs import CRS
from odc.geo.geom import Geometry, box
from shapely.geometry.base import BaseGeometry

from products.antimeridian import Box, in_one_piece, turned_shapes
from products.covered_ground import with_bends, with_great_circles
from products.errors import RequestError


@dataclass(frozen=True)
class Area:
    """A named polygon, EPSG:4326, degrees."""

    name: str
    geometry: Geometry

    def meets(self, shape: BaseGeometry) -> bool:
        """Whether a shape in degrees shares ground with the area, whichever longitudes it writes for it."""
        return any(shape.intersects(turned) for turned in self._turned)

    def meets_scene(self, footprint: BaseGeometry) -> bool:
        """Whether the footprint of a scene in degrees may share ground with the area: its edges are straight in degrees, or on the ground.

        No catalogue says which.
        """
        if self.meets(footprint):
            return True
        return any(map(footprint.intersects, self._around)) and self.meets(with_great_circles(footprint))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The bounds, within -180 to 180: one box, or one on each side of the antimeridian where that leaves out ground between them."""
        whole = in_one_piece(self.geometry).boundingbox
        if whole.right <= 180 or whole.span_x >= self.geometry.boundingbox.span_x:
            return (self.geometry.boundingbox.bbox,)
        return (whole.left, whole.bottom, 180.0, whole.top), (-180.0, whole.bottom, whole.right - 360, whole.top)

    @cached_property
    def _around(self) -> tuple[BaseGeometry, ...]:
        """Each polygon's box, with the ground beside it from which edges of scenes bend into it, under every longitude."""
        boxes = [shapely.box(*with_bends(part.bounds)) for part in shapely.get_parts(self.geometry.geom)]
        return tuple(turned.geom for turned in turned_shapes(Geometry(shapely.union_all(boxes), self.geometry.crs)))

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
