"""A request, and a line of the audit log, as they are read from the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """What is asked for, what it is planned to take, the ids of the cells to build, and `key`, which is the same for the same pixels."""

    asked_by: str
    project: str
    product: str
    recipe: str
    area: str
    period: str
    train: str | None
    key: UUID
    plan: Mapping[str, Any]
    to_build: Sequence[UUID] | None
    core_hours: float
    price: float
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(NewRequest):
    """A row of `neocube.request`; `to_build` is read while it runs only.

    It started when it was handed to Prefect, and began when its run did.
    """

    id: UUID
    n_to_build: int
    state: str
    same_as: UUID | None
    charged_core_hours: float | None
    charged: float | None
    asked_at: datetime
    approved_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    run_id: str | None
    cause: str | None
    result: Mapping[str, Any] | None
    began_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of the audit log."""

    at: datetime
    by: str
    did: str
    request_id: UUID | None
    detail: Mapping[str, Any] | None
