"""What follows a cube or a model is remembered in the index and done once."""

import shutil
from dataclasses import replace
from pathlib import Path

from datacube_config.connection import Index
from flows.request_parsing import area_argument
from flows.steps.index.follow_ups import (
    MAP,
    TRAIN,
    FollowUp,
    Order,
    claimed,
    due,
    finish,
    is_done,
    keep_standing,
    kept_orders,
    note,
    outstanding,
    standing_orders,
)
from flows.tend_here import tend_here

SQUARE = '{"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]]}'
TRAINING = FollowUp(TRAIN, "a model on a cube", {"recipe": "mangrove_extent"})
MAPPING = FollowUp(MAP, "a map with the model", {"model": "an id"})
ORDER = Order("mangrove_extent", "demo", "2020", "labels.geojson")


def test_work_noted_twice_is_outstanding_once(index: Index) -> None:
    note(index, TRAINING)
    note(index, TRAINING)
    assert outstanding(index, TRAIN) == [TRAINING]
    assert outstanding(index, MAP) == []


def test_finished_work_is_not_outstanding_and_stays_so_when_noted_again(index: Index) -> None:
    finish(index, TRAINING)
    note(index, TRAINING)
    assert is_done(index, TRAINING)
    assert outstanding(index, TRAIN) == []


def test_finishing_a_training_makes_its_map_outstanding(index: Index) -> None:
    note(index, TRAINING)
    finish(index, TRAINING, [MAPPING])
    assert outstanding(index, MAP) == [MAPPING]


def test_one_at_a_time_does_a_piece_of_work(index: Index) -> None:
    with claimed(index, TRAINING, wait=False) as is_first:
        assert is_first
        with claimed(index, TRAINING, wait=False) as is_second, claimed(index, MAPPING, wait=False) as is_other:
            assert (is_second, is_other) == (False, True)
    with claimed(index, TRAINING, wait=False) as is_free_again:
        assert is_free_again


def test_a_kept_order_stands_once_however_often_it_is_asked_for(index: Index) -> None:
    before = standing_orders(index)
    keep_standing(index, ORDER)
    keep_standing(index, ORDER)
    assert standing_orders(index) == [ORDER, *before]
    assert outstanding(index, TRAIN) == []


def test_an_order_over_a_drawn_area_writes_its_file_again_where_each_run_has_a_home_of_its_own(
    index: Index, tmp_path: Path
) -> None:
    place = area_argument(SQUARE, tmp_path / "home of a pod")
    plain = Order("mangrove_extent", place, "2020", "labels.geojson")
    keep_standing(index, plain)
    keep_standing(index, replace(plain, drawn=SQUARE))
    assert kept_orders(index) == [plain] and replace(plain, drawn=SQUARE).row.id == plain.row.id
    shutil.rmtree(tmp_path / "home of a pod")
    assert tend_here(["train", "map"])["failed"] == []
    assert Path(place).read_text() == SQUARE


def test_an_order_is_due_only_once_there_is_a_cube(index: Index) -> None:
    assert due(index, ORDER, "demo") is None


def test_a_training_is_another_one_on_another_cube_or_with_other_labels() -> None:
    first = ORDER.training("cube-1")
    assert first == ORDER.training("cube-1")
    others = [ORDER.training("cube-2"), Order("mangrove_extent", "demo", "2020", "other.geojson").training("cube-1")]
    assert len({first.id, *(other.id for other in others)}) == 3
