"""What decides how much ground around a tile its labels need."""

import math
from typing import Any

import shapely
from odc.geo.geobox import GeoBox

from products.errors import RequestError
from products.learning.label_spec import LabelsSpec

MOST_PATCH_PX = 500


def frame(geobox: GeoBox) -> Any:  # noqa: ANN401
    """The ground of a grid as a shape in its CRS."""
    return shapely.box(*geobox.extent.boundingbox.bbox)


def least_px(spec: LabelsSpec, geobox: GeoBox) -> int:
    """The minimum mapping unit in pixels of the grid; RequestError where a patch of that size would need more ground than is looked at."""
    found = math.ceil(spec.min_mapping_unit_m2 / geobox.resolution.x**2)
    if found > MOST_PATCH_PX:
        raise RequestError(
            f"min_mapping_unit_m2 {spec.min_mapping_unit_m2:g} is {found} pixels: expected at most {MOST_PATCH_PX}, sieve the labels beforehand"
        )
    return found


def margin_px(spec: LabelsSpec, geobox: GeoBox) -> int:
    """Pixels around a tile that decide what counts in it: a patch below the minimum mapping unit reaches no farther than its number of pixels."""
    least = least_px(spec, geobox)
    return spec.edge_px + (least if least > 1 else 0)
