"""Ground across the antimeridian and round a pole is one piece of it, and has its centre there."""

import pytest
import shapely
from odc.geo.geom import Geometry, box

from products.antimeridian import as_geojson, centre, in_one_piece, meet
from products.grid import PixelGrid, Tile
from products.grid_spec import GridSpec
from products.registry import features_recipe

FIJI = Geometry(shapely.union(shapely.box(179.5, -17, 180, -16.5), shapely.box(-180, -17, -179.8, -16.5)), "EPSG:4326")


def test_an_area_on_both_sides_of_the_antimeridian_has_the_zone_of_its_larger_side() -> None:
    grid = features_recipe("mangrove_features").grid.pixel_grid(FIJI)
    assert grid.crs == "EPSG:32760"
    assert len(grid.tiles(FIJI)) < 130


def test_the_centre_of_a_tile_across_the_antimeridian_lies_on_it() -> None:
    tile = PixelGrid("EPSG:32701", 30.0, 256, 15.0).geobox(Tile("EPSG:32701", -1054, 23))
    left, _, right, _ = in_one_piece(tile.extent).boundingbox.bbox
    assert left < 180 < right < left + 0.1
    longitude, latitude = centre(tile.extent)
    assert (abs(longitude), latitude) == pytest.approx((180.0, -17.245), abs=0.01)
    assert centre(box(-180, -17, -179, -16, "EPSG:4326")) == (-179.5, -16.5)
    assert centre(box(179, -17, 181.5, -16, "EPSG:4326")) == (-179.75, -16.5)


@pytest.mark.parametrize(("crs", "south", "north"), [("EPSG:3031", -90, -60), ("EPSG:3413", 60, 90)])
def test_a_square_round_a_pole_meets_what_lies_at_every_longitude(crs: str, south: int, north: int) -> None:
    square = in_one_piece(box(-1e6, -5e5, 5e5, 1e6, crs))
    assert square.boundingbox.span_x == 360 and square.is_valid
    at_pole, far = (-90, -89) if south < 0 else (89, 90), (-80, -70) if south < 0 else (70, 80)
    for west in range(-180, 180, 20):
        assert meet(box(west, at_pole[0], west + 20, at_pole[1], "EPSG:4326"), square)
        assert not meet(box(west, -10, west + 20, 10, "EPSG:4326"), square)
        ground = box(west, far[0], west + 20, far[1], "EPSG:4326")
        truly = ground.to_crs(crs, resolution=0.5).intersects(box(-1e6, -5e5, 5e5, 1e6, crs))
        assert meet(ground, square) == truly


def test_a_polar_ring_keeps_its_hole_open_where_that_does_not_hold_the_pole() -> None:
    whole = box(-1e6, -1e6, 1e6, 1e6, "EPSG:3031")
    hole = shapely.box(2e5, 2e5, 6e5, 6e5)
    ring = in_one_piece(Geometry(whole.geom - hole, "EPSG:3031"))
    inside = Geometry(shapely.box(3.9e5, 3.9e5, 4.1e5, 4.1e5), "EPSG:3031").to_crs("EPSG:4326")
    assert not meet(inside, ring) and meet(inside, in_one_piece(whole))


def test_the_world_round_stays_as_it_is() -> None:
    world = box(-180, -80, 180, -79, "EPSG:4326")
    assert in_one_piece(world).boundingbox.bbox == (-180, -80, 180, -79)
    assert GridSpec(resolution_m=30.0).pixel_grid(world).crs == "EPSG:32731"


def test_the_geometry_of_a_tile_across_the_antimeridian_is_cut_there_and_its_box_ends_east_of_it() -> None:
    tile = PixelGrid("EPSG:32701", 30.0, 256, 15.0).geobox(Tile("EPSG:32701", -1054, 23)).extent
    geometry, (west, south, east, north) = as_geojson(tile)
    cut, whole = shapely.geometry.shape(geometry), in_one_piece(tile)
    assert (geometry["type"], len(geometry["coordinates"])) == ("MultiPolygon", 2)
    assert cut.is_valid and cut.bounds[0] == -180 and cut.bounds[2] == 180
    assert cut.area == pytest.approx(whole.area) and shapely.intersection(cut, shapely.box(-179, -90, 179, 90)).is_empty
    assert (west, south, east + 360, north) == whole.boundingbox.bbox and 179.9 < west < 180 and -180 < east < -179.9
    (exteriors,) = zip(*geometry["coordinates"], strict=True)
    assert all(shapely.LinearRing(ring).is_ccw for ring in exteriors)


def test_the_geometry_of_other_ground_is_whole() -> None:
    tile = PixelGrid("EPSG:32647", 30.0, 256, 15.0).geobox(Tile("EPSG:32647", -60, 80)).extent
    plain = tile.to_crs("EPSG:4326")
    assert as_geojson(tile) == (plain.json, plain.boundingbox.bbox)
    geometry, box_round_pole = as_geojson(box(-1e6, -5e5, 5e5, 1e6, "EPSG:3031"))
    assert (geometry["type"], box_round_pole[0], box_round_pole[2]) == ("Polygon", -180, 180)
    assert as_geojson(box(181, -17, 182, -16, "EPSG:4326"))[1] == (-179, -17, -178, -16)
