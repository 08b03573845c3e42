"""Requests as rows: `neocube.request` and the audit log beside it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Float, case, cast, func, insert, select, text, update

from datacube_config.connection import Index
from datacube_config.schema import audit, request
from flows.steps.index.index_rows import source_ids
from flows.steps.service.request_kinds import AuditEntry, NewRequest, Request
from products.errors import RequestError

LOCK = 0x6E656F72657173  # "neoreqs": one at a time counts and enters
DISPATCH_LOCK = 0x6E656F64697370  # "neodisp"
PAST_REQUESTS = 200
OPEN = ("asked", "approved", "running")
PLANNED_S = cast(request.c.plan["seconds"].astext, Float)


class Ledger:
    """The requests inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def now(self) -> datetime:
        """The time of the transaction, by the clock of the database."""
        return self._connection.execute(select(func.now())).scalar_one()

    def enter(self, new: NewRequest, state: str, same_as: UUID | None = None) -> UUID:
        """Add a request that is asked, approved, or approved as the same as another."""
        number, now = uuid4(), self.now
        values = {each.name: getattr(new, each.name) for each in fields(NewRequest)}
        values |= {"plan": dict(new.plan), "to_build": list(new.to_build or ())}
        approved = now if state == "approved" else None
        self._connection.execute(
            insert(request).values(**values, id=number, state=state, same_as=same_as, approved_at=approved)
        )
        return number

    def get(self, number: UUID) -> Request:
        """A request by its id; RequestError if there is none."""
        found = self._rows(request.c.id == number)
        if not found:
            raise RequestError(f"no request {number}")
        return found[0]

    def open_with(self, key: UUID) -> Request | None:
        """The open request for the same, which runs or will."""
        found = self._rows(request.c.key == key, request.c.state.in_(OPEN), request.c.same_as.is_(None))
        return found[0] if found else None

    def done_with(self, key: UUID) -> list[Request]:
        """The requests for the same that are done and made a cube, newest first."""
        found = self._rows(request.c.key == key, request.c.state == "done")
        return [row for row in found if row.result and row.result["built"].get("cube")]

    def had_by(self, user: str, project: str, key: UUID) -> Request | None:
        """The newest request of a user and project for the same that has not ended or is done."""
        mine = (request.c.asked_by == user, request.c.project == project, request.c.key == key)
        found = self._rows(*mine, request.c.state.in_((*OPEN, "done")))
        return found[0] if found else None

    def sharing(self, number: UUID) -> list[Request]:
        """The open requests that are the same as another, newest first."""
        return self._rows(request.c.same_as == number, request.c.state.in_(OPEN))

    def seconds_ahead(self) -> float:
        """The planned seconds that are left of what runs, and of what waits for its turn."""
        ran = func.coalesce(func.extract("epoch", func.now() - request.c.began_at), 0)
        left = func.greatest(PLANNED_S - ran, 0)
        query = select(func.coalesce(func.sum(left), 0.0))
        wanted = (request.c.state.in_(("approved", "running")), request.c.same_as.is_(None))
        return float(self._connection.execute(query.where(*wanted)).scalar_one())

    def past_ratios(self) -> list[float]:
        """How long the last requests ran, from the beginning of their run to their end, over what was planned."""
        took = func.extract("epoch", request.c.ended_at - request.c.began_at) / PLANNED_S
        wanted = (
            request.c.state == "done",
            request.c.same_as.is_(None),
            request.c.began_at.is_not(None),
            PLANNED_S > 0,
        )
        query = select(took).where(*wanted).order_by(request.c.ended_at.desc()).limit(PAST_REQUESTS)
        return [float(value) for value in self._connection.execute(query).scalars()]

    def of(self, user: str | None = None, projects: Collection[str] = (), most: int = 200) -> list[Request]:
        """The requests of a user and of some projects, or of all, newest first."""
        wanted = [] if user is None else [(request.c.asked_by == user) | request.c.project.in_(projects)]
        return self._rows(*wanted, most=most)

    def in_state(self, *states: str) -> list[Request]:
        """The requests in some states that run by themselves, newest first."""
        return self._rows(request.c.state.in_(states), request.c.same_as.is_(None))

    def taken(self, since: datetime, *wanted: tuple[str, str]) -> float:
        """The core-hours of requests asked since, charged where they ended and planned where they did not; `wanted` are columns and values."""
        hours = func.coalesce(request.c.charged_core_hours, request.c.core_hours)
        query = select(func.coalesce(func.sum(hours), 0.0)).where(
            request.c.asked_at >= since, request.c.same_as.is_(None)
        )
        for column, value in wanted:
            query = query.where(request.c[column] == value)
        return float(self._connection.execute(query).scalar_one())

    def open_of(self, user: str) -> int:
        """How many requests of a user have not ended."""
        query = select(func.count()).where(request.c.asked_by == user, request.c.state.in_(OPEN))
        return self._connection.execute(query).scalar_one()

    def started_since(self, since: datetime) -> list[tuple[str, str, float, datetime]]:
        """User, project, core-hours (planned, where it has not ended) and start of the requests that started since."""
        hours = func.coalesce(request.c.charged_core_hours, request.c.core_hours)
        query = select(request.c.asked_by, request.c.project, hours, request.c.started_at)
        found = self._connection.execute(query.where(request.c.started_at >= since, request.c.same_as.is_(None)))
        return [(row[0], row[1], row[2], row[3]) for row in found]

    def waiting(self) -> list[tuple[UUID, str, str, datetime]]:
        """Id, user, project and time of approval of what waits for its turn."""
        query = select(request.c.id, request.c.asked_by, request.c.project, request.c.approved_at)
        found = self._connection.execute(query.where(request.c.state == "approved", request.c.same_as.is_(None)))
        return [(row[0], row[1], row[2], row[3]) for row in found]

    def approve(self, number: UUID) -> None:
        """Let an asked request wait for its turn, and those that are the same."""
        self._change(number, True, state="approved", approved_at=self.now)

    def start(self, number: UUID, run_id: str | None = None) -> None:
        """Let a request run, and those that are the same; Prefect is told next."""
        self._change(number, True, state="running", started_at=self.now, began_at=None, run_id=run_id)

    def begin(self, number: UUID) -> None:
        """Note that the run of a request, and of those that are the same, has begun."""
        self._change(number, True, began_at=self.now)

    def name_run(self, number: UUID, run_id: str) -> bool:
        """Remember which run makes a running request; False if it has ended, or another has it."""
        if self.get(number).state != "running" or self.get(number).same_as:
            return False
        self._change(number, True, run_id=run_id)
        return True

    def end(
        self, number: UUID, state: str, share: float, cause: str | None = None, result: Mapping[str, Any] | None = None
    ) -> None:
        """End a request at a share of its planned cost, and those that are the same with it, at nothing."""
        now, ends = self.now, {"state": state, "cause": cause, "result": None if result is None else dict(result)}
        charge = {"charged_core_hours": request.c.core_hours * share, "charged": request.c.price * share}
        self._change(number, **ends, **charge, ended_at=now)
        nothing = {"charged_core_hours": 0.0, "charged": 0.0}
        same = (request.c.same_as == number) & request.c.state.in_(OPEN)
        self._connection.execute(update(request).where(same).values(**ends, **nothing, ended_at=now))

    def leave(self, number: UUID) -> bool:
        """Give a request to the oldest of those that are the same, which then pays and runs; False if there is none."""
        heirs = self.sharing(number)[::-1]
        if not heirs:
            return False
        was, heir = self.get(number), heirs[0]
        self._change(
            heir.id,
            same_as=None,
            state=was.state,
            approved_at=was.approved_at,
            started_at=was.started_at,
            began_at=was.began_at,
            run_id=was.run_id,
        )
        self._connection.execute(update(request).where(request.c.same_as == number).values(same_as=heir.id))
        return True

    def record(self, by: str, did: str, number: UUID | None = None, **detail: Any) -> None:  # noqa: ANN401, JSON
        """Add a line to the audit log."""
        self._connection.execute(insert(audit).values(by=by, did=did, request_id=number, detail=detail or None))

    def log(self, number: UUID | None = None, most: int = 500) -> list[AuditEntry]:
        """The audit log, or its lines about a request, newest first."""
        columns = (audit.c.at, audit.c.by, audit.c.did, audit.c.request_id, audit.c.detail)
        query = select(*columns).order_by(audit.c.id.desc()).limit(most)
        if number is not None:
            query = query.where(audit.c.request_id == number)
        return [AuditEntry(*row) for row in self._connection.execute(query)]

    def _rows(self, *wanted: ColumnElement[bool], most: int = 1000) -> list[Request]:
        cells = request.c.to_build
        plain = [column for column in request.c if column is not cells]
        held = (
            case((request.c.state == "running", cells)).label("to_build"),
            func.cardinality(cells).label("n_to_build"),
        )
        query = select(*plain, *held).where(*wanted).order_by(request.c.asked_at.desc(), request.c.id).limit(most)
        return [Request(**row) for row in self._connection.execute(query).mappings()]

    def _change(self, number: UUID, with_same: bool = False, /, **values: Any) -> None:  # noqa: ANN401, columns
        meant: ColumnElement[bool] = request.c.id == number
        if with_same:
            meant |= (request.c.same_as == number) & request.c.state.in_(OPEN)
        self._connection.execute(update(request).where(meant).values(**values))


@contextmanager
def ledger(index: Index) -> Iterator[Ledger]:
    """The requests for the block, which is one transaction; others wait."""
    with index.engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield Ledger(connection)


@contextmanager
def dispatcher(index: Index) -> Iterator[bool]:
    """Whether this is the only one that hands requests to Prefect during the block."""
    with index.engine.begin() as connection:
        yield bool(connection.scalar(text("select pg_try_advisory_xact_lock(:lock)"), {"lock": DISPATCH_LOCK}))


@contextmanager
def reading(index: Index) -> Iterator[Ledger]:
    """The requests for reading, and for lines of the log: nobody waits."""
    with index.engine.begin() as connection:
        yield Ledger(connection)


def published_of(index: Index, cells: Sequence[UUID]) -> int:
    """How many of some cells are in the index."""
    return sum(index.dc.index.datasets.bulk_has(list(cells))) if cells else 0


def are_active(index: Index, cells: Collection[UUID]) -> bool:
    """Whether there are some cells, and all of them are active."""
    rows = index.dc.index.datasets.bulk_get(cells) if cells else ()
    return 0 < len(cells) == sum(not row.is_archived for row in rows)


def has_learned_from(index: Index, model: UUID, cells: Sequence[UUID]) -> bool:
    """Whether a model is active and has learned from these cells, and from nothing that is archived."""
    row = index.dc.index.datasets.get(model)
    if row is None or row.is_archived:
        return False
    sources = source_ids(index, model)
    is_current = not any(each.is_archived for each in index.dc.index.datasets.bulk_get(sources))
    return is_current and set(cells) <= set(sources)
