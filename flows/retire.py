"""Retire scenes, renditions, products, areas or periods: preview, apply, undo, sweep."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from prefect import flow

from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from flows.run_artifacts import leave_table, logged_flow
from flows.run_logs import logged_run
from flows.steps.storage import open_storage
from flows.steps.upkeep.retire_selection import Selection
from flows.steps.upkeep.retiring import apply_retirement, list_retirements, preview_retirement
from flows.steps.upkeep.sweeping import preview_sweep, sweep, to_sweep
from flows.steps.upkeep.unretiring import undo_retirement
from products.errors import RequestError

MOST_DAYS = 36_500


@logged_run("retire")
def retire_selected(selection: Selection, yes: bool = False) -> dict[str, Any]:
    """`plan` of what is retired and what depends on it; with `yes` it is done, and `id` is what undoes it."""
    settings = get_settings()
    storage = open_storage(settings)
    with open_index(settings) as index:
        if not yes:
            return {"id": None, "applied": False, "plan": preview_retirement(index, storage, selection)}
        number, plan = apply_retirement(index, storage, selection)
    return {"id": str(number), "applied": True, "plan": plan}


def undo(number: str) -> dict[str, Any]:
    """Restore what a retirement archived and nothing replaced since."""
    settings = get_settings()
    with open_index(settings) as index:
        return undo_retirement(index, open_storage(settings), number)


def retirements() -> list[dict[str, Any]]:
    """Every retirement, newest first."""
    with open_index(get_settings()) as index:
        return list_retirements(index)


@logged_run("sweep")
def sweep_retired(ids: Sequence[str] = (), older_than_days: float | None = None, yes: bool = False) -> dict[str, Any]:
    """Delete what retirements left in the store, by id or by age; without `yes` only say what that is."""
    if older_than_days is not None and not 0 <= older_than_days <= MOST_DAYS:
        raise RequestError(f"--older-than: expected days, 0 to {MOST_DAYS}, got {older_than_days:g}")
    settings = get_settings()
    storage = open_storage(settings)
    with open_index(settings) as index:
        chosen = to_sweep(index, ids, older_than_days, datetime.now(UTC))
        act = sweep if yes else preview_sweep
        return {"applied": yes, "swept": [act(index, storage, each) for each in chosen]}


@flow(name="retire", flow_run_name="retire")
@logged_flow
def retire(
    scenes: Sequence[str] = (),
    renditions: Sequence[str] = (),
    product: str | None = None,
    version: int | None = None,
    source_product: str | None = None,
    area: str | None = None,
    period: str | None = None,
    reason: str = "retired by the operator",
    yes: bool = False,
) -> dict[str, Any]:
    """Preview what retiring would do; with `yes`, do it. Reversible until it is swept."""
    selection = Selection(tuple(scenes), tuple(renditions), product, version, source_product, area, period, reason)
    document = retire_selected(selection, yes)
    plan = document["plan"]
    rows = [{"what": "retired", **each} for each in plan["retired"]]
    rows += [{"what": "depends on it", **each} for each in plan["dependent"]]
    rows += [{"what": "cube", "product": each["product"], "examples": each["snapshot_url"]} for each in plan["cubes"]]
    leave_table(
        "retire", rows or [{"what": "nothing"}], f"Retirement {document['id'] or 'preview: nothing was changed'}"
    )
    return document
