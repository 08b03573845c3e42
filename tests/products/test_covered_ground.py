"""What truly shares ground is found to: scenes, cells and areas whose edges bend between their corners, at poles and across 180 degrees."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import example, given, settings
from hypothesis import strategies as st
from odc.geo.crs import CRS
from odc.geo.geom import Geometry, box, point

from products.antimeridian import meet
from products.area import Area, area_from_shape
from products.covered_ground import (
    LONGEST_EDGE_M,
    asked_box,
    bend_deg,
    covered_ground,
    cut_to_bend,
    poleward,
    with_bends,
)

FINE_M = 1000.0  # between places along an edge of what is taken for the truth
LEAST_M2 = 2e4  # of shared ground that may not be missed: a strip as wide as the tolerance and a few kilometres long


@dataclass(frozen=True)
class Placed:
    """The footprint of a scene in its CRS, and a square of a cell that reaches into it by a corner, a side or a sliver."""

    scene: Geometry
    cell: Geometry


def truly_shared_m2(one: Geometry, other: Geometry) -> float:
    """The ground of two shapes, each with straight edges in its CRS, on an equal-area map about the first."""
    longitude, latitude = one.centroid.to_crs("EPSG:4326").coords[0]
    there = CRS(f"+proj=laea +lat_0={latitude} +lon_0={longitude} +datum=WGS84 +units=m")
    first, second = (_fine(each, there) for each in (one, other))
    return float(first.intersection(second).area)


def _fine(shape: Geometry, there: CRS) -> shapely.Geometry:
    length = FINE_M / 111_000 if shape.crs.geographic else FINE_M
    return shapely.make_valid(Geometry(shapely.segmentize(shape.geom, length), shape.crs).to_crs(there).geom)


def turned_square(crs: str, x: float, y: float, sides: tuple[float, float], turn_deg: float) -> Geometry:
    across, along = sides
    corners = np.array([(-across, -along), (across, -along), (across, along), (-across, along), (-across, -along)]) / 2
    turn = math.radians(turn_deg)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return Geometry(shapely.Polygon(corners @ rotation.T + (x, y)), crs)


@st.composite
def scenes(draw: st.DrawFn) -> Geometry:
    """Tiles of Sentinel-2, and scenes of Landsat, turned as they are near its turning points; in UTM, or in polar stereographic at the Antarctic."""
    kind = draw(st.sampled_from(["tile", "row", "antarctic row"]))
    if kind == "antarctic row":
        latitude, crs = draw(st.floats(-82.5, -70)), "EPSG:3031"
        longitude = draw(st.floats(-180, 180))
    else:
        zone, latitude = draw(st.sampled_from([1, 2, 31, 59, 60])), draw(st.floats(-55, 83) | st.floats(78, 82.6))
        crs = f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"
        longitude = 6 * zone - 183 + draw(st.floats(-3.2, 3.2))
    x, y = point((longitude + 180) % 360 - 180, latitude, "EPSG:4326").to_crs(crs).coords[0]
    if kind == "tile":
        return turned_square(crs, round(x, -1), round(y, -1), (109_800, 109_800), 0)
    return turned_square(crs, x, y, (185_000, 180_000), draw(st.floats(0, 90)))


@st.composite
def placed(draw: st.DrawFn) -> Placed:
    scene = draw(scenes())
    edge = scene.geom.exterior.interpolate(draw(st.floats(0, 1)), normalized=True)
    longitude, latitude = Geometry(edge, scene.crs).to_crs("EPSG:4326").coords[0]
    polar = ["EPSG:3413", "EPSG:3995"] if latitude > 0 else ["EPSG:3031"]
    zone = min(int((longitude + 180) // 6) + 1, 60)
    utm = [f"EPSG:{(32600 if latitude > 0 else 32700) + each}" for each in {zone, zone % 60 + 1}]
    crs = draw(
        st.sampled_from(
            [
                str(scene.crs),
                *utm,
                *(polar if abs(latitude) > 50 else []),
                *(["EPSG:6933"] if abs(latitude) < 75 else []),
            ]
        )
    )
    x, y = point(longitude, latitude, "EPSG:4326").to_crs(crs).coords[0]
    side = draw(st.sampled_from([7_680.0, 30_720.0, 122_880.0]))
    # The place on the edge of the scene lies so far in the square, or beside it.
    across, along = draw(
        st.sampled_from([(0.5, 0.01), (0.5, 0.99), (0.01, 0.5), (0.99, 0.5), (0.02, 0.02), (0.5, 0.5)])
    )
    beside = draw(st.floats(-0.03, 0.03))
    left, bottom = x - (across + beside) * side, y - (along + beside) * side
    return Placed(scene, box(left, bottom, left + side, bottom + side, crs))


# A cell whose lower edge, in the zone beside, lies between the chord of the scene's upper edge and that edge.
SCENE_AT_80 = box(445_100, 8_890_200, 554_900, 9_000_000, "EPSG:32631")
CELL_ABOVE = box(490_000, 8_999_500, 510_000, 9_020_000, "EPSG:32631")


@settings(max_examples=200)
@given(placed())
@example(Placed(SCENE_AT_80, CELL_ABOVE))
def test_a_scene_that_truly_lies_on_a_cell_is_found_to(each: Placed) -> None:
    if truly_shared_m2(each.scene, each.cell) > LEAST_M2:
        assert meet(covered_ground(each.scene), covered_ground(each.cell))


@settings(max_examples=200)
@given(placed())
@example(Placed(SCENE_AT_80, CELL_ABOVE))
def test_a_scene_is_asked_for_where_its_bounds_are_those_of_its_corners(each: Placed) -> None:
    """As rows of before have them, and as ODC makes them."""
    if truly_shared_m2(each.scene, each.cell) <= LEAST_M2:
        return
    ring = each.scene.to_crs("EPSG:4326").geom
    longitudes, latitudes = shapely.get_coordinates(ring).T
    if np.ptp(longitudes) > 180:
        longitudes = longitudes % 360
    stored = shapely.box(longitudes.min(), latitudes.min(), longitudes.max(), latitudes.max())
    ground = covered_ground(each.cell)
    asked = shapely.box(*with_bends(ground.boundingbox.bbox))
    assert any(asked.intersects(shapely.affinity.translate(stored, turn)) for turn in (-360, 0, 360))


@settings(max_examples=200)
@given(placed())
@example(Placed(SCENE_AT_80, CELL_ABOVE))
def test_an_item_that_truly_lies_in_an_area_is_taken_and_asked_for(each: Placed) -> None:
    """The area is the cell as GeoJSON draws it; the item has the corners of the scene, straight in degrees, as an archive compares them."""
    ground = covered_ground(each.cell)
    whole = shapely.clip_by_rect(ground.geom, -180, -90, 180, 90)
    if whole.is_empty or not whole.area > 0:
        return
    area = area_from_shape("cell", whole)
    if truly_shared_m2(each.scene, area.geometry) <= LEAST_M2:
        return
    item = covered_corners(each.scene)
    assert area.meets_scene(item)
    west, south, east, north = asked_box(area.geometry.boundingbox.bbox)
    left, low, right, high = item.bounds
    assert low <= north and high >= south
    assert any(left + turn <= east and right + turn >= west for turn in (-360, 0, 360))


def covered_corners(scene: Geometry) -> shapely.Polygon:
    """The footprint of an item: its corners in degrees, beyond 180 across the antimeridian."""
    ring = shapely.get_coordinates(scene.to_crs("EPSG:4326").geom)
    if np.ptp(ring[:, 0]) > 180:
        ring[:, 0] %= 360
    return shapely.Polygon(ring)


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:3031", "EPSG:3995"])
@pytest.mark.parametrize(("x", "y"), [(-0.5, -0.5), (-0.01, -0.5), (0, 0), (0, -0.5), (0.001, -0.3), (-1, 0)])
@pytest.mark.parametrize("side_m", [30_720.0, 1_228_800.0])
def test_a_cell_at_a_pole_meets_what_lies_on_it_and_nothing_far_off(
    crs: str, x: float, y: float, side_m: float
) -> None:
    cell = box(x * side_m, y * side_m, (x + 1) * side_m, (y + 1) * side_m, crs)
    ground = covered_ground(cell)
    sign = -1 if crs == "EPSG:3031" else 1
    for across, along in np.random.default_rng(1).random((60, 2)):
        longitude, latitude = point((x + across) * side_m, (y + along) * side_m, crs).to_crs("EPSG:4326").coords[0]
        here = box(longitude - 1e-6, latitude - 1e-7, longitude + 1e-6, latitude + 1e-7, "EPSG:4326")
        assert meet(here, ground), (longitude, latitude)
    reach = abs(point(side_m * 1.5, 0, crs).to_crs("EPSG:4326").coords[0][1]) * sign
    assert not meet(box(-180, min(reach, 0), 180, max(reach, 0), "EPSG:4326"), ground)


@settings(max_examples=100)
@given(st.floats(-179, 100), st.floats(1, 180), st.floats(-80, 70), st.floats(1, 15))
def test_a_wide_box_of_an_equal_area_grid_is_neither_torn_nor_bent(
    west: float, width: float, south: float, height: float
) -> None:
    (left, bottom), (right, top) = (
        point(min(west + across, 179.9), south + along, "EPSG:4326").to_crs("EPSG:6933").coords[0]
        for across, along in ((0, 0), (width, height))
    )
    found = covered_ground(box(left, bottom, right, top, "EPSG:6933")).boundingbox.bbox
    assert found == pytest.approx((west, south, min(west + width, 179.9), south + height), abs=1e-6)


def test_only_what_bends_has_more_places_along_its_edges() -> None:
    small, large = (
        box(500_000, 0, 507_680, 7_680, "EPSG:32631"),
        box(400_000, 7_000_000, 600_000, 7_200_000, "EPSG:32631"),
    )
    assert cut_to_bend(small) is small
    assert 8 < shapely.get_num_coordinates(cut_to_bend(large).geom) < 100
    degrees = box(0, 80, 90, 82, "EPSG:4326")
    assert cut_to_bend(degrees) is degrees and covered_ground(degrees) == degrees


def test_a_footprint_of_several_parts_with_a_hole_keeps_them() -> None:
    square, other = shapely.box(0, 7e6, 2e5, 7.2e6), shapely.box(8e5, 7e6, 9e5, 7.1e6)
    ring = shapely.Polygon(square.exterior, [shapely.box(5e4, 7.05e6, 1.5e5, 7.15e6).exterior])
    ground = covered_ground(Geometry(shapely.MultiPolygon([ring, other]), "EPSG:32631"))
    inside = point(1e5, 7.1e6, "EPSG:32631").to_crs("EPSG:4326")
    assert len(shapely.get_parts(ground.geom)) == 2 and not ground.intersects(inside)


def test_a_great_circle_is_nearest_to_the_pole_in_its_middle() -> None:
    assert poleward(60, 0) == pytest.approx(60) and poleward(-60, 20) == -poleward(60, -20)
    # Napier: tan(60) / cos(10)
    assert poleward(60, 20) == pytest.approx(
        math.degrees(math.atan(math.tan(math.radians(60)) / math.cos(math.radians(10))))
    )
    width_deg = math.degrees(LONGEST_EDGE_M / (6_378_137 * math.cos(math.radians(82))))
    assert bend_deg(82) == pytest.approx(poleward(82, width_deg) - 82, rel=0.02)


def test_boxes_are_widened_away_from_the_pole_alone() -> None:
    west, south, _, north = with_bends((10, 60, 11, 61))
    assert (north, 11 - west) == (61, pytest.approx(1, abs=0.001)) and 60 - south == pytest.approx(bend_deg(60))
    assert with_bends((10, -61, 11, -60))[1::2] == (-61, pytest.approx(-60 + bend_deg(60)))
    assert with_bends((10, -1, 11, 1))[1::2] == (-1, 1) and with_bends((10, 1e-6, 11, 1))[1] == pytest.approx(
        0, abs=1e-6
    )
    assert asked_box((-180, 10, 180, 20))[::2] == (-180, 180)


def test_an_area_on_both_sides_of_the_antimeridian_is_two_boxes_and_any_other_is_one() -> None:
    fiji = shapely.union(shapely.box(179.5, -17, 180, -16.5), shapely.box(-180, -17, -179.8, -16))
    assert Area("fiji", Geometry(fiji, "EPSG:4326")).boxes == (
        (179.5, -17, 180, -16),
        (-180, -17, pytest.approx(-179.8), -16),
    )
    for bounds in ((-180, -90, 180, 90), (-180, -20, -170, -10), (170, -20, 180, -10), (10, 20, 30, 40)):
        assert Area("one", box(*bounds, "EPSG:4326")).boxes == (bounds,)
