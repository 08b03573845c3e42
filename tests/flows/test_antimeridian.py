"""A scene across the antimeridian is found from both sides of it."""

import json
from pathlib import Path

import pytest
from odc.geo.geom import Geometry, box
from sqlalchemy import text

from datacube_config.connection import Index
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.index.catalogue import find_scenes
from flows.steps.index.scene_index import list_scenes, take_scenes
from flows.steps.mirroring.mirroring import scenes_to_mirror
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import normalise
from flows.steps.upkeep.retire_selection import Selection, select_datasets
from products.antimeridian import in_one_piece, meet, turns
from products.area import Area
from products.period import parse_period
from products.source_spec import SourceSpec

SITE = "https://stac.example.org/collections/c/items"


@pytest.fixture
def each_index(each_index: Index, shared_data: Path) -> Index:
    """An index with tile 01KAB, 179.24 to 180.28 degrees east."""
    item = json.loads((shared_data / "stac/odd/S2A_T01KAB_20230821_antimeridian.json").read_text())
    place = ItemPlace(f"{SITE}/i", SITE, SITE, lambda folder: frozenset())
    take_scenes(each_index, [normalise(item, place, "test", read_file_grid)])
    return each_index


def test_a_scene_across_the_antimeridian_is_found_from_both_sides(each_index: Index) -> None:
    source = SourceSpec(collection="sentinel-2-l2a")
    areas = {
        "east": box(179.5, -17.2, 179.9, -16.5, "EPSG:4326"),
        "west": box(-179.95, -16.8, -179.8, -16.5, "EPSG:4326"),
        "across": box(160_000, 8_150_000, 200_000, 8_190_000, "EPSG:32701"),
        "farther west": box(-179.5, -17.2, -179.0, -16.5, "EPSG:4326"),
        "round the pole": box(-9.5e6, -9.5e6, 9.5e6, 9.5e6, "EPSG:3031"),
        "round the pole, to 80 degrees south": box(-1e6, -1e6, 1e6, 1e6, "EPSG:3031"),
        "greenwich": box(-0.5, -17.2, 0.5, -16.5, "EPSG:4326"),
    }
    found = {name: len(find_scenes(each_index, [source], parse_period("2023"), area)) for name, area in areas.items()}
    meeting = {name for name, n_scenes in found.items() if n_scenes == 1}
    assert meeting == {"east", "west", "across", "round the pole"} and sum(found.values()) == len(meeting)
    for name in ("east", "west", "farther west", "greenwich"):
        area = Area(name, areas[name])
        assert len(list_scenes(each_index, area=area)) == found[name]
        assert len(list(scenes_to_mirror(each_index, "test", (), area, parse_period("2023")))) == found[name]


@pytest.mark.parametrize(
    ("area", "n_selected"),
    [
        ("179.5,-17.2,179.9,-16.5", 1),
        ("-179.95,-16.8,-179.8,-16.5", 1),
        ("-179.5,-17.2,-179.0,-16.5", 0),
        ("-0.5,-17.2,0.5,-16.5", 0),
    ],
)
def test_a_scene_across_the_antimeridian_is_retired_from_both_sides(
    each_index: Index, area: str, n_selected: int
) -> None:
    with each_index.engine.begin() as connection:
        select_datasets(connection, each_index, Selection(area=area))
        assert connection.scalar(text("select count(*) from selected")) == n_selected


@pytest.mark.parametrize(
    "world",
    [
        box(-180, -90, 180, 90, "EPSG:4326"),
        box(-180, -60, 175, 80, "EPSG:4326"),
        box(-20_037_508, -8_000_000, 20_037_508, 8_000_000, "EPSG:3857"),
    ],
)
def test_what_spans_the_world_is_not_torn(world: Geometry) -> None:
    assert in_one_piece(world).boundingbox.span_x > 350


@pytest.mark.parametrize(("crs", "reach"), [("EPSG:3031", (-90, -62)), ("EPSG:3413", (62, 90))])
def test_what_lies_round_a_pole_is_all_of_the_cap(crs: str, reach: tuple[int, int]) -> None:
    cap = in_one_piece(box(-2_000_000, -2_000_000, 2_000_000, 2_000_000, crs)).boundingbox
    assert (cap.left, cap.right) == (-180, 180)
    assert (cap.bottom, cap.top) == pytest.approx(reach, abs=3)


def test_what_spans_the_pacific_goes_on_beyond_180() -> None:
    pacific = in_one_piece(box(-6_000_000, -2_000_000, 6_000_000, 2_000_000, "EPSG:3832"))
    assert 96 < pacific.boundingbox.left < 97 and 203 < pacific.boundingbox.right < 204


def test_shapes_meet_whichever_longitudes_they_write() -> None:
    scene = in_one_piece(box(150_000, 8_100_000, 300_000, 8_190_000, "EPSG:32701"))
    assert 0 < scene.boundingbox.span_x < 3 and scene.boundingbox.right > 180
    assert meet(scene, box(-179.9, -18, -179, -16, "EPSG:4326")) and meet(scene, box(179, -18, 179.9, -16, "EPSG:4326"))
    assert not meet(scene, box(-170, -18, -169, -16, "EPSG:4326"))


def test_only_areas_near_the_antimeridian_are_asked_for_twice() -> None:
    assert turns(100, 101) == [(100, 101)] and turns(-80, -79) == [(-80, -79)]
    assert turns(-179, -178) == [(-179, -178), (181, 182)] and turns(179, 181) == [(179, 181), (-181, -179)]
