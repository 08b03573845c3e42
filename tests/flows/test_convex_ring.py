"""Convex footprints in plain numbers: what shapely and the general way make of them."""

import json
from math import cos, pi, sin
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.item_refused import ItemRefused, NotAScene
from flows.steps.archives.items import Wanted, read_items
from flows.steps.scenes import normalise as normaliser
from flows.steps.scenes.convex_ring import area_of, bounds_of, convex_ring, turn_of
from flows.steps.scenes.footprint import lonlat_footprint
from flows.steps.scenes.normalise import normalise

Ring = list[tuple[float, float]]
SITE = "https://stac.example.org/items"
PLACE = ItemPlace(f"{SITE}/i", SITE, SITE, lambda folder: frozenset())
POINTS = st.tuples(st.integers(-50, 50), st.integers(-50, 50))


@given(st.lists(POINTS, min_size=3, max_size=8))
def test_a_ring_turns_one_way_exactly_where_it_is_a_convex_polygon(points: Ring) -> None:
    ring = [*points, points[0]]
    polygon = shapely.Polygon(ring)
    corners = shapely.get_num_coordinates(polygon.convex_hull) if polygon.is_valid else 0
    is_convex = polygon.is_valid and polygon.equals(polygon.convex_hull) and corners == len(ring)
    assert (turn_of(ring) != 0) == is_convex
    if is_convex:
        assert turn_of(ring) == (1 if shapely.is_ccw(polygon.exterior) else -1)
        assert area_of(ring) == pytest.approx(polygon.area)
        assert bounds_of(ring) == polygon.bounds


def test_a_star_is_not_convex_though_it_turns_one_way() -> None:
    star = [(cos(4 * pi * n / 5), sin(4 * pi * n / 5)) for n in range(5)]
    assert turn_of([*star, star[0]]) == 0


SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {"type": "MultiPolygon", "coordinates": [[SQUARE]]},
        {"type": "Polygon", "coordinates": [SQUARE, SQUARE]},
        {"type": "Polygon", "coordinates": [SQUARE[:4]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [1, 1], [2, 2], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[["0", 0], *SQUARE[1:]]]},
        {"type": "Polygon", "coordinates": [[[True, 0], *SQUARE[1:]]]},
        {"type": "Polygon", "coordinates": [[[float("nan"), 0], *SQUARE[1:]]]},
        {"type": "Polygon", "coordinates": [[[10**400, 0], *SQUARE[1:]]]},
        {"type": "Polygon", "coordinates": [[[x + 179, y] for x, y in SQUARE]]},
        {"type": "Polygon", "coordinates": [[[50 * x, y] for x, y in SQUARE]]},
        {"type": "Polygon", "coordinates": {"0": SQUARE}},
    ],
)
def test_any_other_geometry_is_left_to_the_general_way(geometry: Any) -> None:
    assert convex_ring(geometry) is None


def test_a_convex_ring_is_the_general_footprint() -> None:
    geometry = {"type": "Polygon", "coordinates": [SQUARE]}
    ring = convex_ring(geometry)
    assert ring is not None
    assert list(ring) == list(lonlat_footprint({"geometry": geometry}).exterior.coords)


def decided(item: dict[str, Any]) -> str:
    try:
        return json.dumps(normalise(item, PLACE, "a", lambda href: None).document)
    except (ItemRefused, NotAScene) as reason:
        return f"{type(reason).__name__}: {reason}"


def test_scenes_are_the_same_without_the_short_way(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All real items, each where it is and moved 3 degrees to the east and 1 to the south, half out of its grid."""
    found = [each.document for each in read_items(str(shared_data / "stac"), Wanted(), ArchiveFiles()) if each.document]
    found += [each for item in found if (each := moved(item, 3, -1))] + [
        each for item in found if (each := moved(item, 0.9, -0.4))
    ]
    short = [decided(item) for item in found]
    assert sum(convex_ring(item.get("geometry")) is not None for item in found) > len(found) / 2
    monkeypatch.setattr(normaliser, "convex_ring", lambda geometry: None)
    assert [decided(item) for item in found] == short


def moved(item: dict[str, Any], east: float, north: float) -> dict[str, Any] | None:
    ring = convex_ring(item.get("geometry"))
    if ring is None:
        return None
    return item | {"geometry": {"type": "Polygon", "coordinates": [[[x + east, y + north] for x, y in ring]]}}
