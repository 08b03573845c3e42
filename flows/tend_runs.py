"""The flow `tend-runs`: settle runs whose process is gone, free what nobody holds, and tell what is wrong with the runs of the service."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow

from datacube_config.settings import get_settings
from flows.prefect_api import prefect_access
from flows.run_alerts import ALERT_BLOCK, alert
from flows.run_artifacts import leave_table, logged_flow
from flows.steps.service.dead_runs import settle_dead_runs
from flows.steps.service.prefect_audit import audit
from flows.steps.service.prefect_figures import failed_runs, last_table
from products.errors import RequestError

TABLE = "tend-runs"
TOLD = timedelta(hours=1)
MOST_FAILURES, MOST_TOLD = 50, 200


@flow(name="tend-runs", flow_run_name="tend-runs")
@logged_flow
def tend_runs() -> dict[str, Any]:
    """Returns `settled`, `wrong` and `failed` of the last hour; what was not told before goes to NEOCUBE_ALERT_BLOCK. Safe to repeat."""
    access = prefect_access()
    if access is None:
        raise RequestError("expected a Prefect API: set PREFECT_API_URL")
    now = datetime.now(UTC)
    settled = settle_dead_runs(access, now)
    wrong = audit(access, now)
    failed = [each for each in failed_runs(access, MOST_FAILURES) if now - datetime.fromisoformat(each["at"]) < TOLD]
    lines = [
        *(f"{each.run} was {each.was} and silent since {each.silent_since}: {each.now}" for each in settled),
        *wrong,
        *(f"{each['run']} failed at {each['at']}: {each['cause']}" for each in failed),
    ]
    _tell(lines, last_table(access, TABLE), get_settings().alert_block)
    return {"settled": [asdict(each) for each in settled], "wrong": wrong, "failed": failed}


def _tell(lines: Sequence[str], before: Sequence[Mapping[str, str]], block: str | None) -> None:
    """Send what was not told yet, what the run before could not tell included, and leave a table of what is told by then.

    That the block itself failed is no news for it.
    """
    told = {row["what"] for row in before if row.get("told", "yes") == "yes"}
    owed = [row["what"] for row in before if row["what"] not in told] if block else []
    news = [line for line in dict.fromkeys([*owed, *lines]) if line not in told and ALERT_BLOCK not in line]
    fresh = news[-MOST_TOLD:]
    try:
        if fresh and block:
            alert(block, f"neocube: {len(fresh)} alerts", fresh)
            told.update(fresh)
    finally:
        every = dict.fromkeys([*fresh, *lines])
        rows = [{"what": line, "told": "yes" if line in told else "no"} for line in every]
        leave_table(TABLE, rows or [{"what": "nothing"}], "What was wrong with runs")
