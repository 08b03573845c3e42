"""Flow runs whose process is gone: found by their silence, at two looks, and settled so that what they hold is free again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx

from flows.steps.service.prefect_figures import PrefectAccess, all_rows

# a run tells of itself every 180 s (PREFECT_FLOWS_HEARTBEAT_FREQUENCY)
SILENT = timedelta(minutes=10)
# the variable of a Kubernetes pool; what a pool that does not state it waits at most
POD_WAIT, LONGEST_WAIT = "pod_watch_timeout_seconds", timedelta(days=1)
SUSPECTED, STARTED_AGAIN = "neocube.silent_at", "neocube.started_again"
MOST_STARTS = 2
HEARTBEAT = "prefect.flow-run.heartbeat"


@dataclass(frozen=True, slots=True)
class Settled:
    """A run that was dead: its name, the state that it was in and is in now, since when nothing was heard of it."""

    run: str
    was: str
    now: str
    silent_since: str


def settle_dead_runs(access: PrefectAccess, now: datetime) -> list[Settled]:
    """Settle runs that were silent for SILENT at a look before and are so at this one; others that are silent are noted for the next.

    A look alone would take a server that was down for dead runs. A run that died PENDING has done nothing and is due again, MOST_STARTS times; one that died
    RUNNING is crashed, one that was to be CANCELLED is that. One that is PENDING where its worker waits for a node or an image is silent all that time, and is
    not looked at before.
    """
    with access.client() as client:
        open_states = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}}
        runs = list(all_rows(client, "/flow_runs/filter", open_states))
        waits = {pool["name"]: _longest_wait(pool) for pool in all_rows(client, "/work_pools/filter", {})}
        return list(_settled(client, runs, waits, now))


def _longest_wait(pool: Mapping[str, Any]) -> timedelta:
    """How long the worker of a pool waits for what it started to begin."""
    if pool["type"] == "process":
        return timedelta()
    variables = (pool["base_job_template"].get("variables") or {}).get("properties") or {}
    stated = (variables.get(POD_WAIT) or {}).get("default")
    return LONGEST_WAIT if stated is None else timedelta(seconds=float(stated))


def _settled(
    client: httpx.Client, runs: list[dict[str, Any]], waits: Mapping[str, timedelta], now: datetime
) -> Iterator[Settled]:
    for run in runs:
        heard, labels = _last_heard(client, run, now), run.get("labels") or {}
        wait = waits.get(run["work_pool_name"], timedelta()) if run["state_type"] == "PENDING" else timedelta()
        if now - heard < SILENT + wait:
            continue
        suspected = labels.get(SUSPECTED)
        if not suspected or datetime.fromisoformat(suspected) < heard:
            _label(client, run, {SUSPECTED: now.isoformat()})
        elif now - datetime.fromisoformat(suspected) >= SILENT:
            yield _settle(client, run, heard, int(labels.get(STARTED_AGAIN, 0)))


def _settle(client: httpx.Client, run: Mapping[str, Any], heard: datetime, n_starts: int) -> Settled:
    was, what = run["state_type"], f"nothing was heard of it since {heard:%Y-%m-%d %H:%M:%S} UTC"
    if was == "PENDING" and run["work_pool_name"] and n_starts < MOST_STARTS:
        _label(client, run, {STARTED_AGAIN: n_starts + 1, SUSPECTED: ""})
        state = {"type": "SCHEDULED", "message": f"due again: {what}"}
    else:
        state = {"type": "CANCELLED" if was == "CANCELLING" else "CRASHED", "message": what}
    answer = client.post(f"/flow_runs/{run['id']}/set_state", json={"state": state, "force": True})
    answer.raise_for_status()
    return Settled(str(run["name"]), was, state["type"], heard.isoformat())


def _last_heard(client: httpx.Client, run: Mapping[str, Any], now: datetime) -> datetime:
    """When the run came into its state, or its last heartbeat since."""
    since = datetime.fromisoformat(run["state"]["timestamp"])
    wanted = {
        "event": {"name": [HEARTBEAT]},
        "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
        "occurred": {"since": since.isoformat(), "until": now.isoformat()},
        "order": "DESC",
    }
    beats = client.post("/events/filter", json={"filter": wanted, "limit": 1}).raise_for_status().json()["events"]
    return max([since, *(datetime.fromisoformat(each["occurred"]) for each in beats)])


def _label(client: httpx.Client, run: Mapping[str, Any], labels: Mapping[str, str | int]) -> None:
    client.patch(f"/flow_runs/{run['id']}/labels", json=labels).raise_for_status()
