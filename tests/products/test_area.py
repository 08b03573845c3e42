"""Areas are polygons in degrees, or an error says what was expected."""

import pytest
from shapely import Point, Polygon
from shapely import box as shapely_box

from products.area import area_from_bounds, area_from_shape
from products.errors import RequestError


def test_bounds_become_a_named_rectangle() -> None:
    area = area_from_bounds("-1.5, 50,2,51.25")

    assert area.name == "bbox_m1p5_50_2_51p25"
    assert tuple(area.geometry.boundingbox) == (-1.5, 50.0, 2.0, 51.25)
    assert str(area.geometry.crs) == "EPSG:4326"


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d"])
def test_bounds_that_are_not_four_numbers_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="expected west,south,east,north in degrees"):
        area_from_bounds(text)


@pytest.mark.parametrize(
    "text", ["2,0,1,1", "0,1,1,0", "0,0,0,1", "-181,0,1,1", "0,-91,1,1", "0,0,500000,1", "nan,0,1,1"]
)
def test_bounds_outside_the_world_or_turned_round_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"expected west < east within -180\.\.180"):
        area_from_bounds(text)


def test_an_empty_area_is_refused() -> None:
    with pytest.raises(RequestError, match="the area 'here' is empty: expected at least one polygon"):
        area_from_shape("here", Polygon())


def test_an_area_without_surface_is_refused() -> None:
    with pytest.raises(RequestError, match="the area 'here' has no surface: expected polygons, got Point"):
        area_from_shape("here", Point(1, 2))


def test_an_area_in_metres_is_refused() -> None:
    with pytest.raises(RequestError, match=r"reaches 500000,.*: expected degrees of longitude and latitude"):
        area_from_shape("here", shapely_box(500_000, 0, 510_000, 10_000))


def test_a_polygon_that_crosses_itself_is_mended() -> None:
    bow_tie = Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])

    assert area_from_shape("bow_tie", bow_tie).geometry.geom.is_valid
