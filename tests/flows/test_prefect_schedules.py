"""Schedules on a real Prefect server: runs are planned, and what the file no longer says is no longer planned."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.flows.prefect_server import prefect_server
from tests.waiting import wait_until

NIGHTLY = {"schedule": {"cron": "0 2 * * *", "timezone": "Europe/London"}, "active": True}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The API of a private server, with the work pool `neocube`."""
    home = tmp_path_factory.mktemp("scheduled") / "home"
    eager = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1"}
    with prefect_server(home, **eager) as server, httpx.Client(base_url=server.url, timeout=60, trust_env=False) as api:
        post(api, "/work_pools/", {"name": "neocube", "type": "process"})
        yield api


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    """What the server answers; an error is one."""
    return client.post(path, json=body).raise_for_status().json()


def planned(client: httpx.Client, deployment: str) -> list[dict[str, Any]]:
    """The runs of a deployment that the server has planned, the next first."""
    wanted = {"deployments": {"id": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_ASC"}
    return list(post(client, "/flow_runs/filter", wanted))


def test_the_server_plans_runs_of_a_schedule(client: httpx.Client) -> None:
    flow = post(client, "/flows/", {"name": "plans"})["id"]
    asked = {"name": "nightly", "flow_id": flow, "work_pool_name": "neocube", "schedules": [NIGHTLY]}
    number = post(client, "/deployments/", asked)["id"]
    wait_until(lambda: planned(client, number), "a run to be planned", 1, 60)
    assert {(run["state_name"], run["auto_scheduled"]) for run in planned(client, number)} == {("Scheduled", True)}
