"""Features that take the metres and the up of a grid for those of the ground are refused where these differ."""

import pytest
from odc.geo.geom import box

from products.errors import RequestError
from products.grid import PixelGrid
from products.map_scale import check_true, is_true_anywhere
from products.registry import parse_recipe
from products.spec import FeaturesRecipe

TERRAIN = "terrain: {{source: hill, measures: [{}]}}"
COAST = "distance: {source: hill, band: land, max_distance_m: 300, name: coast}"


def recipe(feature: str, crs: str) -> FeaturesRecipe:
    made = parse_recipe(
        f"""
name: shaped
version: 1
kind: features
grid: {{crs: "{crs}", resolution_m: 30, tile_px: 256}}
period: P1Y
sources: [{{collection: sentinel-2-l2a}}]
features:
  - index: {{names: [NDVI], reduce: [p50]}}
  - {feature}
""",
        "shaped.yaml",
    )
    assert isinstance(made, FeaturesRecipe)
    return made


def check(feature: str, crs: str, longitude: float, latitude: float) -> None:
    asked = recipe(feature, crs)
    area = box(longitude, latitude, longitude + 0.1, latitude + 0.1, "EPSG:4326")
    grid = asked.grid.pixel_grid(area)
    asked.check_grid(grid, grid.tiles(area), area)


@pytest.mark.parametrize(
    ("feature", "crs", "place", "message"),
    [
        (COAST, "EPSG:6933", (100.8, 4.9), "coast_distance in EPSG:6933: a metre of the ground is 0.87 to 1.15 metres of this grid here"),
        (TERRAIN.format("position, slope"), "EPSG:6933", (10, 45), "slope in EPSG:6933: a metre of the ground is 0.8. to 1.2"),
        (TERRAIN.format("slope"), "EPSG:3857", (10, 60), "here, expected within 2% of 1: use crs: utm, or leave slope out"),
        (TERRAIN.format("aspect, slope"), "EPSG:3031", (100, -71), "aspect in EPSG:3031: the grid's up is up to 10[0-2] degrees off north here"),
        (TERRAIN.format("northness"), "EPSG:3035", (25, 60), "up to 13 degrees off north here, expected within 5: use crs: utm, or leave northness out"),
        (TERRAIN.format("hillshade"), "EPSG:32647", (78, 10), "hillshade in EPSG:32647: a metre of the ground is 1.0[0-9] to 1.0[0-9] metres"),
    ],
)  # fmt: skip
def test_a_feature_whose_grid_is_not_true_to_the_ground_is_refused(
    feature: str, crs: str, place: tuple[float, float], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        check(feature, crs, *place)


def test_an_area_near_a_pole_that_is_wider_than_a_zone_is_to_be_asked_for_in_parts() -> None:
    asked = recipe(TERRAIN.format("aspect"), "utm")
    area = box(12, 78, 26, 79.5, "EPSG:4326")
    grid = asked.grid.pixel_grid(area)
    with pytest.raises(
        RequestError, match="EPSG:32634: the grid's up is up to (9|10) degrees off north here"
    ) as refused:
        asked.check_grid(grid, grid.tiles(area), area)
    assert str(refused.value).endswith(": ask for areas within one UTM zone each, or leave aspect out")


@pytest.mark.parametrize(
    ("feature", "crs", "place"),
    [
        (COAST, "EPSG:6933", (10, 30)),
        (COAST, "EPSG:3031", (100, -71)),
        (TERRAIN.format("slope"), "EPSG:3035", (25, 60)),
        (TERRAIN.format("slope, aspect"), "EPSG:3857", (10, 3)),
        (TERRAIN.format("position, elevation, ruggedness, roughness"), "EPSG:3857", (10, 60)),
        (TERRAIN.format("slope, aspect, hillshade"), "utm", (14.9, 79.9)),
        (TERRAIN.format("slope, aspect, eastness"), "utm", (100.8, 4.9)),
        (TERRAIN.format("slope, aspect"), "utm", (-71.2, -45.0)),
        ("texture: {of: {feature: ndvi_p50}, measures: [contrast]}", "EPSG:3857", (10, 60)),
    ],
)
def test_others_are_not_refused(feature: str, crs: str, place: tuple[float, float]) -> None:
    check(feature, crs, *place)


@pytest.mark.parametrize("places", [[(100.845, 4.95), (30.01, -16.84)], [(-20.0, 0.5), (20.0, 0.5)]])
def test_one_zone_for_sites_far_apart_is_refused(places: list[tuple[float, float]]) -> None:
    asked = recipe("texture: {of: {feature: ndvi_p50}, measures: [contrast]}", "utm")
    boxes = [box(x, y, x + 0.05, y + 0.05, "EPSG:4326") for x, y in places]
    sites = boxes[0] | boxes[1]
    whole = asked.grid.pixel_grid(sites)
    grid = PixelGrid(whole.crs, whole.resolution_m, 8192, whole.anchor_m)
    with pytest.raises(
        RequestError, match=r"crs: utm is EPSG:32\d+ here, .* off at the far end of the area, .* 2%: ask"
    ):
        asked.check_grid(grid, grid.tiles(sites), sites)


PLAIN = "texture: {of: {feature: ndvi_p50}, measures: [contrast]}"


def small_area_under_large_tiles(feature: str, resolution_m: float, tile_px: int) -> None:
    asked = recipe(feature, "utm")
    area = box(98.0, 8.0, 98.1, 8.1, "EPSG:4326")
    chosen = asked.grid.pixel_grid(area)
    grid = PixelGrid(chosen.crs, resolution_m, tile_px, chosen.anchor_m)
    asked.check_grid(grid, grid.tiles(area), area)


@pytest.mark.parametrize(("resolution_m", "tile_px"), [(500, 4096), (1000, 2048), (250, 8192)])
def test_a_small_area_is_not_refused_for_the_far_corners_of_its_large_tiles(resolution_m: float, tile_px: int) -> None:
    small_area_under_large_tiles(PLAIN, resolution_m, tile_px)


def test_features_in_metres_are_made_of_whole_tiles_which_are_to_be_smaller_then() -> None:
    message = "slope in EPSG:32647: a metre of the ground is 1.00 to 1.03 metres .*: use a smaller tile_px, or leave slope out"
    with pytest.raises(RequestError, match=message):
        small_area_under_large_tiles(TERRAIN.format("slope"), 500, 4096)
    small_area_under_large_tiles(TERRAIN.format("slope"), 500, 256)


def test_corners_beyond_the_map_say_nothing() -> None:
    grid = PixelGrid("EPSG:6933", 30_000.0, 16, 0.0)
    edge = grid.tiles(box(179.5, 28.9, 179.9, 29.9, "EPSG:4326"))
    assert all(grid.geobox(tile).boundingbox.right > 17_367_530 for tile in edge)
    with pytest.raises(RequestError, match="metre of the ground is 0.9. to 1.0. metres"):
        check_true(grid, edge, ("slope",), ())


def test_a_crs_is_true_where_it_is_for_or_somewhere_is_not() -> None:
    true = (
        "utm",
        "EPSG:32601",
        "EPSG:32760",
        "EPSG:3031",
        "EPSG:3413",
        "EPSG:3035",
        "EPSG:5070",
        "EPSG:3577",
        "EPSG:2193",
    )
    assert all(map(is_true_anywhere, true))
    of_no_area = "+proj=tmerc +lon_0=9 +k=0.9996 +x_0=500000 +ellps=WGS84"
    assert not any(map(is_true_anywhere, ("EPSG:3857", "EPSG:3395", "EPSG:6933", "EPSG:3832", of_no_area)))
