"""Who may ask for how much, what waits for approval, who comes next, and what is charged. Pure: in core-hours, as plans count them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Literal
from uuid import UUID, uuid5

from datacube_config.accounts import RequestLimits
from flows.planning import Plan
from products.area import Area
from products.errors import RequestError
from products.identity import NAMESPACE
from products.period import Period
from products.scene_recipe import SceneRecipe

Entry = Literal["asked", "approved"]
End = Literal["done", "failed", "cancelled", "refused"]
FIRST_YEAR, LAST_YEAR = 1972, 2100
LEAST_PAST = 5
KM2_PER_DEGREE2 = 111.32**2  # at the equator: more than the true surface elsewhere


@dataclass(frozen=True, slots=True)
class Taken:
    """What requests took this month, those not ended at their planned cost, and how many of a user have not ended."""

    user_core_hours: float
    project_core_hours: float
    open_of_user: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """An approved request that has not started."""

    id: UUID
    asked_by: str
    project: str
    approved_at: datetime


@dataclass(frozen=True, slots=True)
class Charge:
    """What somebody took, and when."""

    asked_by: str
    project: str
    core_hours: float
    at: datetime


@dataclass(frozen=True, slots=True)
class ExpectedEnd:
    """When a request would start and likely end, between which moments, and how many past runs say so; too few say nothing."""

    start: datetime
    likely: datetime
    earliest: datetime | None
    latest: datetime | None
    learned_from: int


def check_extent(recipe: SceneRecipe, area: Area, asked: Period, limits: RequestLimits) -> None:
    """RequestError for more ground, time or cells than a request may have: before tiles are cut, which takes as long as they are many."""
    if asked.start.year < FIRST_YEAR or asked.end.year > LAST_YEAR:
        raise RequestError(
            f"the period {asked.label} reaches out of {FIRST_YEAR} to {LAST_YEAR}: expected years with scenes"
        )
    west, south, east, north = area.geometry.boundingbox.bbox
    km2 = (east - west) * (north - south) * KM2_PER_DEGREE2
    if km2 > limits.most_area_km2:
        raise RequestError(
            f"the area {area.name!r} spans up to {km2:.0f} km², a request at most {limits.most_area_km2:.0f}: ask for less ground"
        )
    side_km = max(recipe.grid.tile_px * recipe.grid.resolution_m / 1000, 1e-6)
    check_cells(int(km2 / side_km**2 / 4) * len(recipe.periods_in(asked)), limits, "at least ")


def check_cells(n_cells: int, limits: RequestLimits, word: str = "") -> None:
    """RequestError for more cells than a request may have."""
    if n_cells > limits.most_cells:
        raise RequestError(
            f"{word}{n_cells} cells, a request has at most {limits.most_cells}: ask for less ground or time, or larger tiles"
        )


def check_scenes(n_scenes: int, limits: RequestLimits) -> None:
    """RequestError for more scenes than a request may read: before their documents are, which takes as long as they are many."""
    if n_scenes > limits.most_scenes:
        raise RequestError(
            f"{n_scenes} scenes, a request reads at most {limits.most_scenes}: ask for less ground or time, in several requests"
        )


def core_hours_of(plan: Plan) -> float:
    """What a plan takes: expected seconds times threads."""
    return plan.seconds * plan.threads / 3600


def check_open(open_of_user: int, limits: RequestLimits) -> None:
    """RequestError for more requests than a user may have open."""
    if open_of_user >= limits.waiting_per_user:
        raise RequestError(
            f"{open_of_user} of your requests have not ended, at most {limits.waiting_per_user} may: wait, or cancel one"
        )


def entry_state(core_hours: float, taken: Taken, limits: RequestLimits) -> Entry:
    """`approved`, or `asked` where an operator must approve first; RequestError over a cap or a quota."""
    check_open(taken.open_of_user, limits)
    for what, before, most in (
        ("a request", 0.0, limits.most_core_hours),
        ("your requests of this month", taken.user_core_hours, limits.user_core_hours),
        ("the requests of this project of this month", taken.project_core_hours, limits.project_core_hours),
    ):
        if most is not None and before + core_hours > most:
            so_far = f" beside {before:.2f} so far" if before else ""
            raise RequestError(
                f"the plan takes {core_hours:.2f} core-hours{so_far}, {what} may take {most:g}: ask for less, or ask an operator"
            )
    threshold = limits.approval_above_core_hours
    return "asked" if threshold is not None and core_hours > threshold else "approved"


def next_to_run(
    waiting: Sequence[Waiting], charges: Iterable[Charge], now: datetime, limits: RequestLimits
) -> Waiting | None:
    """The request of who took least of late, each hour of waiting counting as so many core-hours less; the older one of equals.

    What was taken fades with a half-life, for the user and for the project alike; waiting does not, so nobody waits for ever.
    """
    faded = defaultdict[tuple[str, str], float](float)
    half_life = timedelta(days=limits.half_life_days)
    for charge in charges:
        amount = charge.core_hours * 0.5 ** max((now - charge.at) / half_life, 0.0)
        faded["user", charge.asked_by] += amount
        faded["project", charge.project] += amount

    def turn(each: Waiting) -> tuple[float, datetime, UUID]:
        waited_h = (now - each.approved_at) / timedelta(hours=1)
        took = faded["user", each.asked_by] + faded["project", each.project]
        return took - limits.ageing_core_hours_per_hour * waited_h, each.approved_at, each.id

    return min(waiting, key=turn, default=None)


def expected_end(planned_s: float, past: Sequence[float], ahead_s: float, at_a_time: int, now: datetime) -> ExpectedEnd:
    """When a request would end if it were asked for now and all that waits came before it.

    The interval holds four of five: the 10th to the 90th percentile of how long past runs took over what was planned.
    """
    start = now + timedelta(seconds=ahead_s / at_a_time)
    if len(past) < LEAST_PAST:
        return ExpectedEnd(start, start + timedelta(seconds=planned_s), None, None, len(past))
    tenths = quantiles(past, n=10, method="inclusive")
    low, likely, high = (start + timedelta(seconds=planned_s * tenths[number]) for number in (0, 4, 8))
    return ExpectedEnd(start, likely, low, high, len(past))


def charged_share(end: End, planned_core_hours: float, used_core_hours: float) -> float:
    """The share of the planned cost that is charged: all of it when done, what was used when cancelled, nothing when it failed or was refused."""
    if end == "done":
        return 1.0
    if end != "cancelled" or planned_core_hours <= 0:
        return 0.0
    return min(max(used_core_hours / planned_core_hours, 0.0), 1.0)


def request_key(recipe: SceneRecipe, area: Area, period: Period, train: str | None) -> UUID:
    """The key that requests share which ask for the same pixels over the same ground and time, and for the same model."""
    ground = area.geometry.geom.normalize().wkb_hex
    said = [recipe.name, str(recipe.version), recipe.digest(), ground, period.label, train or ""]
    return uuid5(NAMESPACE, "|".join(["request", *said]))


def month_start(now: datetime) -> datetime:
    """The first instant of the calendar month, UTC."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
