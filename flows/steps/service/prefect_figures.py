"""What a Prefect API says of the service now: runs due and ended, failed cells, workers."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx

from flows.steps.service.service_metrics import Reading

TIMEOUT_S = 20.0
OPEN_STATES = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]
CELLS_TABLE = "build-cells"  # the artifact of a build: a row a cell
Run = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PrefectAccess:
    """The URL of an API and, where it wants one, a key or a login (NAME:PASSWORD)."""

    url: str
    key: str | None = field(default=None, repr=False)
    login: str | None = field(default=None, repr=False)

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A client of the API for the block."""
        name, _, password = (self.login or "").partition(":")
        bearer = {"Authorization": f"Bearer {self.key}"} if self.key and not self.login else {}
        basic = (name, password) if self.login else None
        with httpx.Client(base_url=self.url, headers=bearer, auth=basic, timeout=TIMEOUT_S) as client:
            yield client


def prefect_readings(access: PrefectAccess, now: datetime) -> list[Reading]:
    """Every figure that the API has; httpx.HTTPError where it does not answer, or refuses."""
    with access.client() as client:
        flows = {flow["id"]: str(flow["name"]) for flow in all_rows(client, "/flows/filter", {})}
        is_open = {"state": {"type": {"any_": OPEN_STATES}}, "expected_start_time": {"before_": now.isoformat()}}
        unended = list(all_rows(client, "/flow_runs/filter", {"flow_runs": is_open}))
        yesterday = (now - timedelta(days=1)).isoformat()
        of_day = {"flow_runs": {"start_time": {"after_": yesterday}}}
        began = list(all_rows(client, "/flow_runs/filter", of_day))
        tables = all_rows(client, "/artifacts/filter", {**of_day, "artifacts": {"key": {"any_": [CELLS_TABLE]}}})
        return [
            *_by_state("neocube_flow_runs", unended, flows, OPEN_STATES),
            *_by_state("neocube_flow_runs_last_day", began, flows),
            *_oldest_due(unended, flows),
            *_failed_cells(tables, {run["id"]: run for run in began}),
            *_completed(client, flows),
            *_workers(client),
            Reading("neocube_schedules_without_run", sum(1 for _ in without_run(client))),
        ]


def failed_runs(access: PrefectAccess, most: int) -> list[dict[str, str]]:
    """The flow runs that failed or crashed last: `run`, `at`, `cause`."""
    wanted = {"flow_runs": {"state": {"type": {"any_": ["FAILED", "CRASHED"]}}}, "sort": "END_TIME_DESC", "limit": most}
    with access.client() as client:
        rows = client.post("/flow_runs/filter", json=wanted).raise_for_status().json()
    return [
        {
            "run": str(row["name"]),
            "at": str(row["end_time"] or row["state"]["timestamp"]),
            "cause": str(row["state"]["message"] or ""),
        }
        for row in rows
    ]


def last_table(access: PrefectAccess, key: str) -> list[dict[str, str]]:
    """The rows of the last table that a run left under a key; none where none did."""
    with access.client() as client:
        answer = client.get(f"/artifacts/{key}/latest")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return []
        return list(json.loads(answer.raise_for_status().json()["data"]))


def all_rows(client: httpx.Client, path: str, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a filter, page after page, of the size that the server sets."""
    offset = 0
    while page := client.post(path, json={**wanted, "offset": offset}).raise_for_status().json():
        yield from page
        offset += len(page)


def without_run(client: httpx.Client) -> Iterator[dict[str, Any]]:
    """Deployments with a schedule that is on, of which the server has planned no run."""
    for row in all_rows(client, "/deployments/filter", {}):
        if row["paused"] or not any(schedule["active"] for schedule in row["schedules"]):
            continue
        planned = {
            "deployments": {"id": {"any_": [row["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        }
        if not client.post("/flow_runs/count", json=planned).raise_for_status().json():
            yield row


def _by_state(
    metric: str, runs: Iterable[Run], flows: Mapping[str, str], states: Iterable[str] = ()
) -> Iterator[Reading]:
    """Runs by flow and state; of `states` also where there are none."""
    counts = Counter({(flow, state.lower()): 0 for flow in flows.values() for state in states})
    counts.update((flows.get(run["flow_id"], ""), str(run["state_type"]).lower()) for run in runs)
    for (flow, state), count in sorted(counts.items()):
        yield Reading(metric, count, {"flow": flow, "state": state})


def _oldest_due(unended: Iterable[Run], flows: Mapping[str, str]) -> Iterator[Reading]:
    oldest: dict[str, float] = {}
    for run in unended:
        if run["state_type"] in ("SCHEDULED", "PENDING"):
            flow, due = flows.get(run["flow_id"], ""), _timestamp(run["expected_start_time"])
            oldest[flow] = min(due, oldest.get(flow, due))
    for flow, due in sorted(oldest.items()):
        yield Reading("neocube_flow_run_due_timestamp_seconds", due, {"flow": flow})


def _failed_cells(tables: Iterable[Run], began: Mapping[str, Run]) -> Iterator[Reading]:
    """The rows that say `failed`, by the recipe of their run."""
    counts: Counter[str] = Counter()
    for table in tables:
        recipe = str(began.get(table["flow_run_id"], {}).get("parameters", {}).get("recipe", ""))
        counts[recipe] += sum(str(row.get("published", "")).startswith("failed") for row in json.loads(table["data"]))
    for recipe, count in sorted(counts.items()):
        yield Reading("neocube_cell_failures_last_day", count, {"recipe": recipe})


def _completed(client: httpx.Client, flows: Mapping[str, str]) -> Iterator[Reading]:
    for number, flow in sorted(flows.items(), key=lambda each: each[1]):
        wanted = {
            "flows": {"id": {"any_": [number]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
            "sort": "END_TIME_DESC",
            "limit": 1,
        }
        for run in client.post("/flow_runs/filter", json=wanted).raise_for_status().json():
            yield Reading("neocube_flow_completed_timestamp_seconds", _timestamp(run["end_time"]), {"flow": flow})


def _workers(client: httpx.Client) -> Iterator[Reading]:
    """Workers of each pool, none included."""
    for pool in all_rows(client, "/work_pools/filter", {}):
        workers = list(all_rows(client, f"/work_pools/{pool['name']}/workers/filter", {}))
        for status in ("ONLINE", "OFFLINE"):
            count = sum(worker["status"] == status for worker in workers)
            yield Reading("neocube_workers", count, {"pool": str(pool["name"]), "status": status.lower()})


def _timestamp(written: str) -> float:
    """Seconds since 1970 of an instant of the API, which ends on Z or an offset."""
    return datetime.fromisoformat(written).timestamp()
