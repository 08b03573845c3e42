"""Regular steps in a period, as many in every period of a calendar."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from products.errors import RequestError
from products.period import Calendar, Duration, Period, add_duration

_DAYS = {"D": 1, "W": 7}
_MONTHS = {"M": 1, "Y": 12}
UNITS = {**_DAYS, **_MONTHS}  # in days, or in months
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # of a year without a leap day
MAX_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Steps:
    """`n_steps` steps of a length, one after the other from the start of a period; the last ends with the period, so that it may be shorter or longer."""

    length: Duration
    n_steps: int

    def edges(self, period: Period, margin: int = 0) -> tuple[datetime, ...]:
        """Where the steps begin, and the end of the last: n_steps + 1 instants, and `margin` more before and after."""
        length, steps = self.length, range(-margin, self.n_steps)
        starts = [add_duration(period.start, number * length.count, length.unit) for number in steps]
        ends = [add_duration(period.end, number * length.count, length.unit) for number in range(margin + 1)]
        return (*starts, *ends)

    def around(self, period: Period, margin: int) -> Period:
        """The period with a margin of so many steps before and after it."""
        edges = self.edges(period, margin)
        return Period(edges[0], edges[-1]) if margin else period


def steps_in(calendar: Calendar, length: Duration) -> Steps:
    """As many steps as begin in the shortest period of a calendar; RequestError where there are not two, or where months would be cut."""
    period = calendar.length
    if period.unit in _MONTHS and length.unit in _MONTHS:
        n_steps, rest = divmod(period.count * _MONTHS[period.unit], length.count * _MONTHS[length.unit])
    elif length.unit in _DAYS:
        n_steps, rest = -(-_shortest_days(calendar) // (length.count * _DAYS[length.unit])), 0
    else:
        n_steps, rest = 0, 1
    text = f"P{length.count}{length.unit}"
    if rest:
        raise RequestError(
            f"steps of {text} do not divide P{period.count}{period.unit}: expected days, as P10D, or P1M"
        )
    if not 2 <= n_steps <= MAX_STEPS:
        raise RequestError(f"expected 2 to {MAX_STEPS} steps in a period, {text} makes {n_steps}")
    return Steps(length, n_steps)


def most_steps(calendar: Calendar, step_days: int) -> int:
    """How many steps of so many days begin in the longest period of a calendar."""
    length = calendar.length
    months = (1,) if length.unit in _DAYS else _begins(calendar)
    begins = [datetime(year, month, calendar.start_day, tzinfo=UTC) for year in range(2000, 2004) for month in months]
    longest = max((add_duration(begin, length.count, length.unit) - begin).days for begin in begins)
    return -(-longest // step_days)


def days_since(start: datetime, instants: tuple[datetime, ...]) -> list[float]:
    """Days from `start` to each instant."""
    return [(instant - start) / timedelta(days=1) for instant in instants]


def _shortest_days(calendar: Calendar) -> int:
    length = calendar.length
    if length.unit in _DAYS:
        return length.count * _DAYS[length.unit]
    months = length.count * _MONTHS[length.unit]
    return min(sum(_MONTH_DAYS[(first - 1 + i) % 12] for i in range(months)) for first in _begins(calendar))


def _begins(calendar: Calendar) -> Sequence[int]:
    """The months in which periods of months or years may begin, from 1."""
    return range(1, 13) if calendar.step.unit == "M" else (calendar.start_month,)
