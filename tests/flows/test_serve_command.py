"""`neocube serve` for real: a request through the API, events that wake what follows, and a clean end."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.steps.index.follow_ups import Order, keep_standing
from flows.steps.service.prefect_processes import free_port
from tests.flows.serve_process import Api, serving
from tests.waiting import wait_until


@pytest.fixture
def served(ingested_settings: Settings, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Api]]:
    """`neocube serve` on a free port, ready."""
    port = free_port()
    with serving(ingested_settings.home, port, free_port(), tmp_path / "serve.log") as (process, api):
        assert api.said["api"] == f"http://127.0.0.1:{port}/api"
        yield process, api


@pytest.mark.full
def test_a_request_by_the_form_builds_and_nothing_outlives_a_killed_command(
    served: tuple[subprocess.Popen[bytes], Api], small_archive: Path
) -> None:
    process, api = served
    assert (small_archive / "catalog.json").is_file()
    api.start("request-product/request-product", {"recipe": "mangrove_features", "area": "demo", "period": "2020"})
    wait_until(lambda: api.completed("request-product/request-product"), "the request")
    assert {"build-cells", "build-progress", "build-coverage", "build-quicklook", "request"} <= api.artifacts()
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 2
    process.kill()
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []


@pytest.mark.full
def test_a_request_by_the_page_is_run_by_the_worker_and_its_cube_can_be_taken(
    served: tuple[subprocess.Popen[bytes], Api],
) -> None:
    _, api = served
    with httpx.Client(base_url=api.said["page"], timeout=60, trust_env=False, follow_redirects=True) as browser:

        def word(path: str) -> str:
            found = re.search(r'name="csrf" value="([^"]+)"', browser.get(path).text)
            assert found is not None
            return found[1]

        who = {"csrf": word("/sign-in"), "name": api.said["name"], "password": api.said["password"]}
        assert "New request" in browser.post("/sign-in", data=who).text
        asked = {"recipe": "mangrove_features", "area": "demo", "period": "2020", "project": "operations", "do": "ask"}
        page = browser.post("/requests", data=asked | {"csrf": word("/")})
        assert page.status_code == 200
        number = page.url.path.rpartition("/")[2]
        wait_until(lambda: browser.get(f"/api/requests/{number}").json()["state"] in ("done", "failed"), "the request")
        done = browser.get(f"/api/requests/{number}").json()
        assert (done["state"], done["cells"]["built"]) == ("done", done["cells"]["to_build"])
        assert browser.get(f"/api/requests/{number}/quicklook.png").content.startswith(b"\x89PNG")
        assert browser.get(f"/api/requests/{number}/cube.zip").content.startswith(b"PK")


STUBBORN = """
import os, signal, subprocess, sys, time
from flows.steps.service import prefect_child
prefect_child.GRACE_S = 0.5
prefect_child.end_with_parent(os.getppid())
signal.signal(signal.SIGTERM, signal.SIG_IGN)
started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(started.pid, flush=True)
time.sleep(600)
"""


def test_a_process_that_will_not_end_is_ended_with_all_it_started_when_its_parent_is_gone() -> None:
    starter = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STUBBORN!r}])"
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        grandchild = psutil.Process(int(parent.stdout.readline()))
        child = grandchild.parent()
        assert child is not None
        parent.kill()
        _, alive = psutil.wait_procs([child, grandchild], timeout=30)
    assert alive == []


LEAVING = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""


def test_what_a_process_started_that_ends_at_once_is_ended_when_its_parent_is_gone(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(LEAVING)
    child = "[sys.executable, '-m', 'flows.steps.service.prefect_child', str(os.getpid()), 'leaving']"
    starter = f"import os, subprocess, sys; subprocess.run({child})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", starter]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        grandchild = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        grandchild.wait(30)


@pytest.mark.full
def test_a_request_wakes_training_which_wakes_mapping_and_nothing_outlives_the_command(
    served: tuple[subprocess.Popen[bytes], Api], ingested_settings: Settings, small_archive: Path
) -> None:
    process, api = served
    labels = small_archive / "truth" / "labels.geojson"
    with open_index(ingested_settings) as index:
        keep_standing(index, Order("mangrove_extent", "demo", "2020", str(labels)))

    request = {"recipe": "mangrove_features", "area": "demo", "period": "2020"}
    api.start("request-product/request-product", request)
    wait_until(lambda: api.completed("request-product/request-product"), "the request")
    assert {"build-cells", "build-progress", "build-coverage", "build-quicklook", "request"} <= api.artifacts()
    wait_until(lambda: api.completed("tend/when-a-cube-publishes"), "the training that the cube's event wakes")
    assert "model-card" in api.artifacts()
    wait_until(lambda: api.completed("tend/when-a-model-publishes"), "the mapping that the model's event wakes")
    assert {"map", "map-areas"} <= api.artifacts()
    assert len(api.runs("tend/when-a-cube-publishes")) == len(api.runs("tend/when-a-model-publishes")) == 1

    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    gone, alive = psutil.wait_procs(started, timeout=10)
    assert alive == [], gone
