"""Periods: half-open UTC intervals that follow the calendar, and the cells a recipe cuts them into."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from products.errors import RequestError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"^P(\d{1,9})([DWMY])$")


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The half-open UTC interval `[start, end)`."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise RequestError("a period needs instants with a time zone, as 2020-01-01T00:00:00Z")
        if not self.start < self.end:
            raise RequestError(
                f"a period must end after it starts, got {self.start.isoformat()} to {self.end.isoformat()}"
            )

    @property
    def label(self) -> str:
        """`2020`, `2020-03`, `2020-03-01` or `START--END` (ISO dates, end excluded)."""
        for unit, form in (("Y", "%Y"), ("M", "%Y-%m"), ("D", "%Y-%m-%d")):
            if _starts_unit(self.start, unit) and add_duration(self.start, 1, unit) == self.end:
                return self.start.strftime(form)
        form = "%Y-%m-%d" if self.start.time() == self.end.time() == _EPOCH.time() else "%Y-%m-%dT%H%M%SZ"
        return f"{self.start.strftime(form)}--{self.end.strftime(form)}"

    @property
    def interval(self) -> str:
        """`START/END` (RFC 3339, seconds), as STAC APIs take it."""
        return f"{self.start:%Y-%m-%dT%H:%M:%SZ}/{self.end:%Y-%m-%dT%H:%M:%SZ}"

    def contains(self, instant: datetime) -> bool:
        """Whether an instant with a time zone falls inside."""
        return self.start <= instant < self.end

    def overlaps(self, other: "Period") -> bool:
        """Whether an instant falls inside both."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Duration:
    """A whole number of days, weeks, months or years: ISO 8601 `P1Y`, `P3M`, `P2W`, `P10D`."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """The duration that `text` says, or RequestError."""
        found = _DURATION.match(text)
        if not found or int(found[1]) == 0:
            raise RequestError(f"expected a duration such as P1Y, P3M, P2W or P10D, got {text!r}")
        return cls(int(found[1]), found[2])


@dataclass(frozen=True, slots=True)
class Calendar:
    """How time is cut into cells: a cell starts every `step` and lasts `length`; `start` is the month and day that years and months count from."""

    length: Duration
    step: Duration
    start_month: int = 1
    start_day: int = 1

    def cells(self, asked: Period) -> tuple[Period, ...]:
        """The cells whose step lies in `asked`; RequestError if `asked` cuts a step."""
        first = self._floor(asked.start)
        if first != asked.start:
            raise RequestError(self._cut(asked, first))
        found, start = [], first
        while start < asked.end:
            following = add_duration(start, self.step.count, self.step.unit)
            if following > asked.end:
                raise RequestError(self._cut(asked, start))
            found.append(self._cell_of(start))
            start = following
        return tuple(found)

    def step_at(self, instant: datetime) -> Period:
        """The step that holds an instant: what to ask for to have its cell."""
        start = self._floor(instant)
        return Period(start, add_duration(start, self.step.count, self.step.unit))

    def step_of(self, cell: Period) -> Period:
        """The step that a cell was made for."""
        return self.step_at(add_duration(cell.start, self._lead, self.step.unit))

    @property
    def _lead(self) -> int:
        """How many units before its step a cell starts: one that is longer is centred on it when both count the same unit and the rest is even."""
        extra = self.length.count - self.step.count
        return extra // 2 if self.length.unit == self.step.unit and extra > 0 and extra % 2 == 0 else 0

    def _cell_of(self, start: datetime) -> Period:
        begin = add_duration(start, -self._lead, self.step.unit)
        return Period(begin, add_duration(begin, self.length.count, self.length.unit))

    def _floor(self, instant: datetime) -> datetime:
        if self.step.unit in "DW":
            days = self.step.count * (7 if self.step.unit == "W" else 1)
            return add_duration(_EPOCH, (instant - _EPOCH).days // days * days, "D")
        anchor = datetime(1970, self.start_month, self.start_day, tzinfo=UTC)
        months = self.step.count * (12 if self.step.unit == "Y" else 1)
        passed = (instant.year - anchor.year) * 12 + instant.month - anchor.month
        floor = add_duration(anchor, passed // months * months, "M")
        return floor if floor <= instant else add_duration(floor, -months, "M")

    def _cut(self, asked: Period, start: datetime) -> str:
        end = add_duration(start, self.step.count, self.step.unit)
        return (
            f"the period {asked.label} cuts a cell: cells of this recipe start every P{self.step.count}{self.step.unit}, "
            f"for example {start.date()} to {end.date()} (end excluded); ask for whole ones"
        )


def add_duration(instant: datetime, count: int, unit: str) -> datetime:
    """The instant `count` units (D, W, M, Y) later, by the calendar; RequestError beyond the years 1 to 9999."""
    try:
        if unit in "DW":
            return instant + timedelta(days=count * (7 if unit == "W" else 1))
        months = instant.year * 12 + instant.month - 1 + count * (12 if unit == "Y" else 1)
        return instant.replace(year=months // 12, month=months % 12 + 1)
    except (ValueError, OverflowError) as error:
        raise RequestError(
            f"expected a duration from {instant.date()} that stays within the years 1 to 9999, got P{count}{unit}"
        ) from error


def parse_period(text: str) -> Period:
    """`2020`, `2020-03`, `2020-03-01`, or `START/END`: two dates include the last day, two instants are half open."""
    parts = text.strip().split("/")
    if len(parts) == 1:
        return _unit(parts[0])
    if len(parts) != 2:
        raise RequestError(_expected(text))
    if "T" in parts[0] or "T" in parts[1]:
        start, end = _instant(parts[0]), _instant(parts[1])
    else:
        start, end = _unit(parts[0]).start, _unit(parts[1]).end
    if not start < end:
        raise RequestError(f"a period must end after it starts, got {text!r}")
    return Period(start, end)


def _unit(text: str) -> Period:
    for form, unit in (("%Y", "Y"), ("%Y-%m", "M"), ("%Y-%m-%d", "D")):
        try:
            start = datetime.strptime(text.strip(), form).replace(tzinfo=UTC)
            end = add_duration(start, 1, unit)
        except (ValueError, RequestError):
            continue
        return Period(start, end)
    raise RequestError(_expected(text))


def _instant(text: str) -> datetime:
    try:
        return as_utc(text.strip())
    except ValueError as error:
        raise RequestError(_expected(text)) from error


def as_utc(text: str | datetime) -> datetime:
    """An instant, ISO 8601, in UTC; so is one that lacks its time zone. ValueError for another text."""
    instant = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _starts_unit(instant: datetime, unit: str) -> bool:
    whole = date(instant.year, instant.month if unit in "MD" else 1, instant.day if unit == "D" else 1)
    return instant == datetime(whole.year, whole.month, whole.day, tzinfo=UTC)


def _expected(text: str) -> str:
    return f"expected a period such as 2020, 2020-03, 2020-01-01/2020-06-30 or 2020-01-01T00:00Z/2020-07-01T00:00Z, got {text!r}"
