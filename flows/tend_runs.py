"""The flow `tend-runs`: settle runs whose process is gone, free what nobody holds, and tell what is wrong with the runs of the service."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow

from datacube_config.settings import get_settings
from flows.prefect_api import prefect_access
from flows.run_alerts import alert
from flows.run_artifacts import leave_table, logged_flow
from flows.steps.service.dead_runs import settle_dead_runs
from flows.steps.service.prefect_audit import audit
from flows.steps.service.prefect_figures import failed_runs, last_table
from products.errors import RequestError

TABLE = "tend-runs"
TOLD = timedelta(hours=1)
MOST_FAILURES = 50


@flow(name="tend-runs", flow_run_name="tend-runs")
@logged_flow
def tend_runs() -> dict[str, Any]:
    """Returns `settled`, `wrong` and `failed` of the last hour; what was not told at the run before goes to NEOCUBE_ALERT_BLOCK. Safe to repeat."""
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
    told = {row["what"] for row in last_table(access, TABLE)}
    leave_table(TABLE, [{"what": line} for line in lines] or [{"what": "nothing"}], "What was wrong with runs")
    fresh, block = [line for line in lines if line not in told], get_settings().alert_block
    if fresh and block:
        alert(block, f"neocube: {len(fresh)} alerts", fresh)
    return {"settled": [asdict(each) for each in settled], "wrong": wrong, "failed": failed}
