"""One convex ring, the footprint of nearly every scene: checked, placed and measured in plain numbers, a few microseconds each."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from products.antimeridian import MAX_WIDTH_DEG
from products.covered_ground import poleward

MAX_VERTICES = 32
# A turn whose sine is smaller counts as none, and the ring as not convex: rounding then decides nothing.
LEAST_TURN = 1e-9

Ring = Sequence[tuple[float, float]]
Box = tuple[float, float, float, float]


def convex_ring(geometry: object) -> Ring | None:
    """The closed ring of a GeoJSON polygon if it is convex and within -180 to 180; None for what `lonlat_polygon` is to decide."""
    rings = geometry.get("coordinates") if isinstance(geometry, dict) and geometry.get("type") == "Polygon" else None
    if not isinstance(rings, list) or len(rings) != 1:
        return None
    vertices = rings[0]
    if not isinstance(vertices, list) or not 4 <= len(vertices) <= MAX_VERTICES or not all(map(_is_lonlat, vertices)):
        return None
    ring = [(float(vertex[0]), float(vertex[1])) for vertex in vertices]
    west, _, east, _ = bounds_of(ring)
    return ring if east - west <= MAX_WIDTH_DEG and turn_of(ring) else None


def turn_of(ring: Ring) -> int:
    """1 for a closed convex ring that runs counter-clockwise, -1 for one that runs clockwise, 0 for any other."""
    if ring[0] != ring[-1]:
        return 0
    (x, y), (x_next, y_next) = ring[-2], ring[0]
    dx, dy, turn, n_flips = x_next - x, y_next - y, 0, 0
    x, y = x_next, y_next
    for x_next, y_next in ring[1:]:
        dx_next, dy_next = x_next - x, y_next - y
        left, right = dx * dy_next, dy * dx_next
        if abs(left - right) <= LEAST_TURN * (abs(left) + abs(right)):
            return 0
        found = 1 if left > right else -1
        if turn not in (0, found):
            return 0
        turn, n_flips = found, n_flips + ((dx < 0) != (dx_next < 0))
        x, y, dx, dy = x_next, y_next, dx_next, dy_next
    # More than once there and back in x: a star, whose turns are all to one side.
    return turn if n_flips <= 2 else 0


def bounds_of(ring: Iterable[tuple[float, float]]) -> Box:
    """(west, south, east, north), or the same in a CRS."""
    x, y = zip(*ring, strict=True)
    return min(x), min(y), max(x), max(y)


def bent_bounds_of(ring: Ring) -> Box:
    """(west, south, east, north) of a closed ring in degrees whose edges are great circles: those that run east or west bend towards the pole."""
    west, south, east, north = bounds_of(ring)
    for (x, y), (u, v) in pairwise(ring):
        if north > 0 and (high := max(y, v)) > 0:
            north = max(north, poleward(high, u - x))
        if south < 0 and (low := min(y, v)) < 0:
            south = min(south, poleward(low, u - x))
    return west, south, east, north


def area_of(ring: Ring) -> float:
    """The area inside a closed ring, in its units squared."""
    x0, y0 = ring[0]
    return abs(sum((x - x0) * (v - y0) - (u - x0) * (y - y0) for (x, y), (u, v) in pairwise(ring))) / 2


def _is_lonlat(vertex: object) -> bool:
    if type(vertex) is not list or len(vertex) < 2:
        return False
    x, y = vertex[0], vertex[1]
    return (
        (type(x) is float or type(x) is int)
        and (type(y) is float or type(y) is int)
        and -180 <= x <= 180
        and -90 <= y <= 90
    )
