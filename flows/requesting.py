"""Ask for a product, decide, cancel, end: what the page and the runs do to requests; without Prefect."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from datacube_config.accounts import PROJECT, Account, RequestLimits
from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.plan_cells import plan_with
from flows.planning import Plan
from flows.request_parsing import Ask, Asked, understand
from flows.request_rules import (
    Charge,
    End,
    ExpectedEnd,
    Taken,
    Waiting,
    charged_share,
    check_cells,
    check_open,
    check_scenes,
    core_hours_of,
    entry_state,
    expected_end,
    month_start,
    next_to_run,
)
from flows.steps.index.catalogue import count_scenes
from flows.steps.service.request_kinds import NewRequest, Request
from flows.steps.service.request_rows import OPEN, Ledger, are_active, has_learned_from, ledger, reading
from flows.steps.storage import Storage, open_storage, path_of, read_from
from flows.steps.storage_listing import cells_of_snapshot, is_whole_snapshot
from products.errors import RequestError

FADED = 8  # half-lives after which what was taken counts no more
Decision = Literal["approve", "refuse"]


class NotAllowed(PermissionError):
    """The account may not do this; the message says what it lacks."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The plan of what is asked, its cells counted by state, when it would end, and whether it is there already."""

    asked: Asked
    plan: Plan
    document: Mapping[str, Any]
    core_hours: float
    expected: ExpectedEnd

    @property
    def is_there(self) -> bool:
        """Whether no cell is to build."""
        return not self.plan.to_build


def answer(index: Index, settings: Settings, ask: Ask) -> Answer:
    """The plan of what is asked for; nothing is kept."""
    asked = understand(ask, settings.requests)
    ground, limits = asked.area.geometry, settings.requests
    check_scenes(count_scenes(index, asked.recipe.sources, asked.recipe.searched(asked.period), ground), limits)
    plan = plan_with(index, settings, asked.recipe, asked.area, ask.period, "auto", provisional=False)
    check_cells(len(plan.cells), limits)
    document = plan.document(settings.price_per_core_hour, settings.price_currency)
    states = Counter(cell.state for cell in plan.cells)
    document["cells"] = {state: states[state] for state in ("fresh", "stale", "missing")}
    return Answer(asked, plan, document, core_hours_of(plan), _expected(index, settings, plan))


def renewed(index: Index, settings: Settings, found: Answer) -> Answer:
    """An answer with its plan, and when that would end as the queue stands now."""
    return replace(found, expected=_expected(index, settings, found.plan))


def _expected(index: Index, settings: Settings, plan: Plan) -> ExpectedEnd:
    with reading(index) as requests:
        ahead, past = requests.seconds_ahead(), requests.past_ratios()
        return expected_end(plan.seconds, past, ahead, settings.requests.at_a_time, requests.now)


def submit(index: Index, settings: Settings, account: Account, project: str, ask: Ask) -> Request:
    """Enter a request: done at once where it is there, the same as an open one for the same, approved, or asked of an operator.

    Who asked for it already gets that request. StorageUnavailable where the cube of one that is done cannot be looked at.
    """
    _check_project(account, project)
    found = answer(index, settings, ask)
    new = NewRequest(
        asked_by=account.name, project=project, product=found.asked.recipe.name, recipe=ask.recipe, area=ask.area,
        period=ask.period, train=ask.train, key=found.asked.key, plan=found.document,
        to_build=[cell.id for cell in found.plan.to_build], core_hours=found.core_hours,
        price=float(found.document["price"]["amount"]), currency=settings.price_currency,
    )  # fmt: skip
    there = _done(index, open_storage(settings, prompt=True), found)
    with ledger(index) as requests:
        done = there and next((row for row in requests.done_with(new.key) if row.id == there.id), None)
        if had := _had(requests, new, done):
            return had
        number = _enter(requests, new, done, settings.requests)
        requests.record(account.name, "asked", number, project=project, core_hours=round(new.core_hours, 4))
        return requests.get(number)


def decide(index: Index, account: Account, number: UUID, decision: Decision, reason: str) -> Request:
    """Approve or refuse what waits for an operator."""
    if account.role != "operator":
        raise NotAllowed("only operators approve or refuse requests")
    with ledger(index) as requests:
        found = requests.get(number)
        if found.state != "asked" or found.same_as:
            raise RequestError(f"the request is {found.state}: only what waits for approval is decided on")
        if decision == "approve":
            requests.approve(number)
        else:
            requests.end(number, "refused", charged_share("refused", found.core_hours, 0.0), cause=reason or "refused")
        requests.record(account.name, f"{decision}d", number, reason=reason)
        return requests.get(number)


def cancel(index: Index, account: Account, number: UUID) -> Request:
    """End an open request of one's own, or any as an operator; a running one is charged for the time that its run took. The caller stops its run.

    Where others asked for the same, the oldest of them takes it over, and it runs on.
    """
    with ledger(index) as requests:
        found = requests.get(number)
        check_cancel(account, found)
        taken_over = found.same_as is None and requests.leave(number)
        used = 0.0 if taken_over or found.same_as else _used_core_hours(found, requests.now)
        requests.end(
            number, "cancelled", charged_share("cancelled", found.core_hours, used), cause=f"by {account.name}"
        )
        requests.record(account.name, "cancelled", number, taken_over=taken_over)
        return requests.get(number)


def check_cancel(account: Account, found: Request) -> None:
    """NotAllowed, or RequestError for a request that has ended."""
    if account.role != "operator" and found.asked_by != account.name:
        raise NotAllowed("only who asked for it, or an operator, cancels a request")
    if found.state not in OPEN:
        raise RequestError(f"the request is {found.state} already")


def finish(
    index: Index, number: UUID, end: End, cause: str | None = None, result: Mapping[str, Any] | None = None
) -> None:
    """End a running request, or the one that took over its run, as the run did; what has ended stays as it is."""
    with ledger(index) as requests:
        for found in _of_run(requests, number):
            used = _used_core_hours(found, requests.now)
            requests.end(found.id, end, charged_share(end, found.core_hours, used), cause, result)
            requests.record("neocube", end, found.id, **({"cause": cause} if cause else {}))


def begin(index: Index, number: UUID) -> None:
    """Note that the run of a request, or of the one that took it over, has begun: what it takes counts from now on."""
    with ledger(index) as requests:
        for found in _of_run(requests, number):
            requests.begin(found.id)


def _of_run(requests: Ledger, number: UUID) -> list[Request]:
    """The running requests that the run of a request is for: itself, or the one that took over its run."""
    run = requests.get(number).run_id
    running = requests.in_state("running")
    return [row for row in running if row.id == number or (run is not None and row.run_id == run)]


def turn_of(requests: Ledger, limits: RequestLimits) -> UUID | None:
    """The request that starts now, if one may; the caller starts it in the same transaction."""
    if len(requests.in_state("running")) >= limits.at_a_time:
        return None
    now = requests.now
    since = now - timedelta(days=limits.half_life_days * FADED)
    charges = [Charge(*row) for row in requests.started_since(since)]
    waiting = [Waiting(*row) for row in requests.waiting()]
    chosen = next_to_run(waiting, charges, now, limits)
    return chosen.id if chosen else None


def _done(index: Index, storage: Storage, found: Answer) -> Request | None:
    """The newest request for the same that is done and still what is there, whatever else was built since; nobody waits while the store is read."""
    if not found.is_there:
        return None
    cells = [cell.id for cell in found.plan.cells]
    with reading(index) as requests:
        done = requests.done_with(found.asked.key)
    return next((row for row in done if _is_still_there(index, storage, row, cells)), None)


def _is_still_there(index: Index, storage: Storage, row: Request, cells: Sequence[UUID]) -> bool:
    """Whether the cube of a request has the cells of now and, where it trained, its model has learned from these and is active, as its map is."""
    result = row.result or {}
    if set(cells) != _held(storage, result["built"]["cube"]):
        return False
    if not row.train:
        return True
    if result.get("model") is None or not has_learned_from(index, UUID(result["model"]), cells):
        return False
    return not result.get("map") or are_active(index, _held(storage, result["map"]))


def _held(storage: Storage, url: str) -> set[UUID]:
    """The cells of a snapshot; none where it is not whole in the store any more. StorageUnavailable."""
    path = path_of(url)
    with read_from(f"the cube {path}"):
        return cells_of_snapshot(storage, path) if is_whole_snapshot(storage, path) else set()


def _had(requests: Ledger, new: NewRequest, done: Request | None) -> Request | None:
    """The request of the same user and project for the same that is open, or done and still what is there."""
    had = requests.had_by(new.asked_by, new.project, new.key)
    if had is None or had.state in OPEN:
        return had
    return had if done and done.result == had.result else None


def _enter(requests: Ledger, new: NewRequest, done: Request | None, limits: RequestLimits) -> UUID:
    if done:
        number = requests.enter(replace(new, core_hours=0.0, price=0.0), "approved", same_as=done.id)
        requests.end(number, "done", 0.0, result=done.result)
        return number
    if running := requests.open_with(new.key):
        check_open(requests.open_of(new.asked_by), limits)
        return requests.enter(new, running.state, same_as=running.id)
    since = month_start(requests.now)
    of_user = requests.taken(since, ("asked_by", new.asked_by))
    of_project = requests.taken(since, ("project", new.project))
    taken = Taken(of_user, of_project, requests.open_of(new.asked_by))
    return requests.enter(new, entry_state(new.core_hours, taken, limits))


def _check_project(account: Account, project: str) -> None:
    if account.role == "viewer":
        raise NotAllowed("viewers look and take away, they do not ask for products")
    if account.role == "operator" and not re.fullmatch(PROJECT, project):
        raise RequestError(f"expected a project of letters, digits, spaces and ._-, got {project[:80]!r}")
    if account.role != "operator" and project not in account.projects:
        raise NotAllowed(f"the account {account.name} is not of the project {project[:80]!r}: expected {_of(account)}")


def _of(account: Account) -> str:
    return ", ".join(account.projects) or "a project, which an operator adds to the account"


def _used_core_hours(found: Request, now: datetime) -> float:
    if found.began_at is None or not found.plan["seconds"]:
        return 0.0
    elapsed = (now - found.began_at).total_seconds()
    return elapsed / found.plan["seconds"] * found.core_hours
