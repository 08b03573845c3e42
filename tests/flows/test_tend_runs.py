"""Runs whose process is gone, lost slots and what else is wrong with a Prefect server: found, settled and told, on a real one."""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.types import SecretDict
from pydantic import SecretStr

from flows.cli import main
from flows.run_alerts import alert
from flows.serve import prefect_file
from flows.steps.service.dead_runs import LONGEST_WAIT, MOST_STARTS, SILENT, settle_dead_runs
from flows.steps.service.prefect_audit import audit
from flows.steps.service.prefect_figures import PrefectAccess, last_table, prefect_readings
from flows.steps.service.prefect_processes import free_port, private_environment
from flows.tend_runs import TABLE
from products.errors import RequestError
from tests.flows.loopback_server import Silent, answering
from tests.flows.prefect_server import prefect_server
from tests.waiting import wait_until

LATER = SILENT + timedelta(seconds=1)
TOKEN = "hush1234"
BUSY_S = 30.0
SLEEPING = """
import time
from prefect import flow

@flow(name="sleeper", flow_run_name="sleeper")
def sleeper():
    print("runs", flush=True)
    time.sleep(600)

sleeper()
"""


@dataclass
class Prefect:
    """The API of a private server."""

    url: str
    environment: dict[str, str]
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    @property
    def access(self) -> PrefectAccess:
        return PrefectAccess(self.url)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What the server says; it is asked again while SQLite is busy, as Prefect's own clients do."""
        end = time.monotonic() + BUSY_S
        while (answer := self.client.post(path, json=body)).status_code == httpx.codes.SERVICE_UNAVAILABLE:
            assert time.monotonic() < end, answer.text
            time.sleep(0.2)
        assert answer.is_success, answer.text
        return answer.json()

    def run(self, number: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/flow_runs/{number}").raise_for_status().json()
        return found

    def deployment(self, name: str, **more: Any) -> str:
        """A deployment of the flow `waits` on the work pool `neocube`."""
        flow = self.post("/flows/", {"name": "waits"})["id"]
        asked = {"name": name, "flow_id": flow, "work_pool_name": "neocube", "entrypoint": "flows.tend.tend", **more}
        return str(self.post("/deployments/", asked)["id"])

    def pending(self, deployment: str) -> str:
        """A run of it that a worker has taken up."""
        number = self.post(f"/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})["id"]
        assert self.post(f"/flow_runs/{number}/set_state", {"state": {"type": "PENDING"}})["status"] == "ACCEPT"
        return str(number)


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A private server that plans no runs, with the work pool `neocube`, of which no worker is online."""
    home = tmp_path_factory.mktemp("tended") / "home"
    no_scheduler = {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}
    with prefect_server(home, **no_scheduler) as server:
        served = Prefect(server.url, {**private_environment(home), **no_scheduler})
        served.post("/work_pools/", {"name": "neocube", "type": "process"})
        yield served
        served.client.close()


def look_twice(prefect: Prefect, since: datetime) -> list[str]:
    """What is settled at a look long after, and at one long after that."""
    assert settle_dead_runs(prefect.access, since + LATER) == []
    return [each.now for each in settle_dead_runs(prefect.access, since + 2 * LATER)]


def test_a_run_that_died_pending_is_due_again_and_its_slot_is_free(prefect: Prefect) -> None:
    limited = prefect.deployment("limited", concurrency_limit=1)
    dead, now = prefect.pending(limited), datetime.now(UTC)
    assert settle_dead_runs(prefect.access, now) == []
    for attempt in range(1, MOST_STARTS + 1):
        assert look_twice(prefect, now) == ["SCHEDULED"]
        found = prefect.run(dead)
        assert (found["state_type"], found["labels"]["neocube.started_again"]) == ("SCHEDULED", attempt)
        assert "nothing was heard of it since" in found["state"]["message"]
        answer = prefect.post(f"/flow_runs/{dead}/set_state", {"state": {"type": "PENDING"}})
        assert (answer["status"], answer["state"]["type"]) == ("ACCEPT", "PENDING"), "the slot is free for it"
        now = datetime.now(UTC) + 4 * attempt * LATER
    assert look_twice(prefect, now) == ["CRASHED"]
    prefect.client.delete(f"/flow_runs/{dead}").raise_for_status()


@pytest.mark.parametrize(
    ("kind", "template", "wait"),
    [
        ("kubernetes", "kubernetes/base-job-template.json", timedelta(hours=1)),
        ("docker", "compose/docker-job-template.json", LONGEST_WAIT),
    ],
)
def test_a_run_that_waits_for_its_container_is_left_as_long_as_its_worker_waits(
    prefect: Prefect, kind: str, template: str, wait: timedelta
) -> None:
    said = json.loads((prefect_file().parent / template).read_text())
    prefect.post("/work_pools/", {"name": kind, "type": kind, "base_job_template": said})
    waiting, now = prefect.pending(prefect.deployment(f"in-{kind}", work_pool_name=kind)), datetime.now(UTC)
    for n in range(1, 5):
        assert settle_dead_runs(prefect.access, now + n * LATER) == []
    assert settle_dead_runs(prefect.access, now + wait) == []
    assert prefect.run(waiting)["labels"].get("neocube.silent_at") is None
    assert look_twice(prefect, now + wait) == ["SCHEDULED"]
    prefect.client.delete(f"/flow_runs/{waiting}").raise_for_status()


def test_a_run_whose_process_was_killed_is_crashed_and_one_that_lives_is_left(prefect: Prefect) -> None:
    environment = {**os.environ, **prefect.environment, "PREFECT_API_URL": prefect.url}
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPING], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        (number,) = [
            run["id"] for run in prefect.post("/flow_runs/filter", {"flow_runs": {"name": {"any_": ["sleeper"]}}})
        ]
        assert settle_dead_runs(prefect.access, datetime.now(UTC)) == []
        process.send_signal(signal.SIGKILL)
    assert prefect.run(number)["state_type"] == "RUNNING"
    assert look_twice(prefect, datetime.now(UTC)) == ["CRASHED"]
    assert prefect.run(number)["state"]["message"].startswith("nothing was heard of it since")


def test_a_run_that_is_heard_of_between_two_looks_is_left(prefect: Prefect) -> None:
    now = datetime.now(UTC)
    run = prefect.pending(prefect.deployment("heard"))
    assert settle_dead_runs(prefect.access, now + LATER) == []
    beat = {
        "occurred": (now + LATER + timedelta(seconds=60)).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "id": "6f0c2c0e-5b1d-5e2b-9a39-0f6b6a1f7a52",
    }
    prefect.client.post("/events", json=[beat]).raise_for_status()
    heard = {
        "event": {"name": [beat["event"]]},
        "resource": {"id": [f"prefect.flow-run.{run}"]},
        "occurred": {"until": (now + 2 * LATER).isoformat()},
    }
    wait_until(
        lambda: prefect.post("/events/filter", {"filter": heard})["events"], "the server to keep an event", 0.2, 30
    )
    assert settle_dead_runs(prefect.access, now + 2 * LATER) == []
    prefect.client.delete(f"/flow_runs/{run}").raise_for_status()


def leaking(prefect: Prefect, name: str) -> tuple[str, str]:
    """A deployment that has two slots taken, and its one run that holds one."""
    number = prefect.deployment(name, concurrency_limit=2)
    run = prefect.pending(number)
    limit = prefect.client.get(f"/deployments/{number}").json()["global_concurrency_limit"]
    assert limit["active_slots"] == 1
    prefect.client.patch(f"/v2/concurrency_limits/{limit['id']}", json={"active_slots": 2}).raise_for_status()
    return number, run


def test_slots_that_no_run_holds_are_freed_and_held_ones_are_left(prefect: Prefect) -> None:
    number, run = leaking(prefect, "leaking")
    (found,) = [line for line in audit(prefect.access, datetime.now(UTC)) if "leaking" in line]
    assert found == "the deployment leaking had 2 slots taken and 1 runs to hold them: 1 freed"
    assert prefect.client.get(f"/deployments/{number}").json()["global_concurrency_limit"]["active_slots"] == 1
    assert [line for line in audit(prefect.access, datetime.now(UTC)) if "leaking" in line] == []
    prefect.client.delete(f"/flow_runs/{run}").raise_for_status()


def test_pools_without_a_worker_late_runs_and_schedules_without_runs_are_told(prefect: Prefect) -> None:
    number = prefect.deployment("waiting")
    prefect.post(f"/deployments/{number}/create_flow_run", {"name": "late-one", "state": {"type": "SCHEDULED"}})
    schedule = {"schedule": {"cron": "0 0 1 1 *", "timezone": "UTC"}, "active": True}
    prefect.deployment("planless", schedules=[schedule])
    told = audit(prefect.access, datetime.now(UTC) + timedelta(hours=2))
    assert (
        "the work pool neocube has no worker that is online: start one, `prefect worker start --pool neocube`" in told
    )
    assert "1 runs are due for over 1 h and have not begun: late-one" in told
    unplanned = [line for line in told if "is on and no run is planned" in line]
    assert [line for line in unplanned if "planless" in line]
    readings = prefect_readings(prefect.access, datetime.now(UTC))
    assert [each.value for each in readings if each.metric == "neocube_schedules_without_run"] == [len(unplanned)]


@dataclass
class Hook:
    """A webhook on loopback, and what was posted to it."""

    url: str
    posted: list[bytes]


@pytest.fixture
def hook() -> Iterator[Hook]:
    posted: list[bytes] = []

    class Answer(Silent, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(200)

    with answering(HTTPServer(("127.0.0.1", 0), Answer)) as url:
        yield Hook(url, posted)


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """The host and port of a webhook on loopback that answers 403."""

    class Refusal(Silent, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(403)

    with answering(HTTPServer(("127.0.0.1", 0), Refusal)) as url:
        yield url.removeprefix("http://")


def webhook_block(place: str) -> str:
    """A webhook of one's own at HOST:PORT, its token in its URL."""
    url, secrets = f"http://{place}/{{{{token}}}}", SecretDict({"token": TOKEN})
    CustomWebhookNotificationBlock(name="own", url=url, json_data={"text": "{{body}}"}, secrets=secrets).save(
        "own", overwrite=True
    )
    return f"{CustomWebhookNotificationBlock.get_block_type_slug()}/own"


def apprise_block(place: str) -> str:
    """The same by Apprise, as Slack, Teams and e-mail are."""
    SlackWebhook(url=SecretStr(f"json://{place}/{TOKEN}")).save("own", overwrite=True)
    return f"{SlackWebhook.get_block_type_slug()}/own"


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # which Apprise imports
@pytest.mark.parametrize(
    ("made", "refused", "dead"),
    [
        (webhook_block, "HTTPStatusError", "ConnectError"),
        (apprise_block, "NotificationError", "NotificationError"),
    ],
)
def test_a_block_that_sends_nothing_is_an_error_that_tells_no_secret(
    prefect: Prefect, refusing: str, made: Callable[[str], str], refused: str, dead: str
) -> None:
    assert prefect.url
    for place, said in ((refusing, refused), (f"127.0.0.1:{free_port()}", dead)):
        block = made(place)
        with pytest.raises(
            RequestError, match=f"^NEOCUBE_ALERT_BLOCK: the block {block} sent nothing: {said}$"
        ) as raised:
            alert(block, "subject", ["line"])
        assert TOKEN not in "".join(traceback.format_exception(raised.value))


def test_a_block_whose_content_is_refused_tells_no_secret(prefect: Prefect) -> None:
    block = webhook_block("127.0.0.1:1")
    slug, name = block.split("/")
    row = prefect.client.get(f"/block_types/slug/{slug}/block_documents/name/{name}").raise_for_status().json()
    broken = {"data": {"url": f"http://127.0.0.1:1/{TOKEN}", "timeout": f"soon {TOKEN}"}, "merge_existing_data": True}
    prefect.client.patch(f"/block_documents/{row['id']}", json=broken).raise_for_status()
    expected = f"^NEOCUBE_ALERT_BLOCK: the block {block} cannot be loaded: RuntimeError$"
    with pytest.raises(RequestError, match=expected) as raised:
        alert(block, "subject", ["line"])
    assert TOKEN not in "".join(traceback.format_exception(raised.value))


def test_what_is_wrong_is_told_once_by_the_block_that_the_operator_chose(
    prefect: Prefect, hook: Hook, neocube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = CustomWebhookNotificationBlock(name="ops", url=hook.url, json_data={"text": "{{subject}}: {{body}}"})
    block.save("operators", overwrite=True)
    monkeypatch.setenv("PREFECT_API_URL", prefect.url)
    monkeypatch.setenv("NEOCUBE_ALERT_BLOCK", f"{type(block).get_block_type_slug()}/operators")
    first = CliRunner().invoke(main, ["tend-runs"])
    assert first.exit_code == 0, first.output
    assert "the work pool neocube has no worker" in first.stdout
    (posted,) = hook.posted
    assert b"neocube: " in posted and b"the work pool neocube has no worker" in posted
    again = CliRunner().invoke(main, ["tend-runs"])
    assert "the work pool neocube has no worker" in again.stdout
    assert len(hook.posted) == 1
    assert not neocube_home.exists()


def test_what_a_block_could_not_send_is_told_by_the_next_run(
    prefect: Prefect, hook: Hook, neocube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = leaking(prefect, "owing")
    monkeypatch.setenv("PREFECT_API_URL", prefect.url)
    monkeypatch.setenv("NEOCUBE_ALERT_BLOCK", webhook_block(f"127.0.0.1:{free_port()}"))
    for _ in range(2):
        failed = CliRunner().invoke(main, ["tend-runs"])
        assert (failed.exit_code, failed.stderr.count("own sent nothing: ConnectError\n")) == (2, 1)
    freed = "the deployment owing had 2 slots taken and 1 runs to hold them: 1 freed"
    assert {"what": freed, "told": "no"} in last_table(prefect.access, TABLE)
    webhook_block(hook.url.removeprefix("http://"))
    for _ in range(2):
        assert CliRunner().invoke(main, ["tend-runs"]).exit_code == 0
    (posted,) = hook.posted
    told = json.loads(posted)["text"].splitlines()
    assert freed in told
    assert [line for line in told if "sent nothing" in line] == []
    assert [row for row in last_table(prefect.access, TABLE) if row["told"] == "no"] != []
    prefect.client.delete(f"/flow_runs/{run}").raise_for_status()
    assert not neocube_home.exists()


def test_a_block_that_is_not_there_is_named(prefect: Prefect) -> None:
    assert prefect.url
    with pytest.raises(RequestError, match="NEOCUBE_ALERT_BLOCK: expected TYPE/NAME of a block of this Prefect server"):
        alert("slack-webhook/nobody", "subject", ["line"])


def test_a_server_that_does_not_answer_is_named(neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url := f"http://127.0.0.1:{free_port()}/api")
    with temporary_settings({PREFECT_API_URL: url}):
        done = CliRunner().invoke(main, ["tend-runs"])
    said = f"neocube: the Prefect server at {url} does not answer: start it, and run the same again\n"
    assert (done.exit_code, done.stderr) == (2, said)
    assert not neocube_home.exists()


def test_without_a_server_the_command_says_what_it_needs(
    neocube_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    done = CliRunner().invoke(main, ["tend-runs"])
    assert (done.exit_code, done.stderr) == (
        2,
        "neocube: expected a Prefect server, none is set: set PREFECT_API_URL\n",
    )
