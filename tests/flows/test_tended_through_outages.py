"""`tend-runs` while Prefect's server and its database are killed: who lives is left, who died is settled, and it works again by itself."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from flows.steps.service.dead_runs import HEARTBEAT, SILENT, settle_dead_runs
from flows.steps.service.prefect_figures import PrefectAccess
from flows.steps.service.prefect_processes import free_port, private_environment, running_server
from tests.flows.killable_postgres import killable_postgres
from tests.waiting import wait_until

LATER = SILENT + timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
SLEEPER = """
import sys, time
from prefect import flow

@flow(name="sleeper", flow_run_name=sys.argv[1])
def sleeper():
    print("runs", flush=True)
    time.sleep(600)

sleeper()
"""


@contextmanager
def sleeper(name: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A flow run that has begun and goes on until it is killed."""
    command = [sys.executable, "-c", SLEEPER, name]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"runs\n"
            yield process
        finally:
            process.kill()


def within_a_minute(is_so: Callable[[], bool], what: str) -> None:
    wait_until(is_so, what, 0.3, 60)


def state(url: str, name: str) -> tuple[str, str]:
    """Id and state of a run; nothing where the server has no answer."""
    try:
        answer = httpx.post(f"{url}/flow_runs/filter", json={"flow_runs": {"name": {"any_": [name]}}}, timeout=10)
        (found,) = answer.raise_for_status().json()
    except httpx.HTTPError:
        return "", ""
    return found["id"], found["state_type"]


def beat(url: str, run: str, moment: datetime) -> None:
    """Say that a run lives at a moment, as its process does every few minutes, and see that it is known."""
    event = {
        "occurred": moment.isoformat(),
        "event": HEARTBEAT,
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "id": str(uuid4()),
    }
    httpx.post(f"{url}/events", json=[event], timeout=10).raise_for_status()
    asked = {"filter": {"id": {"id": [event["id"]]}, "occurred": {"until": (moment + MINUTE).isoformat()}}}
    within_a_minute(
        lambda: bool(httpx.post(f"{url}/events/filter", json=asked, timeout=10).json()["events"]), "an event"
    )


def tending(environment: dict[str, str]) -> subprocess.Popen[str]:
    """`neocube tend-runs`, which has begun."""
    command = [sys.executable, "-m", "flows.cli", "tend-runs", "--json"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def tended(environment: dict[str, str]) -> tuple[int, Any]:
    """The exit code of `neocube tend-runs`, and what it said."""
    process = tending(environment)
    said, complaint = process.communicate(timeout=120)
    return process.returncode, json.loads(said) if process.returncode == 0 else complaint


@pytest.mark.full
def test_runs_are_settled_through_outages_of_the_server_and_of_its_database(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "server.log"
    with killable_postgres("prefect") as database, ExitStack() as stack:
        place = f"postgresql+asyncpg://odc@127.0.0.1:{database.port}/prefect"
        private = {
            **private_environment(tmp_path), "PREFECT_API_DATABASE_CONNECTION_URL": place,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": place, "PREFECT_CLIENT_MAX_RETRIES": "2",
            "PREFECT_SERVER_DATABASE_TIMEOUT": "10", "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "10",
        }  # fmt: skip
        server = stack.enter_context(running_server("127.0.0.1", port, private, log, ui=False))
        server.wait_until_ready()
        environment = {**os.environ, **private, "PREFECT_API_URL": server.url}
        access = PrefectAccess(server.url)
        stack.enter_context(sleeper("alive", environment))
        dead = stack.enter_context(sleeper("dead", environment))
        os.killpg(dead.pid, signal.SIGKILL)
        alive, died = state(server.url, "alive")[0], datetime.now(UTC)
        beat(server.url, alive, died + LATER - MINUTE)
        assert settle_dead_runs(access, died + LATER) == []

        server.process.kill()
        code, said = tended(environment)
        assert code == 2 and "does not answer: start it" in said
        server = stack.enter_context(running_server("127.0.0.1", port, private, log, ui=False))
        server.wait_until_ready()

        database.kill()
        caught = stack.enter_context(tending(environment))
        within_a_minute(lambda: state(server.url, "alive") == ("", ""), "the server to miss its database")
        database.start()
        within_a_minute(lambda: state(server.url, "alive")[1] == "RUNNING", "the server to find its database again")
        settled = settle_dead_runs(access, died + 2 * LATER)
        assert [(each.run, each.was, each.now) for each in settled] == [("dead", "RUNNING", "CRASHED")]
        assert state(server.url, "alive")[1] == "RUNNING", "an outage is no sign that a run died"
        beat(server.url, alive, died + 3 * LATER - MINUTE)
        assert settle_dead_runs(access, died + 3 * LATER) == []
        caught.communicate(timeout=120)
        code, said = tended(environment)
        assert code == 0, said
        assert "dead" in [each["run"] for each in said["failed"]]
