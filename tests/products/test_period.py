"""Periods follow the calendar and cut into whole cells."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from products.errors import RequestError
from products.period import Calendar, Duration, Period, parse_period


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def calendar(length: str, step: str | None = None, month: int = 1, first_day: int = 1) -> Calendar:
    return Calendar(Duration.parse(length), Duration.parse(step or length), month, first_day)


@pytest.mark.parametrize(
    ("text", "start", "end", "label"),
    [
        ("2020", "2020-01-01", "2021-01-01", "2020"),
        ("2020-02", "2020-02-01", "2020-03-01", "2020-02"),
        ("2020-12", "2020-12-01", "2021-01-01", "2020-12"),
        ("2020-02-29", "2020-02-29", "2020-03-01", "2020-02-29"),
        ("2021-01-31", "2021-01-31", "2021-02-01", "2021-01-31"),
        ("2020/2021", "2020-01-01", "2022-01-01", "2020-01-01--2022-01-01"),
        ("2020-01-01/2020-12-31", "2020-01-01", "2021-01-01", "2020"),
        ("2020-03-05/2020-03-06", "2020-03-05", "2020-03-07", "2020-03-05--2020-03-07"),
        ("2020-01-01T00:00Z/2020-01-02T00:00Z", "2020-01-01", "2020-01-02", "2020-01-01"),
        ("2020-01-01T02:00+02:00/2020-01-02T00:00", "2020-01-01", "2020-01-02", "2020-01-01"),
    ],
)
def test_a_written_period_is_a_half_open_interval_with_a_label(text: str, start: str, end: str, label: str) -> None:
    period = parse_period(text)

    assert period == Period(day(start), day(end))
    assert period.label == label


def test_the_label_of_instants_says_their_time() -> None:
    assert parse_period("2020-01-01T06:00Z/2020-01-01T18:30Z").label == "2020-01-01T060000Z--2020-01-01T183000Z"


def test_a_period_contains_its_start_and_not_its_end() -> None:
    period = parse_period("2020")

    assert period.contains(day("2020-01-01"))
    assert period.contains(day("2021-01-01") - timedelta(microseconds=1))
    assert not period.contains(day("2021-01-01"))


@pytest.mark.parametrize(
    "text", ["", "20", "2020-13", "2020-02-30", "last year", "a/b/c", "2020-01-01T25:00/2020", "9999"]
)
def test_an_unreadable_period_is_answered_with_examples(text: str) -> None:
    with pytest.raises(RequestError, match="expected a period such as 2020, 2020-03"):
        parse_period(text)


@pytest.mark.parametrize("text", ["2020/2019", "2020-06-01/2020-05-31", "2020-01-01T00:00Z/2020-01-01T00:00Z"])
def test_a_written_period_that_ends_before_it_starts_is_quoted(text: str) -> None:
    with pytest.raises(RequestError, match=f"a period must end after it starts, got '{text}'$"):
        parse_period(text)


def test_a_period_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(RequestError, match="must end after it starts, got 2021-01-01"):
        Period(day("2021-01-01"), day("2020-01-01"))


def test_instants_without_a_time_zone_are_refused() -> None:
    with pytest.raises(RequestError, match="needs instants with a time zone"):
        Period(datetime(2020, 1, 1), datetime(2021, 1, 1))


@pytest.mark.parametrize("text", ["", "1Y", "P0D", "P1H", "PT1H", "P-1Y", "P1Y2M"])
def test_an_unreadable_duration_is_answered_with_examples(text: str) -> None:
    with pytest.raises(RequestError, match="expected a duration such as P1Y, P3M, P2W or P10D"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("cut", "asked", "labels"),
    [
        (calendar("P1Y"), "2019/2020", ["2019", "2020"]),
        (calendar("P1M"), "2020-01/2020-03", ["2020-01", "2020-02", "2020-03"]),
        (calendar("P1D"), "2020-01-30/2020-02-01", ["2020-01-30", "2020-01-31", "2020-02-01"]),
        (calendar("P1Y", month=7), "2019-07-01/2020-06-30", ["2019-07-01--2020-07-01"]),
        (calendar("P3Y", "P1Y"), "2020", ["2019-01-01--2022-01-01"]),
        (calendar("P3M", "P1Y", month=6), "2020-06-01/2021-05-31", ["2020-06-01--2020-09-01"]),
        (calendar("P2Y", "P1Y"), "2020", ["2020-01-01--2022-01-01"]),
    ],
)
def test_a_calendar_cuts_time_into_cells(cut: Calendar, asked: str, labels: list[str]) -> None:
    assert [cell.label for cell in cut.cells(parse_period(asked))] == labels


def test_days_and_weeks_count_from_1970() -> None:
    weeks = calendar("P2W").cells(Period(day("1970-01-15"), day("1970-02-12")))

    assert [week.start for week in weeks] == [day("1970-01-15"), day("1970-01-29")]


@pytest.mark.parametrize("asked", ["2020-01-01/2020-06-30", "2020-03/2021-02", "2019-12-31/2020-12-31"])
def test_a_period_that_cuts_a_cell_is_an_error_that_shows_a_whole_one(asked: str) -> None:
    with pytest.raises(
        RequestError, match=r"cuts a cell: cells of this recipe start every P1Y, for example \d{4}-01-01 to"
    ):
        calendar("P1Y").cells(parse_period(asked))


@pytest.mark.parametrize("length", ["P99999Y", "P9999999D", "P200000M", "P999999999W"])
def test_a_cell_that_ends_beyond_the_calendar_is_refused(length: str) -> None:
    with pytest.raises(RequestError, match=rf"expected a duration .* within the years 1 to 9999, got {length}"):
        calendar(length).cells(parse_period("2020"))


@given(
    st.sampled_from(["P1D", "P10D", "P1W", "P3W", "P1M", "P3M", "P1Y", "P5Y"]),
    st.datetimes(datetime(1972, 1, 1), datetime(2060, 1, 1)),
    st.integers(1, 12),
    st.integers(1, 28),
)
def test_steps_tile_time_without_gap_or_overlap(step: str, instant: datetime, month: int, first_day: int) -> None:
    cut = calendar(step, month=month, first_day=first_day)
    start = cut._floor(instant.replace(tzinfo=UTC))
    first = cut.cells(Period(start, start + timedelta(days=1)) if step == "P1D" else _whole(cut, start))[0]

    assert first.start == start
    assert first.contains(instant.replace(tzinfo=UTC))
    assert cut._floor(first.end) == first.end


def _whole(cut: Calendar, start: datetime) -> Period:
    from products.period import add_duration

    return Period(start, add_duration(start, cut.step.count, cut.step.unit))
