"""The grid is one lattice: tiles share its pixel edges, and any area finds all its tiles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.crs import CRS
from odc.geo.geom import Geometry, box

from products.errors import RequestError
from products.grid import PixelGrid, Tile, checked_crs, place_of, utm_crs

GRID = PixelGrid("EPSG:32647", 30.0, 256, 15.0)
SIDE = 256 * 30.0


def test_a_landsat_tile_starts_15_m_off_multiples_of_30_m() -> None:
    geobox = GRID.geobox(Tile(GRID.crs, -12, 3))

    assert geobox.shape == (256, 256)
    assert geobox.affine.c == 15.0 + 3 * SIDE
    assert geobox.affine.f == 15.0 + 12 * SIDE
    assert geobox.affine.c % 30 == 15.0


def test_a_halo_widens_the_tile_on_every_side() -> None:
    tile = Tile(GRID.crs, 5, -2)
    inner, wide = GRID.geobox(tile), GRID.geobox(tile, halo_px=3)

    assert wide.shape == (262, 262)
    assert wide[3:-3, 3:-3] == inner


@given(st.integers(-2000, 2000), st.integers(-2000, 2000))
def test_neighbouring_tiles_share_their_edge(row: int, column: int) -> None:
    here, right = GRID.geobox(Tile(GRID.crs, row, column)), GRID.geobox(Tile(GRID.crs, row, column + 1))
    below = GRID.geobox(Tile(GRID.crs, row + 1, column))

    assert here.boundingbox.right == right.boundingbox.left
    assert here.boundingbox.bottom == below.boundingbox.top


def test_an_area_on_four_tiles_finds_them_by_row_and_column() -> None:
    corner = GRID.geobox(Tile(GRID.crs, -60, 60)).boundingbox
    area = box(corner.right - 100, corner.bottom - 100, corner.right + 100, corner.bottom + 100, GRID.crs)

    assert GRID.tiles(area) == tuple(Tile(GRID.crs, row, column) for row in (-60, -59) for column in (60, 61))


def test_a_tile_that_only_touches_the_area_is_not_needed() -> None:
    inside = GRID.geobox(Tile(GRID.crs, -60, 60)).boundingbox

    assert GRID.tiles(box(*inside.bbox, GRID.crs)) == (Tile(GRID.crs, -60, 60),)


def test_the_curved_edge_of_a_wide_area_in_degrees_loses_no_tile() -> None:
    grid = PixelGrid("EPSG:32647", 30.0, 64, 0.0)
    area = box(96.0, 64.9, 102.0, 65.0, "EPSG:4326")
    middle = Geometry(box(98.99, 64.901, 99.01, 64.9011, "EPSG:4326").geom, "EPSG:4326")

    assert set(grid.tiles(middle)) <= set(grid.tiles(area))


def test_a_mosaic_holds_every_tile_whole() -> None:
    tiles = (Tile(GRID.crs, 2, 7), Tile(GRID.crs, 4, 6))
    mosaic = GRID.mosaic(tiles)

    assert mosaic.shape == (3 * 256, 2 * 256)
    assert mosaic[:256, 256:] == GRID.geobox(tiles[0])
    assert mosaic[512:, :256] == GRID.geobox(tiles[1])


def test_a_tile_label_names_crs_row_and_column() -> None:
    assert Tile("EPSG:32647", -12, 3).label == "32647_r-12_c3"
    assert place_of("32647_r-12_c3") == (-12, 3)
    with pytest.raises(ValueError, match="expected the label of a tile, such as 32647_r-12_c3, got '32647'"):
        place_of("32647")


@pytest.mark.parametrize(
    ("longitude", "latitude", "crs"),
    [(99.0, 4.8, "EPSG:32647"), (-70.0, -0.1, "EPSG:32719"), (180.0, 10.0, "EPSG:32660"), (-180.0, 0.0, "EPSG:32601")],
)
def test_a_point_lies_in_its_utm_zone(longitude: float, latitude: float, crs: str) -> None:
    assert utm_crs(longitude, latitude) == crs


@pytest.mark.parametrize("text", ["EPSG:99999", "nonsense", "", "EPSG:-1"])
def test_an_unknown_crs_is_named(text: str) -> None:
    with pytest.raises(RequestError, match="unknown CRS .*expected an authority code such as EPSG:32647"):
        checked_crs(text)


def test_a_crs_in_degrees_is_refused() -> None:
    with pytest.raises(RequestError, match=r"'EPSG:4326' is not projected: features need metres"):
        checked_crs("EPSG:4326")


@pytest.mark.parametrize("code", ["EPSG:2264", "EPSG:2277", "ESRI:102719"])
def test_a_crs_in_feet_is_refused(code: str) -> None:
    with pytest.raises(RequestError, match=rf"'{code}' counts in US survey foot: expected one in metres"):
        checked_crs(code)


@pytest.mark.parametrize(
    "text", ["+proj=laea +lat_0=5 +lon_0=100 +units=m", CRS("EPSG:32647").to_wkt(), "EPSG:32647+5773"]
)
def test_a_crs_that_is_no_authority_code_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"unknown CRS .*expected an authority code such as EPSG:32647"):
        checked_crs(text)


@pytest.mark.parametrize("code", ["EPSG:32647", "EPSG:3035", "EPSG:6933", "EPSG:3031", "ESRI:102022"])
def test_zones_and_equal_area_grids_are_taken(code: str) -> None:
    assert checked_crs(code) == CRS(code)


def test_the_lattice_does_not_depend_on_the_area() -> None:
    for easting in (500_000.0, 512_345.0):
        area = box(easting, 500_000, easting + 10_000, 510_000, GRID.crs)
        for tile in GRID.tiles(area):
            assert math.remainder(GRID.geobox(tile).affine.c - 15.0, SIDE) == 0.0


@pytest.mark.parametrize(
    ("crs", "bounds"),
    [
        ("EPSG:32647", (9.0, 0.0, 9.5, 0.5)),
        ("EPSG:32647", (-180.0, -90.0, 180.0, 90.0)),
        ("EPSG:3031", (0.0, 89.5, 1.0, 90.0)),
        ("EPSG:3413", (0.0, -90.0, 1.0, -89.0)),
    ],
)
def test_an_area_beyond_the_reach_of_the_crs_holds_no_tile(crs: str, bounds: tuple[float, ...]) -> None:
    assert PixelGrid(crs, 30.0, 256, 0.0).tiles(box(*bounds, "EPSG:4326")) == ()


def test_an_area_that_a_crs_tears_apart_is_cut_all_the_same() -> None:
    torn = box(-48.5, 22.0, -47.0, 24.0, "EPSG:4326")
    assert len(PixelGrid("EPSG:3577", 600.0, 256, 0.0).tiles(torn)) > 0


def test_a_ring_round_a_pole_has_tiles_at_every_longitude() -> None:
    grid = PixelGrid("EPSG:3031", 300.0, 256, 0.0)
    tiles = grid.tiles(box(-180.0, -80.0, 180.0, -79.0, "EPSG:4326"))
    assert {(tile.row < 0, tile.column < 0) for tile in tiles} == {(a, b) for a in (True, False) for b in (True, False)}
    assert Tile(grid.crs, 0, 0) not in tiles


def test_sites_an_ocean_apart_have_their_own_tiles_and_none_between() -> None:
    grid = PixelGrid("EPSG:6933", 10.0, 64, 0.0)
    sites = [box(100.80, 4.80, 100.82, 4.81, "EPSG:4326"), box(-80.0, -3.0, -79.98, -2.99, "EPSG:4326")]
    both = Geometry(sites[0].geom | sites[1].geom, "EPSG:4326")
    assert grid.tiles(both) == tuple(sorted({*grid.tiles(sites[0]), *grid.tiles(sites[1])}))


def test_more_tiles_than_anyone_builds_are_refused() -> None:
    with pytest.raises(RequestError, match="the area spans 2[0-9]{6} tiles, at most 1000000 are allowed: ask for less"):
        PixelGrid("EPSG:6933", 10.0, 64, 0.0).tiles(box(100, 0, 110, 10, "EPSG:4326"))


def test_far_ground_is_in_pieces_of_its_own_that_share_no_pixel() -> None:
    at = [(0, 0), (0, 1), (1, 0), (40, 3), (41, 3), (2, 9000)]
    tiles = tuple(sorted(Tile(GRID.crs, row, column) for row, column in at))
    assert GRID.pieces(tiles, 256 * 256 * 42 * 9001) == (tiles,)
    assert [[(tile.row, tile.column) for tile in piece] for piece in GRID.pieces(tiles, 256 * 256 * 4)] == [
        [(0, 0), (0, 1), (1, 0)], [(2, 9000)], [(40, 3), (41, 3)],
    ]  # fmt: skip


@given(st.sets(st.tuples(st.integers(-30, 30), st.integers(-30, 30)), min_size=1), st.integers(1, 50))
def test_pieces_hold_every_tile_once_and_are_no_larger_than_asked(places: set[tuple[int, int]], most: int) -> None:
    tiles = tuple(sorted(Tile(GRID.crs, row, column) for row, column in places))
    pieces = GRID.pieces(tiles, most * 256 * 256)
    assert sorted(tile for piece in pieces for tile in piece) == list(tiles)
    taken = np.zeros((61, 61), np.int64)
    for piece in pieces:
        rows, columns = np.array([(tile.row + 30, tile.column + 30) for tile in piece]).T
        box = taken[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        box += 1
        assert box.size <= most
    assert taken.max() == 1


def test_one_solid_area_is_cut_in_halves_unless_what_is_filled_stays_together() -> None:
    tiles = tuple(Tile(GRID.crs, row, column) for row in range(4) for column in range(8))
    assert [len(piece) for piece in GRID.pieces(tiles, 256 * 256 * 8)] == [8, 8, 8, 8]
    assert GRID.pieces(tiles, 256 * 256 * 8, 0.5) == (tiles,)
    far = Tile(GRID.crs, 9000, 3)
    assert GRID.pieces((*tiles, far), 256 * 256 * 8, 0.5) == (tiles, (far,))
