"""The plan is exact and pure: which cells, in which state, from which scenes."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import numpy as np
import pytest
import shapely
from odc.geo.geom import Geometry, box

from flows import planning, tiling
from flows.cell_memory import cell_bytes, fitting_strip_px
from flows.planning import Plan, batches, make_plan
from flows.tiling import Cut, cut_cells
from products.area import Area, area_from_bounds
from products.errors import RequestError
from products.grid import PixelGrid, Tile
from products.identity import NAMESPACE, SourceKey
from products.period import parse_period
from products.registry import DEFINITIONS, features_recipe, parse_recipe
from products.scene import Angles, Scene
from products.spec import FeaturesRecipe

RECIPE = features_recipe("mangrove_features")
RECIPE_TEXT = (DEFINITIONS / "mangrove_features.recipe.yaml").read_text()
SETTLE = timedelta(days=16)
NOW = datetime(2021, 6, 1, tzinfo=UTC)
GRID = PixelGrid("EPSG:32647", 30.0, 256, 15.0)
TILES = tuple(Tile(GRID.crs, row, column) for row in (-70, -69) for column in (65, 66))


def over(tiles: Iterable[Tile], margin_px: int = -20) -> Geometry:
    return GRID.mosaic(tuple(tiles)).pad(margin_px).extent.to_crs("EPSG:4326")


AREA = Area("four_tiles", over(TILES))


def scene(
    name: str, tiles: Iterable[Tile], day: str = "2020-03-01", collection: str = "landsat-c2-l2", rendition: str = "1"
) -> Scene:
    acquired = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return Scene(
        uuid5(NAMESPACE, name + rendition), name, "product", collection, "oli", "landsat-8", acquired, name, rendition, name, over(tiles), {}
    )  # fmt: skip


ALL = [
    scene("everywhere", TILES),
    scene("sentinel", TILES, "2020-04-01", "sentinel-2-l2a"),
    scene("west", [TILES[0], TILES[2]], "2020-05-01"),
    scene("last_year", TILES, "2019-05-01"),
]


def cut(
    period: str = "2020",
    now: datetime = NOW,
    provisional: bool = False,
    recipe: FeaturesRecipe = RECIPE,
    area: Area = AREA,
) -> Cut:
    return cut_cells(recipe, area, parse_period(period), now, SETTLE, provisional)


def plan(
    scenes: Iterable[Scene] = ALL, period: str = "2020", active: dict[tuple[str, str], UUID] | None = None
) -> Plan:
    return make_plan(cut(period), list(scenes), active or {}, "cpu", 2)


def published(made: Plan) -> dict[tuple[str, str], UUID]:
    return {(cell.key.tile.label, cell.key.period.label): cell.id for cell in made.cells}


def stale(scenes: Iterable[Scene], before: Plan, period: str = "2020") -> set[Tile]:
    return {cell.key.tile for cell in plan(scenes, period, published(before)).cells if cell.state == "stale"}


def test_an_area_and_a_period_become_tiles_by_periods() -> None:
    made = cut("2019/2020")

    assert made.grid == GRID
    assert made.tiles == TILES
    assert [period.label for period in made.periods] == ["2019", "2020"]
    assert made.span == parse_period("2019/2020")


def test_the_catalogue_is_asked_for_the_tiles_with_their_halo() -> None:
    made = cut()

    assert made.ground.contains(made.grid.mosaic(TILES).extent)


@pytest.mark.parametrize(("day", "settled"), [("2021-01-16", False), ("2021-01-17", True)])
def test_a_period_settles_16_days_after_its_end(day: str, settled: bool) -> None:
    now = datetime.fromisoformat(day).replace(tzinfo=UTC)
    if settled:
        assert cut(now=now).periods == (parse_period("2020"),)
        return
    with pytest.raises(RequestError, match=r"2020 settles on 2021-01-17 \(16 days after its end\): .*--provisional"):
        cut(now=now)


def test_an_unfinished_period_is_planned_on_request() -> None:
    assert cut("2021", provisional=True).periods == (parse_period("2021"),)


def test_a_period_that_cuts_a_cell_is_refused() -> None:
    with pytest.raises(RequestError, match="cuts a cell"):
        cut("2020-01/2020-06")


def test_too_many_cells_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "MAX_CELLS", 7)
    with pytest.raises(RequestError, match="4 tiles x 2 periods are more than 7 cells: ask for less, or larger tiles"):
        cut("2019/2020")


def test_scenes_of_sentinel_2c_are_noted_where_msi_is_harmonised() -> None:
    late = replace(scene("late", TILES, "2020-04-02", "sentinel-2-l2a"), sensor="msi", platform="sentinel-2c")
    assert any("1 scenes of sentinel-2c are harmonised as sentinel-2a" in note for note in plan([*ALL, late]).notes)
    raw = parse_recipe(RECIPE_TEXT.replace("msi: hls", "msi: none"), "raw.yaml")
    assert isinstance(raw, FeaturesRecipe)
    made = make_plan(cut(recipe=raw), [*ALL, late], {}, "cpu", 2)
    assert not any("sentinel-2c" in note for note in made.notes)


def test_reflectance_is_not_normalised_of_scenes_without_angles() -> None:
    recipe = parse_recipe(RECIPE_TEXT + "brdf: c_factor\n", "nadir.yaml")
    assert isinstance(recipe, FeaturesRecipe)
    known = [replace(each, angles=Angles(50, 130, 5, 100)) for each in ALL]
    made = make_plan(cut(recipe=recipe), known, {}, "cpu", 2)
    moved = [replace(known[0], angles=Angles(50, 130, 6, 100)), *known[1:]]
    assert {cell.state for cell in make_plan(cut(recipe=recipe), moved, published(made), "cpu", 2).cells} == {"stale"}
    with pytest.raises(
        RequestError, match=r"every scene, 1 of 4 lack them, the first west: .*view:incidence_angle.*brdf: none"
    ):
        make_plan(cut(recipe=recipe), [*known[:2], ALL[2], known[3]], {}, "cpu", 2)


def test_measuring_shifts_is_part_of_the_planned_memory() -> None:
    recipe = parse_recipe(RECIPE_TEXT + "coregister: {reference: landsat-c2-l2}\n", "moved.yaml")
    assert isinstance(recipe, FeaturesRecipe)
    assert cell_bytes(recipe, 200, 2) == cell_bytes(RECIPE, 200, 2)
    assert cell_bytes(recipe, 200, 2, 16) > cell_bytes(RECIPE, 200, 2, 16)


def test_every_cell_lists_the_scenes_that_touch_it_in_its_period() -> None:
    made = plan(period="2019/2020")
    names = {(c.key.tile, c.key.period.label): [s.item_id for s in c.scenes] for c in made.cells}

    assert len(made.cells) == 8
    assert names[TILES[0], "2020"] == ["everywhere", "sentinel", "west"]
    assert names[TILES[1], "2020"] == ["everywhere", "sentinel"]
    assert names[TILES[1], "2019"] == ["last_year"]


def test_scenes_in_any_order_fall_into_their_periods() -> None:
    days = ["2019-12-31", "2020-01-01", "2018-06-01", "2020-12-31"]
    made = plan([scene(day, TILES, day) for day in days], "2018/2020")

    found = {c.key.period.label: [s.item_id for s in c.scenes] for c in made.cells if c.key.tile == TILES[0]}
    assert found == {"2018": ["2018-06-01"], "2019": ["2019-12-31"], "2020": ["2020-01-01", "2020-12-31"]}


def test_a_cell_of_a_long_plan_takes_no_more_steps_than_one_of_a_short_plan() -> None:
    def steps_per_cell(n_years: int, n_columns: int) -> float:
        tiles = tuple(Tile(GRID.crs, -70, 65 + column) for column in range(n_columns))
        years = range(2021 - n_years, 2021)
        scenes = [
            scene(f"{year}-{month:02}-10", tiles, f"{year}-{month:02}-10") for year in years for month in range(1, 13)
        ]
        asked = cut(f"{years[0]}/2020", area=Area("row", over(tiles)))
        n_steps = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal n_steps
            n_steps += event in ("call", "c_call")

        sys.setprofile(count)
        made = make_plan(asked, scenes, {}, "cpu", 2)
        sys.setprofile(None)
        assert len(made.cells) == n_years * n_columns
        return n_steps / len(made.cells)

    steps_per_cell(1, 1)  # fills caches
    assert steps_per_cell(40, 1) < 1.2 * steps_per_cell(4, 1)
    assert steps_per_cell(2, 40) < 1.2 * steps_per_cell(2, 4)


def test_a_scene_in_the_halo_alone_belongs_to_the_cell() -> None:
    edge = GRID.geobox(TILES[0]).boundingbox
    beside = box(edge.left - 3000, edge.bottom, edge.left - 60, edge.top, GRID.crs).to_crs("EPSG:4326")
    far = box(edge.left - 3000, edge.bottom, edge.left - 120, edge.top, GRID.crs).to_crs("EPSG:4326")
    assert RECIPE.halo_px * 30 == 90

    for footprint, expected in ((beside, 1), (far, 0)):
        made = plan([ALL[0], replace(ALL[0], item_id="beside", footprint=footprint)])
        assert sum(s.item_id == "beside" for s in made.cells[0].scenes) == expected


def test_cells_are_missing_then_fresh() -> None:
    first = plan()
    again = plan(active=published(first))

    assert [cell.state for cell in first.cells] == ["missing"] * 4
    assert [cell.state for cell in again.cells] == ["fresh"] * 4
    assert again.to_build == ()
    assert (again.seconds, again.scenes) == (0, frozenset())


def test_the_order_of_scenes_changes_no_id() -> None:
    assert published(plan(ALL[::-1])) == published(plan())


def test_an_added_scene_makes_exactly_its_cells_stale() -> None:
    added = scene("added", [TILES[1]], "2020-08-01")

    assert stale([*ALL, added], plan()) == {TILES[1]}


def test_a_removed_scene_makes_exactly_its_cells_stale() -> None:
    assert stale([s for s in ALL if s.item_id != "west"], plan()) == {TILES[0], TILES[2]}


def test_a_replaced_rendition_makes_exactly_its_cells_stale() -> None:
    replaced = [replace(s, id=UUID(int=9), rendition="2") if s.item_id == "west" else s for s in ALL]

    assert stale(replaced, plan()) == {TILES[0], TILES[2]}


def test_a_scene_of_another_year_changes_no_cell_of_this_one() -> None:
    assert stale([*ALL, scene("older", TILES, "2019-12-31")], plan()) == set()


def test_a_moved_scene_with_the_same_rendition_changes_nothing() -> None:
    moved = [replace(s, id=UUID(int=n + 1)) for n, s in enumerate(ALL)]

    assert stale(moved, plan()) == set()


def test_another_recipe_makes_every_cell_stale() -> None:
    other = RECIPE.model_copy(update={"min_observations": 2})
    made = make_plan(replace(cut(), recipe=other), ALL, published(plan()), "cpu", 1)

    assert [cell.state for cell in made.cells] == ["stale"] * 4


def test_another_tide_model_makes_every_cell_stale() -> None:
    models = (SourceKey("tide", "EOT20"), SourceKey("tide", "FES2022"), None)
    one, other, none = (make_plan(cut(), ALL, {}, "cpu", 1, models=(model,) if model else ()) for model in models)

    assert {cell.id for cell in one.cells}.isdisjoint(cell.id for cell in (*other.cells, *none.cells))
    assert published(none) == published(plan())
    again = make_plan(cut(), ALL, published(one), "cpu", 1, models=(models[1],))
    assert [cell.state for cell in again.cells] == ["stale"] * 4


def test_a_published_cell_without_scenes_is_an_orphan() -> None:
    before = plan()
    after = plan([ALL[2]], active=published(before))

    assert set(after.orphans) == {cell.id for cell in before.cells if cell.key.tile in (TILES[1], TILES[3])}
    assert plan([], active=published(before)).cells == ()


def test_what_is_odd_and_harmless_is_a_note() -> None:
    made = plan([ALL[2]])

    assert made.notes[0] == "no scene of sentinel-2-l2a in 2020"
    assert made.notes[1].startswith("2 cells have no scene: 2020 32647_r-70_c66, 2020 32647_r-69_c66")
    assert plan().notes == ()


def test_no_scene_at_all_is_an_error() -> None:
    with pytest.raises(
        RequestError, match="no scene of landsat-c2-l2, sentinel-2-l2a over the area 'four_tiles' in 2020: ingest"
    ):
        plan([])


def test_scenes_beside_the_area_are_an_error_too() -> None:
    elsewhere = scene("elsewhere", [Tile(GRID.crs, -60, 80)])
    with pytest.raises(RequestError, match="over the area 'four_tiles' in 2020 touches its tiles"):
        plan([elsewhere])


def test_memory_grows_with_scenes_and_tile() -> None:
    recipe = parse_recipe(RECIPE_TEXT.replace("tile_px: 256", "tile_px: 512"), "mine.yaml")
    assert isinstance(recipe, FeaturesRecipe)

    per_scene = cell_bytes(RECIPE, 20, 1) - cell_bytes(RECIPE, 19, 1)
    assert per_scene > 256**2 * 2 * 6
    assert 3.8 < (cell_bytes(recipe, 20, 1) - cell_bytes(recipe, 19, 1)) / per_scene < 4.0
    assert cell_bytes(RECIPE, 60, 1) - cell_bytes(RECIPE, 40, 1) == cell_bytes(RECIPE, 40, 1) - cell_bytes(
        RECIPE, 20, 1
    )
    assert cell_bytes(RECIPE, 1, 1) == cell_bytes(RECIPE, 2, 1)  # publishing is the peak
    assert cell_bytes(RECIPE, 20, 2) > cell_bytes(RECIPE, 20, 1)


def test_a_cell_beyond_the_budget_is_planned_in_the_fewest_strips_that_fit() -> None:
    whole = cell_bytes(RECIPE, 40, 2)
    n_bytes = [cell_bytes(RECIPE, 40, 2, rows) for rows in (16, 32, 48, 96, 128, 256)]
    assert n_bytes == sorted(n_bytes) and n_bytes[-1] == whole

    assert fitting_strip_px(RECIPE, 40, 2, whole) == 256
    assert fitting_strip_px(RECIPE, 40, 2, whole - 1) == 128
    assert fitting_strip_px(RECIPE, 40, 2, cell_bytes(RECIPE, 40, 2, 96)) == 96
    assert fitting_strip_px(RECIPE, 40, 2, 1) == 16


def test_the_document_states_the_strips_and_their_peak() -> None:
    many = [scene(f"s{n}", [TILES[0]], f"2020-{1 + n % 12:02}-05") for n in range(40)]
    budget = cell_bytes(RECIPE, 41, 2, 64)
    made = make_plan(cut(), [*many, ALL[1]], {}, "cpu", 2, budget_bytes=budget)
    document = made.document(0.0, "EUR")

    assert [cell.strip_px for cell in made.cells] == [64, 256, 256, 256]
    assert document["strips"] == 4
    assert document["host_bytes"] == max(cell.host_bytes for cell in made.cells) <= budget
    assert plan().document(0.0, "EUR")["strips"] == 1


def test_the_document_shows_what_the_contract_asks() -> None:
    document = plan().document(price_per_core_hour=3600.0, currency="EUR")

    assert {"cells", "scenes", "bytes_read", "host_bytes", "device_bytes", "seconds", "price"} <= set(document)
    assert document["cells"][0]["state"] == "missing"
    assert (document["cells"][0]["tile"], document["cells"][0]["period"]) == ("32647_r-70_c65", "2020")
    assert document["scenes"] == 3
    assert document["bytes_read"] == (3 + 2 + 3 + 2) * 7 * 2 * 256**2
    assert document["price"]["currency"] == "EUR"


def test_the_seconds_of_a_plan_are_those_of_starting_of_each_cell_and_of_its_pixels() -> None:
    made = plan()
    pixels = sum(cell.bytes_read for cell in made.cells) / 2 / planning.PIXELS_PER_CORE_SECOND

    assert made.seconds == pytest.approx(planning.START_SECONDS + 4 * planning.CELL_SECONDS + pixels / made.threads)
    assert plan(active=published(made)).seconds == 0.0
    assert made.document(3600.0, "EUR")["seconds"] > planning.START_SECONDS


def test_a_recipe_may_name_another_crs() -> None:
    text = RECIPE_TEXT.replace("crs: utm", 'crs: "EPSG:3031"')
    recipe = parse_recipe(text, "mine.yaml")
    assert isinstance(recipe, FeaturesRecipe)
    assert cut(recipe=recipe, area=Area("pole", box(0, -89, 1, -88.9, "EPSG:4326"))).grid.crs == "EPSG:3031"


def test_cells_are_worked_in_batches() -> None:
    cells = plan(period="2019/2020").cells

    assert [len(batch) for batch in batches(cells, most=3)] == [3, 3, 2]
    assert tuple(cell for batch in batches(cells, most=3) for cell in batch) == cells


def cut_of(text: str, area: Area) -> Cut:
    recipe = parse_recipe(text, "mine.yaml")
    assert isinstance(recipe, FeaturesRecipe)
    return cut(area=area, recipe=recipe)


def plan_of(text: str, area: Area, footprint: Geometry) -> Plan:
    return make_plan(cut_of(text, area), [replace(ALL[0], footprint=footprint)], {}, "cpu", 2)


POLAR_TEXT = RECIPE_TEXT.replace("crs: utm", "crs: EPSG:3031")
ACROSS = shapely.box(179.24, -17.2, 180.28, -16.2)


@pytest.mark.parametrize("west", [-180.0, 180.0])
def test_a_scene_across_the_antimeridian_touches_the_tiles_on_both_sides_of_it(west: float) -> None:
    footprint = Geometry(shapely.transform(ACROSS, lambda at: at + np.array([west - 180, 0])), "EPSG:4326")
    east, beyond = box(179.9, -16.6, 179.99, -16.5, "EPSG:4326"), box(-179.95, -16.6, -179.8, -16.5, "EPSG:4326")
    for area in (east, beyond, box(-179.99, -16.6, -179.9, -16.5, "EPSG:4326")):
        made = cut_of(RECIPE_TEXT, Area("taveuni", area))
        planned = plan_of(RECIPE_TEXT, Area("taveuni", area), footprint)
        assert {cell.key.tile for cell in planned.cells} == set(made.tiles)


def test_tiles_that_cross_the_antimeridian_do_not_reach_round_the_world() -> None:
    area = Area("taveuni", box(-179.99, -16.6, -179.9, -16.5, "EPSG:4326"))
    with pytest.raises(RequestError, match="touches its tiles"):
        plan_of(RECIPE_TEXT, area, box(-1.0, -17.0, 1.0, -16.0, "EPSG:4326"))


@pytest.mark.parametrize("bounds", ["-180,-78.2,-178,-78", "178,-78.2,180,-78"])
def test_tiles_of_a_polar_grid_have_the_scenes_of_the_ross_sea(bounds: str) -> None:
    footprint = box(170.0, -80.0, 190.0, -76.0, "EPSG:4326")
    area = area_from_bounds(bounds)
    made = plan_of(POLAR_TEXT, area, footprint)
    assert {cell.key.tile for cell in made.cells} == set(cut_of(POLAR_TEXT, area).tiles)


def test_ground_round_a_pole_has_every_longitude() -> None:
    area = area_from_bounds("-180,-89.9,180,-89.5")
    for west in (-180, -100, 0, 100, 170):
        made = plan_of(POLAR_TEXT, area, box(west, -90.0, west + 20, -89.0, "EPSG:4326"))
        assert 1 <= len(made.cells) < len(cut_of(POLAR_TEXT, area).tiles)
