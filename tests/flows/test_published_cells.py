"""The published cells of a product, of all its tiles and of one."""

from typing import Any

import pytest

from flows.steps.index.catalogue import published_cells
from products.period import parse_period

YEARS = [parse_period("2019"), parse_period("2020")]


@pytest.fixture(params=["published", "published_on_postgis"])
def product(request: pytest.FixtureRequest) -> Any:
    """`known_features` of four tiles and two years, with each driver of the index."""
    return request.getfixturevalue(request.param)


def test_the_cells_of_one_tile_are_those_of_all_tiles_that_lie_there(product: Any) -> None:
    everywhere = published_cells(product.index, "known_features", 1, YEARS)
    assert len(everywhere) == 8
    for tile in {tile for tile, _ in everywhere}:
        there = published_cells(product.index, "known_features", 1, YEARS, tile)
        assert there == {place: cell for place, cell in everywhere.items() if place[0] == tile}
        assert len(there) == 2


def test_the_cells_of_a_tile_and_a_period_are_one(product: Any) -> None:
    everywhere = published_cells(product.index, "known_features", 1, YEARS)
    place, cell = next(iter(everywhere.items()))
    period = next(period for period in YEARS if period.label == place[1])
    assert published_cells(product.index, "known_features", 1, [period], place[0]) == {place: cell}
    assert published_cells(product.index, "known_features", 1, [period], "32647_r0_c0") == {}
    assert published_cells(product.index, "known_features", 2, [period], place[0]) == {}
