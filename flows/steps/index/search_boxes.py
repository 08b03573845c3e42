"""An area as the few boxes of longitude and latitude that the index is asked for."""

import numpy as np
import shapely
from odc.geo.geom import Geometry

from products.antimeridian import in_one_piece, turns

# (west, south, east, north), degrees; east beyond 180 across the antimeridian
Box = tuple[float, float, float, float]


def search_boxes(area: Geometry) -> list[Box]:
    """The boxes around an area of any CRS, one for each group of its parts, under every longitude that scenes may have there.

    Parts belong together where the whole degrees around them touch: a coast of a thousand islets is one box, two far coasts are two.
    """
    parts = shapely.get_parts(in_one_piece(area).geom)
    bounds = shapely.bounds(parts)
    degrees = shapely.box(*np.floor(bounds[:, :2]).T, *np.ceil(bounds[:, 2:]).T)
    groups = shapely.get_parts(shapely.union_all(degrees))
    found = []
    for group in groups:
        of_group = bounds[shapely.covers(group, degrees)]
        west, south = of_group[:, :2].min(axis=0).tolist()
        east, north = of_group[:, 2:].max(axis=0).tolist()
        found += [(left, south, right, north) for left, right in turns(west, east)]
    return found
