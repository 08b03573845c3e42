"""A cube keeps the periods that it has: what is built or mapped of another one joins them, in any order."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid5

import numpy as np
import pytest
from sqlalchemy import text

import flows
from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.plan_cells import plan
from flows.retire import retire_selected, sweep_retired
from flows.steps.cubes.cells import CellDraft, publish_cell, retire_cell
from flows.steps.cubes.cube_plan import CubePlan
from flows.steps.cubes.cube_pointers import CubeKey, last_cube
from flows.steps.cubes.open_cube import find_cube, open_snapshot
from flows.steps.cubes.snapshot import publish_cube
from flows.steps.storage import open_storage, path_of
from flows.steps.upkeep.retire_selection import Selection
from products.errors import RequestError
from products.grid import Tile
from products.identity import NAMESPACE, CellKey
from tests.flows.published_product import GRID, PERIODS, TEMPLATE, TILES, cells, known_arrays, publish, window

AREA = "demo"
HALVES = ("2020-01-01/2020-06-30", "2020-07-01/2020-12-31")
STARTS = [np.datetime64("2020-01-01", "ns"), np.datetime64("2020-07-01", "ns")]


@pytest.fixture
def half_years(small_recipe: Path, tmp_path: Path) -> str:
    """The small recipe with two cells of a tile in the year of the archive."""
    path = tmp_path / "halves.recipe.yaml"
    path.write_text(small_recipe.read_text().replace("period: P1Y", "period: P6M"))
    assert "period: P6M" in path.read_text()
    return str(path)


def test_a_build_of_another_period_joins_the_cube(ingested_settings: Settings, half_years: str) -> None:
    reports = [build(half_years, AREA, half) for half in HALVES]
    for half, start in zip(HALVES, STARTS, strict=True):
        assert list(flows.open_cube("mangrove_features", area=AREA, period=half).period.values) == [start]
    together = flows.open_cube("mangrove_features", area=AREA)
    assert list(together.period.values) == STARTS
    first = open_snapshot(reports[0]["cube"])
    np.testing.assert_array_equal(open_snapshot(reports[1]["cube"]).features.values[:1], first.features.values)
    again = build(half_years, AREA, HALVES[0])
    assert (again["built"], again["bytes_read"], again["cube"]) == (0, 0, reports[1]["cube"])
    assert again["asked_cube"] == reports[0]["asked_cube"] == reports[0]["cube"]
    assert list(open_snapshot(reports[1]["asked_cube"]).period.values) == STARTS[1:]
    assert build(half_years, AREA, "2020")["cube"] == reports[1]["cube"]


def test_the_order_of_builds_does_not_change_the_cube(ingested_settings: Settings, half_years: str) -> None:
    forth = [build(half_years, AREA, half)["cube"] for half in HALVES][-1]
    with open_index(ingested_settings) as index, index.engine.begin() as connection:
        connection.execute(text("delete from neocube.cube_pointer"))
    back = [build(half_years, AREA, half)["cube"] for half in reversed(HALVES)]
    assert len({forth, *back}) == 2 and back[-1] == forth


def test_a_half_that_was_seen_on_less_ground_takes_nothing_from_the_other(
    ingested_settings: Settings, half_years: str
) -> None:
    seen = less_ground_in_the_second_half(ingested_settings, half_years)
    forth = [build(half_years, AREA, half)["cube"] for half in HALVES]
    assert held(forth[0])[1] < held(forth[1])[1] and len(held(forth[1])[1]) == len(held(forth[0])[1]) + seen
    with open_index(ingested_settings) as index, index.engine.begin() as connection:
        connection.execute(text("delete from neocube.cube_pointer"))
    assert [build(half_years, AREA, half)["cube"] for half in reversed(HALVES)][1] == forth[1]


def less_ground_in_the_second_half(settings: Settings, recipe: str) -> int:
    """Leave one scene in the second half of the year; on how many tiles it is seen, of more that there are."""
    made = [plan(recipe, AREA, half).cells for half in HALVES]
    seen = Counter(scene.id for cell in made[1] for scene in cell.scenes)
    one = min(seen, key=lambda number: (seen[number], number))
    assert seen[one] < len({cell.key.tile for cell in made[0]})
    with open_index(settings) as index:
        index.dc.index.datasets.archive([number for number in seen if number != one])
    return seen[one]


def put(index: Index, settings: Settings, number: int, ground: tuple[Tile, ...] = TILES) -> str:
    """The cube of one of the known years, as a build of that year puts it together."""
    inside = {place: cell for place, cell in cells(index).items() if place[1] == PERIODS[number].label}
    tiles = tuple(tile for tile in ground if (tile.label, PERIODS[number].label) in inside)
    plan = CubePlan(TEMPLATE, "growing", GRID, tiles, (PERIODS[number],), inside, ground=ground)
    return publish_cube(index, open_storage(settings), plan)


def publish_again(index: Index, settings: Settings, tile: Tile) -> None:
    """A cell of the last year."""
    key = CellKey(TEMPLATE.product, TEMPLATE.version, tile, PERIODS[1])
    draft = CellDraft(uuid5(NAMESPACE, f"{key.label} again"), key, TEMPLATE, GRID, "digest", {})
    content = {name: array[1:, ..., *window(tile)] for name, array in known_arrays().items()}
    publish_cell(index, open_storage(settings), draft, content)


def held(path: str) -> tuple[list[str], set[str]]:
    """The years and the cells of a snapshot."""
    cube = open_snapshot(path)
    return [str(start)[:4] for start in cube.period.values], set(cube.attrs["neocube:cells"])


def test_a_kept_period_has_the_cells_that_are_active_now(index: Index, embedded_settings: Settings) -> None:
    product = publish(embedded_settings, index)
    put(index, embedded_settings, 0)
    place = (TILES[1].label, PERIODS[0].label)
    old, key = cells(index)[place], CellKey(TEMPLATE.product, TEMPLATE.version, TILES[1], PERIODS[0])
    draft = CellDraft(uuid5(NAMESPACE, "anew"), key, TEMPLATE, GRID, "digest", {})
    content = {name: array[:1, ..., *window(TILES[1])] for name, array in product.arrays.items()}
    publish_cell(index, open_storage(embedded_settings), draft, content | {"features": content["features"] + 1})
    grown = put(index, embedded_settings, 1)
    assert held(grown) == (["2019", "2020"], {str(cell.id) for cell in cells(index).values()})
    assert str(old.id) not in held(grown)[1]
    box = GRID.geobox(TILES[1])
    shown = (
        open_snapshot(grown).features.isel(period=0).sel(x=box.coordinates["x"].values, y=box.coordinates["y"].values)
    )
    np.testing.assert_array_equal(shown.values, content["features"][0] + 1)


def test_what_is_active_no_more_leaves_the_cube_and_a_year_without_cells_too(
    index: Index, embedded_settings: Settings
) -> None:
    publish(embedded_settings, index)
    put(index, embedded_settings, 0)
    first, *others = (cells(index)[tile.label, PERIODS[0].label].id for tile in TILES)
    retire_cell(index, first, "a test")
    cube = open_snapshot(put(index, embedded_settings, 1))
    assert len(cube.attrs["neocube:cells"]) == 7 and str(first) not in cube.attrs["neocube:cells"]
    assert cube.attrs["neocube:missing"] == [f"{PERIODS[0].label} {TILES[0].label}"]
    for cell in others:
        retire_cell(index, cell, "a test")
    assert held(put(index, embedded_settings, 1))[0] == ["2020"]


def test_a_year_that_covers_less_ground_leaves_the_others_as_they_are(
    index: Index, embedded_settings: Settings
) -> None:
    publish(embedded_settings, index)
    whole = {str(cell.id) for cell in cells(index).values()}
    for tile in TILES[:3]:
        gone = cells(index)[tile.label, PERIODS[1].label].id
        retire_cell(index, gone, "a test")
        whole -= {str(gone)}
    put(index, embedded_settings, 0)
    forth = put(index, embedded_settings, 1)
    assert held(forth) == (["2019", "2020"], whole)
    with index.engine.begin() as connection:
        connection.execute(text("delete from neocube.cube_pointer"))
    put(index, embedded_settings, 1)
    assert put(index, embedded_settings, 0) == forth


def test_ground_that_the_area_has_no_more_leaves_the_cube(index: Index, embedded_settings: Settings) -> None:
    publish(embedded_settings, index)
    put(index, embedded_settings, 0)
    less = put(index, embedded_settings, 1, TILES[:2])
    assert open_snapshot(less).attrs["neocube:missing"] == []
    assert open_snapshot(less).sizes["period"] == 2 and len(held(less)[1]) == 4


@pytest.mark.parametrize("swept", [False, True])
def test_a_retirement_takes_what_it_retires_out_of_a_cube_and_no_other_year(
    index: Index, embedded_settings: Settings, swept: bool
) -> None:
    publish(embedded_settings, index)
    first = put(index, embedded_settings, 0)
    put(index, embedded_settings, 1)
    done = retire_selected(Selection(product=TEMPLATE.product, period=PERIODS[1].label), yes=True)
    assert done["plan"]["counts"]["cells"] == len(TILES)
    with pytest.raises(RequestError, match="no cube of 'known_features' over 'growing'"):
        find_cube(index, TEMPLATE.product, "growing")
    if swept:
        sweep_retired([done["id"]], yes=True)
    publish_again(index, embedded_settings, TILES[2])
    again = put(index, embedded_settings, 1)
    assert held(again)[0] == ["2019", "2020"]
    assert held(again)[1] == held(first)[1] | {str(cells(index)[TILES[2].label, PERIODS[1].label].id)}


def test_of_a_cube_that_was_closed_twice_the_snapshot_that_it_had_last_is_known(
    index: Index, embedded_settings: Settings
) -> None:
    publish(embedded_settings, index)
    for number in (0, 1):
        path = put(index, embedded_settings, number)
        retire_selected(Selection(product=TEMPLATE.product, period=PERIODS[number].label), yes=True)
    found = last_cube(index, CubeKey(TEMPLATE.product, TEMPLATE.version, "growing", GRID.crs))
    assert found is not None and path_of(found.snapshot_url) == path


def test_two_years_that_are_published_at_once_are_both_there(index: Index, embedded_settings: Settings) -> None:
    publish(embedded_settings, index)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda number: put(index, embedded_settings, number), (0, 1)))
    found = find_cube(index, TEMPLATE.product, "growing")
    assert held(found.snapshot_url)[0] == ["2019", "2020"]
