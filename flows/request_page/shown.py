"""What page and API show of plans and requests, and to whom."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from fastapi import HTTPException, Request

from datacube_config.accounts import Account
from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.request_page.known_plans import KnownPlans
from flows.request_parsing import Ask
from flows.requesting import Answer
from flows.steps.cubes.citation import Maker, citation_of
from flows.steps.cubes.open_cube import stored_snapshot
from flows.steps.service.request_kinds import Request as Row
from flows.steps.service.request_rows import published_of, reading
from flows.steps.storage import path_of, read_from, s3_options
from products.errors import RequestError


def index_of(request: Request) -> Index:
    """The index that the application holds open."""
    index: Index = request.app.state.index
    return index


def answered(request: Request, ask: Ask) -> Answer:
    """The plan of what is asked for; nothing is kept but for others who ask the same."""
    plans: KnownPlans = request.app.state.plans
    return plans.answer(index_of(request), request.app.state.settings, ask)


def may_see(account: Account, row: Row) -> bool:
    """Operators see all, others what they asked for and what their projects did."""
    return account.role == "operator" or row.asked_by == account.name or row.project in account.projects


def visible(index: Index, account: Account, number: UUID) -> Row:
    """The request; HTTP 404 for one that the account may not see, as for one that there is not."""
    with reading(index) as requests:
        try:
            found = requests.get(number)
        except RequestError as error:
            raise HTTPException(404, str(error)) from error
    if not may_see(account, found):
        raise HTTPException(404, f"no request {number}")
    return found


def cube_url(index: Index, account: Account, number: UUID) -> str:
    """The URL of the cube that a request made; HTTP 404 while there is none."""
    result = made(index, account, number).result
    assert result is not None
    return str(result["built"]["cube"])


def made(index: Index, account: Account, number: UUID) -> Row:
    """A request that made a cube; HTTP 404 while there is none."""
    row = visible(index, account, number)
    if not row.result or not row.result["built"]["cube"]:
        raise HTTPException(404, "the request has no cube yet")
    return row


@contextmanager
def reading_cube(url: str) -> Iterator[None]:
    """StorageUnavailable, in one line that names the cube, where its store gives no answer or refuses; FileNotFoundError where the cube is gone."""
    try:
        with read_from(f"the cube {path_of(url)}", passing=(FileNotFoundError,)):
            yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no cube at {path_of(url)} any more: ask for it again") from error


def is_cube_alone(row: Row) -> bool:
    """Whether the cube of a request has what it asked for alone; one of an earlier release has what had joined it too."""
    return bool(row.result and row.result["built"].get("alone"))


def documents_of(index: Index, account: Account) -> list[dict[str, Any]]:
    """The requests that an account may see, newest first."""
    with reading(index) as requests:
        rows = requests.of() if account.role == "operator" else requests.of(account.name, account.projects)
    return [request_document(index, row) for row in rows]


def plan_summary(found: Answer, settings: Settings) -> dict[str, Any]:
    """The plan, when it would end, and whether an operator must approve it."""
    threshold, expected = settings.requests.approval_above_core_hours, found.expected
    moments = {name: getattr(expected, name) for name in ("start", "likely", "earliest", "latest")}
    return {
        **found.document,
        "core_hours": round(found.core_hours, 4),
        "gpu_hours": round(found.plan.seconds / 3600, 4) if found.plan.device == "gpu" else 0.0,
        "expected": {
            **{name: moment.isoformat(timespec="seconds") if moment else None for name, moment in moments.items()},
            "learned_from": expected.learned_from,
        },
        "area": {"name": found.asked.area.name, "bounds": list(found.asked.area.geometry.boundingbox.bbox)},
        "product": found.asked.recipe.name,
        "needs_approval": threshold is not None and found.core_hours > threshold,
    }


def request_document(index: Index, row: Row) -> dict[str, Any]:
    """A request as JSON, with the share of its cells that are published."""
    n_built = row.n_to_build if row.state == "done" else published_of(index, row.to_build or ())
    built = (row.result or {}).get("built", {})
    times = {name: getattr(row, name) for name in ("asked_at", "approved_at", "started_at", "ended_at")}
    return {
        "id": str(row.id),
        **{
            name: getattr(row, name) for name in ("asked_by", "project", "product", "period", "train", "state", "cause")
        },
        "area": area_label(row.area),
        **{name: moment.isoformat() if moment else None for name, moment in times.items()},
        "same_as": str(row.same_as) if row.same_as else None,
        "cells": {"to_build": row.n_to_build, "built": n_built},
        "core_hours": {"planned": round(row.core_hours, 4), "charged": row.charged_core_hours},
        "price": {"planned": row.price, "charged": row.charged, "currency": row.currency},
        "seconds": row.plan.get("seconds"),
        "cube": built.get("cube"),
        "cube_alone": is_cube_alone(row),
    }


def area_label(area: str) -> str:
    """A name or bounds as they are, and that others are drawn."""
    return "a drawn area" if area.lstrip().startswith("{") else area


def citation(index: Index, settings: Settings, row: Row) -> dict[str, Any]:
    """How to cite what a request made; RequestError if the index has lost a part of it."""
    assert row.result is not None and row.ended_at is not None
    url = row.result["built"]["cube"]
    with reading_cube(url):
        cube = stored_snapshot(url, s3_options(settings, prompt=True))
    return citation_of(index, cube, Maker(row.asked_by, row.project, settings.publisher, row.ended_at))
