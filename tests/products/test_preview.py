"""What a preview looks at: pixels that nest in those of the product, the clearest passes that see all ground, masks of the same metres."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from odc.geo.geom import box, point

from products.area import area_from_bounds
from products.errors import RequestError
from products.preview import MOST_PASSES, SIDE_PX, VIEWS, area_around, chosen_passes, preview_box, preview_recipe
from products.registry import parse_recipe, scene_recipe
from products.scene import Scene
from products.scene_recipe import SceneRecipe

RECIPE = scene_recipe("mangrove_features")
WEST, EAST = (100.0, 4.0, 100.5, 5.0), (100.5, 4.0, 101.0, 5.0)
GROUND = box(100.0, 4.0, 101.0, 5.0, "EPSG:4326")


def scene(number: int, ground: tuple[float, ...] = (100.0, 4.0, 101.0, 5.0)) -> Scene:
    acquired = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number)
    return Scene(
        UUID(int=number), f"item{number}", "p", "landsat-c2-l2", "oli", "landsat-8", acquired, f"a{number}", "r",
        f"pass{number}", box(*ground, "EPSG:4326"), {},
    )  # fmt: skip


def written(clear: str) -> SceneRecipe:
    found = parse_recipe(
        f"""
name: some
version: 1
kind: observations
grid: {{crs: utm, resolution_m: 20}}
sources: [{{collection: sentinel-2-l2a, clear: {clear}}}]
bands: [nir]
""",
        "the recipe",
    )
    assert isinstance(found, SceneRecipe)
    return found


@pytest.mark.parametrize("bounds", ["100.8,4.9,100.87,4.98", "100,4,102.3,5", "100.845,4.95,100.8455,4.9505"])
def test_a_picture_has_at_most_256_pixels_that_are_whole_groups_of_product_pixels(bounds: str) -> None:
    area = area_from_bounds(bounds).geometry
    found = preview_box(RECIPE, area)
    grid = RECIPE.grid.pixel_grid(area)
    assert max(found.shape) <= SIDE_PX
    assert found.resolution.x % grid.resolution_m == 0 and found.resolution.y == -found.resolution.x
    for corner in (found.affine.c, found.affine.f):
        assert (corner - grid.anchor_m) % found.resolution.x == 0
    assert found.extent.contains(area.to_crs(grid.crs, resolution=0.01).buffer(-0.001))


@pytest.mark.parametrize("resolution_m", [0.5, 10, 30, 500])
@pytest.mark.parametrize(
    ("place", "crs"),
    [
        ((100.845, 4.95), "utm"),
        ((-80.0123, -2.9971), "utm"),
        ((15.6, 78.2), "utm"),
        ((179.9999, 66.3), "utm"),
        ((100.845, 4.95), "EPSG:6933"),
        ((-80.0123, -2.9971), "EPSG:6933"),
        ((15.6, 78.2), "EPSG:6933"),
    ],
)
def test_around_a_place_lie_256_x_256_pixels_of_the_product(
    place: tuple[float, float], resolution_m: float, crs: str
) -> None:
    grid = RECIPE.grid.model_copy(update={"crs": crs, "resolution_m": resolution_m})
    recipe = RECIPE.model_copy(update={"grid": grid})
    found = preview_box(recipe, area_around(recipe, *place).geometry)
    assert (found.resolution.x, found.shape) == (resolution_m, (SIDE_PX, SIDE_PX))
    x, y = point(*place, "EPSG:4326").to_crs(found.crs).coords[0]
    column, row = ~found.affine * (x, y)
    assert (int(column), int(row)) in {(SIDE_PX // 2, SIDE_PX // 2), (SIDE_PX // 2, SIDE_PX // 2 - 1)}


@pytest.mark.parametrize(
    ("place", "resolution_m"),
    [((179.9999, 66.3), 10), ((-179.999, -17.0), 30), ((180.0, 0.0), 500), ((10.0, 89.9), 30), ((10.0, -89.999), 10), ((175.0, 0.0), 5000)],
)  # fmt: skip
def test_around_a_place_at_the_edge_of_a_crs_there_is_no_picture(
    place: tuple[float, float], resolution_m: float
) -> None:
    grid = RECIPE.grid.model_copy(update={"crs": "EPSG:6933", "resolution_m": resolution_m})
    said = f"256 pixels of {resolution_m} m a side around '{place[0]:g},{place[1]:g}' reach beyond the edge of EPSG:6933: expected a place farther from"
    with pytest.raises(RequestError, match=said):
        area_around(RECIPE.model_copy(update={"grid": grid}), *place)


def test_ground_beyond_the_reach_of_a_grid_is_refused() -> None:
    recipe = RECIPE.model_copy(update={"grid": RECIPE.grid.model_copy(update={"crs": "EPSG:32647"})})
    with pytest.raises(RequestError, match="beyond the reach of EPSG:32647: ask for less ground"):
        preview_box(recipe, box(-172.0, -10.0, -160.0, 10.0, "EPSG:4326"))


def test_around_a_place_beyond_the_reach_of_a_grid_is_refused() -> None:
    recipe = RECIPE.model_copy(update={"grid": RECIPE.grid.model_copy(update={"crs": "EPSG:32647"})})
    with pytest.raises(RequestError, match="'9,0' holds no tile of EPSG:32647: expected an area within the reach of"):
        area_around(recipe, 9.0, 0.0)


def test_of_any_recipe_the_geomedian_in_true_colour_is_made_from_averages() -> None:
    for name in ("mangrove_features", "coastal_observations", "coastal_series"):
        recipe = scene_recipe(name)
        found = preview_recipe(recipe, 240.0)
        assert found.feature_names == found.used_bands == ("red", "green", "blue")
        assert found.grid.resolution_m == 240.0 and found.harmonise == recipe.harmonise
        assert {source.resampling_of("red") for source in found.sources} == {"average"}


@pytest.mark.parametrize(("to_m", "growth_px"), [(20.0, 3.0), (30.0, 2.0), (60.0, 1.0), (120.0, 0.0)])
def test_masks_grow_by_the_same_metres(to_m: float, growth_px: float) -> None:
    clear = preview_recipe(written("{dilate_px: 3}"), to_m).sources[0].clear
    assert clear.growth_px(to_m) == growth_px


def test_a_mask_model_is_left_out_where_it_does_not_see_such_pixels() -> None:
    recipe = written("{model: omnicloudmask, decide: either, open_m: 40}")
    fine, coarse = (preview_recipe(recipe, side).sources[0].clear for side in (40.0, 400.0))
    assert (fine.model, fine.decide, fine.open_m) == ("omnicloudmask", "either", 40.0)
    assert (coarse.model, coarse.model_version, coarse.decide, coarse.open_m) == (None, None, "model", None)


def test_the_clearest_passes_are_taken_until_all_ground_was_seen_some_times() -> None:
    scenes = [scene(number) for number in range(10)]
    clouds = {each.id: float(90 - 10 * number) for number, each in enumerate(scenes)}
    chosen = chosen_passes(scenes, clouds, GROUND)
    assert [members[0].item_id for members in chosen] == ["item9", "item8", "item7", "item6"]


def test_a_pass_over_ground_that_was_seen_enough_is_left_for_one_over_other_ground() -> None:
    clear_west = [scene(number, WEST) for number in range(VIEWS + 3)]
    cloudy_east = [scene(20 + number, EAST) for number in range(2)]
    clouds = dict.fromkeys([each.id for each in clear_west], 1.0) | {cloudy_east[0].id: 99.0}
    chosen = [members[0] for members in chosen_passes([*clear_west, *cloudy_east], clouds, GROUND)]
    assert len([each for each in chosen if each in clear_west]) == VIEWS
    assert chosen[VIEWS:] == cloudy_east[::-1]  # one that does not say counts as half cloudy


def test_however_large_the_ground_there_are_few_passes() -> None:
    strips = [scene(n, (100.0 + n / 40, 4.0, 100.0 + (n + 1) / 40, 5.0)) for n in range(40)]
    assert len(chosen_passes(strips, {}, GROUND)) <= MOST_PASSES
