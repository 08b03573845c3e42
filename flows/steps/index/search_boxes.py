"""An area as the few boxes of longitude and latitude that the index is asked for."""

import numpy as np
import shapely
from odc.geo.geom import Geometry

from products.antimeridian import Box, turns
from products.covered_ground import covered_ground, with_bends


def search_boxes(area: Geometry) -> list[Box]:
    """The boxes around an area of any CRS, one for each group of its parts, under every longitude that scenes may have there.

    They reach as far beside it as a scene may whose bounds were taken from its corners. Parts belong together where the whole degrees around them touch:
    a coast of a thousand islets is one box, two far coasts are two.
    """
    parts = shapely.get_parts(covered_ground(area).geom)
    bounds = shapely.bounds(parts)
    degrees = shapely.box(*np.floor(bounds[:, :2]).T, *np.ceil(bounds[:, 2:]).T)
    groups = shapely.get_parts(shapely.union_all(degrees))
    found = []
    for group in groups:
        of_group = bounds[shapely.covers(group, degrees)]
        corners = (*of_group[:, :2].min(axis=0).tolist(), *of_group[:, 2:].max(axis=0).tolist())
        west, south, east, north = with_bends(corners)
        found += [(left, south, right, north) for left, right in turns(west, east)]
    return found
