"""The rules of requests, without an index: caps, quotas, approval, turns and charges."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datacube_config.accounts import RequestLimits
from flows.request_rules import (
    Charge,
    Taken,
    Waiting,
    charged_share,
    check_cells,
    check_extent,
    entry_state,
    expected_end,
    month_start,
    next_to_run,
    request_key,
)
from flows.steps.areas import area_from_geojson, find_area
from products.errors import RequestError
from products.period import parse_period
from products.registry import scene_recipe

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
NOTHING = Taken(0.0, 0.0, 0)
LIMITS = RequestLimits(
    most_core_hours=50,
    approval_above_core_hours=10,
    user_core_hours=100,
    project_core_hours=150,
    waiting_per_user=3,
)


def waiting(number: int, user: str, hours: float, project: str = "p") -> Waiting:
    return Waiting(UUID(int=number), user, project, NOW - timedelta(hours=hours))


@pytest.mark.parametrize(("core_hours", "state"), [(0.0, "approved"), (10.0, "approved"), (10.1, "asked")])
def test_what_takes_more_than_the_threshold_waits_for_an_operator(core_hours: float, state: str) -> None:
    assert entry_state(core_hours, NOTHING, LIMITS) == state


def test_without_limits_everything_is_approved() -> None:
    assert entry_state(1e6, Taken(1e6, 1e6, 0), RequestLimits()) == "approved"


@pytest.mark.parametrize(
    ("core_hours", "taken", "said"),
    [
        (51, NOTHING, "takes 51.00 core-hours, a request may take 50: ask for less"),
        (11, Taken(90, 0, 0), "beside 90.00 so far, your requests of this month may take 100"),
        (11, Taken(0, 140, 0), "the requests of this project of this month may take 150"),
        (1, Taken(0, 0, 3), "3 of your requests have not ended, at most 3 may: wait, or cancel one"),
    ],
)
def test_caps_and_quotas_are_refused_in_words(core_hours: float, taken: Taken, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        entry_state(core_hours, taken, LIMITS)


def test_who_took_least_comes_next() -> None:
    charges = [Charge("ana", "p", 5.0, NOW), Charge("ben", "q", 1.0, NOW)]
    queue = [waiting(1, "ana", 1.5), waiting(2, "ben", 1.0, "q")]
    assert next_to_run(queue, charges, NOW, LIMITS) == queue[1]
    assert next_to_run(queue, [], NOW, LIMITS) == queue[0]
    assert next_to_run([], charges, NOW, LIMITS) is None


def test_a_project_that_took_much_waits_also_with_a_new_user() -> None:
    queue = [waiting(1, "new", 1.0, "big"), waiting(2, "other", 1.0, "small")]
    assert next_to_run(queue, [Charge("ana", "big", 5.0, NOW)], NOW, LIMITS) == queue[1]


def test_what_was_taken_fades_by_half_in_a_half_life() -> None:
    long_ago = Charge("ana", "p", 8.0, NOW - timedelta(days=14))
    queue = [waiting(1, "ana", 1.0), waiting(2, "ben", 1.0, "q")]
    assert next_to_run(queue, [long_ago, Charge("ben", "q", 2.1, NOW)], NOW, LIMITS) == queue[0]
    assert next_to_run(queue, [long_ago, Charge("ben", "q", 1.9, NOW)], NOW, LIMITS) == queue[1]


@given(took=st.floats(0, 1e4), others=st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_whoever_took_most_comes_before_any_newcomer_in_the_end(took: float, others: list[float]) -> None:
    patient = Waiting(UUID(int=99), "ana", "p", NOW - timedelta(hours=2 * took + 200))
    queue = [waiting(number, f"user{number}", hours, f"q{number}") for number, hours in enumerate(others)]
    assert next_to_run([*queue, patient], [Charge("ana", "p", took, NOW)], NOW, LIMITS) == patient


@pytest.mark.parametrize(
    ("end", "used", "share"),
    [
        ("done", 99.0, 1.0),
        ("failed", 5.0, 0.0),
        ("refused", 0.0, 0.0),
        ("cancelled", 2.5, 0.25),
        ("cancelled", 99.0, 1.0),
    ],
)
def test_failure_is_refunded_and_a_cancelled_run_costs_what_it_used(end: str, used: float, share: float) -> None:
    assert charged_share(end, 10.0, used) == share  # type: ignore[arg-type]
    assert charged_share("cancelled", 0.0, used) == 0.0


def test_a_month_starts_in_utc() -> None:
    assert month_start(datetime.fromisoformat("2026-06-01T01:00:00+02:00")) == datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("area", "period", "said"),
    [
        ("-180,-90,180,90", "2020", "spans up to 803\\d{6} km², a request at most 200000"),
        ("0,0,4,4", "1972-01-01/2099-12-31", "cells, a request has at most 10000"),
        ("0,0,1,1", "0001-01-01/2020-12-31", "reaches out of 1972 to 2100"),
    ],
)
def test_the_whole_world_and_all_time_are_refused_before_they_are_cut(area: str, period: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        check_extent(scene_recipe("mangrove_features"), find_area(area), parse_period(period), RequestLimits())


def test_more_cells_than_the_limit_are_refused() -> None:
    check_cells(10_000, RequestLimits())
    with pytest.raises(RequestError, match="10001 cells, a request has at most 10000"):
        check_cells(10_001, RequestLimits())


def test_requests_of_the_same_pixels_have_one_key() -> None:
    recipe, year = scene_recipe("mangrove_features"), parse_period("2020")
    square = '{"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]]}'
    key = request_key(recipe, find_area("1,1,2,2"), year, None)
    assert key == request_key(recipe, area_from_geojson(square), parse_period("2020-01-01/2020-12-31"), None)
    assert key != request_key(recipe, find_area("1,1,2,3"), year, None)
    assert key != request_key(recipe, find_area("1,1,2,2"), year, "mangrove_extent 1 abc")


def test_an_interval_holds_four_of_five_past_runs_and_needs_five() -> None:
    found = expected_end(100.0, [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0], 120.0, 2, NOW)
    start = NOW + timedelta(seconds=60)
    assert (found.start, found.likely, found.learned_from) == (start, start + timedelta(seconds=100), 10)
    assert found.earliest == start + timedelta(seconds=95) and found.latest == start + timedelta(seconds=120)
    few = expected_end(100.0, [3.0] * 4, 0.0, 2, NOW)
    assert (few.likely, few.earliest, few.latest) == (NOW + timedelta(seconds=100), None, None)
