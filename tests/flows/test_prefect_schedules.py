"""Schedules on a real Prefect server: runs are planned, and what the file no longer says is no longer planned."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from flows.steps.service.listed_schedules import end_unlisted_schedules
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


def deployment(client: httpx.Client, name: str, *slugs: str) -> str:
    """A deployment of the flow `plans` with a schedule for each slug, of which runs are planned."""
    flow = post(client, "/flows/", {"name": "plans"})["id"]
    schedules = [{**NIGHTLY, "slug": slug} for slug in slugs]
    asked = {"name": name, "flow_id": flow, "entrypoint": "flows.tend.tend", "work_pool_name": "neocube"}
    number = str(post(client, "/deployments/", {**asked, "schedules": schedules})["id"])
    wait_until(lambda: planned(client, number), "a run to be planned", 1, 60)
    return number


def slugs_of(client: httpx.Client, number: str) -> list[str]:
    """The slugs of the schedules of a deployment on the server."""
    found = client.get(f"/deployments/{number}").raise_for_status().json()
    return [each["slug"] for each in found["schedules"]]


def test_the_server_plans_runs_of_a_schedule(client: httpx.Client) -> None:
    number = deployment(client, "nightly", "at-two")
    assert {(run["state_name"], run["auto_scheduled"]) for run in planned(client, number)} == {("Scheduled", True)}


def test_a_schedule_that_the_file_lists_no_more_is_deleted_with_its_planned_runs(client: httpx.Client) -> None:
    numbers = [deployment(client, name, "kept", "old") for name in ("changed", "emptied", "own")]
    declared = {"entrypoint": "flows.tend.tend", "name": "changed", "schedules": [{"slug": "kept"}, {"slug": "new"}]}
    emptied = {"entrypoint": "flows.tend.tend", "name": "emptied"}
    said = [line for line in end_unlisted_schedules(client, [declared, emptied], "neocube") if "nightly" not in line]
    assert [sorted(slugs_of(client, number)) for number in numbers] == [["kept"], [], ["kept", "old"]]
    assert planned(client, numbers[1]) == []
    deleted = [line for line in said if line.endswith("deleted")]
    assert sorted(deleted) == [
        f"the file does not list a schedule of plans/{name}: deleted"
        for name in ("changed, old", "emptied, kept", "emptied, old")
    ]
    assert {line for line in said if line not in deleted} == {
        "the file does not list the deployment plans/own, and a schedule of it is on: `prefect deployment delete 'plans/own'` ends it"
    }
    assert [line for line in end_unlisted_schedules(client, [declared, emptied], "neocube") if "deleted" in line] == []
