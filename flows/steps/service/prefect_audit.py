"""What is wrong with a Prefect server beside its dead runs: slots that nobody holds, pools without a worker, runs and schedules that wait."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx

from flows.steps.service.prefect_figures import PrefectAccess, all_rows, without_run

LATE = timedelta(hours=1)
# the server frees what a dead run held after its lease, five minutes unless a deployment says otherwise
SETTLED = timedelta(minutes=10)
HOLDING = ["PENDING", "RUNNING", "CANCELLING"]


def audit(access: PrefectAccess, now: datetime) -> list[str]:
    """One line for each thing that is wrong, and what was done about it."""
    with access.client() as client:
        deployments = list(all_rows(client, "/deployments/filter", {}))
        return [
            *_lost_slots(client, deployments, now),
            *_without_worker(client),
            *_late(client, now),
            *_without_plan(client, now),
        ]


def _lost_slots(client: httpx.Client, deployments: list[dict[str, Any]], now: datetime) -> Iterator[str]:
    """Free slots of deployments that no run holds, none that has ended lately either."""
    limited = {row["id"]: row for row in deployments if (row.get("global_concurrency_limit") or {}).get("active_slots")}
    for number, row in limited.items():
        limit, held = row["global_concurrency_limit"], row["global_concurrency_limit"]["active_slots"]
        of_it = {"deployments": {"id": {"any_": [number]}}}
        holding = _count(client, {**of_it, "flow_runs": {"state": {"type": {"any_": HOLDING}}}})
        ended = _count(client, {**of_it, "flow_runs": {"end_time": {"after_": (now - SETTLED).isoformat()}}})
        if held > holding and not ended:
            path = f"/v2/concurrency_limits/{limit['id']}"
            client.patch(path, json={"active_slots": holding}).raise_for_status()
            yield f"the deployment {row['name']} had {held} slots taken and {holding} runs to hold them: {held - holding} freed"


def _count(client: httpx.Client, wanted: Mapping[str, Any]) -> int:
    return int(client.post("/flow_runs/count", json=wanted).raise_for_status().json())


def _without_worker(client: httpx.Client) -> Iterator[str]:
    for pool in all_rows(client, "/work_pools/filter", {}):
        workers = all_rows(client, f"/work_pools/{pool['name']}/workers/filter", {})
        if not pool["is_paused"] and not any(worker["status"] == "ONLINE" for worker in workers):
            yield f"the work pool {pool['name']} has no worker that is online: start one, `prefect worker start --pool {pool['name']}`"


def _late(client: httpx.Client, now: datetime) -> Iterator[str]:
    before = {"before_": (now - LATE).isoformat()}
    wanted = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}, "next_scheduled_start_time": before}}
    late = Counter(str(run["name"]) for run in all_rows(client, "/flow_runs/filter", wanted))
    if late:
        names = ", ".join(sorted(late)[:3])
        hours = LATE.total_seconds() / 3600
        yield f"{late.total()} runs are due for over {hours:g} h and have not begun: {names}{' and others' if len(late) > 3 else ''}"


def _without_plan(client: httpx.Client, now: datetime) -> Iterator[str]:
    """Of those of `without_run`, the ones that have not changed just now."""
    for row in without_run(client):
        if now - datetime.fromisoformat(row["updated"]) >= SETTLED:
            yield f"the schedule of {row['name']} is on and no run is planned: look whether the scheduler of the server runs"
