"""`neocube serve`, or a part of it, is killed in the middle of a build that was asked for on its page: it ends with the cube whole."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest
import yaml

from datacube_config.accounts import hashed_token
from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.plan_cells import plan
from flows.serve import prefect_file
from flows.steps.service.dead_runs import SILENT, settle_dead_runs
from flows.steps.service.prefect_figures import PrefectAccess
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.request_rows import reading
from tests.flows.file_digests import digests
from tests.flows.serve_process import Api, Watched, serving
from tests.waiting import wait_until

PRODUCT, REQUESTS = "many_cells", "request-product/request-product"
TOKEN = "a token of the tests"
OPERATOR = {"name": "ops", "role": "operator", "projects": ["coast"], "token_hash": hashed_token(TOKEN)}
ACCOUNTS = {"NEOCUBE_ACCOUNTS": json.dumps([OPERATOR])}
Kill = Callable[[subprocess.Popen[bytes], Watched], None]


def kill_its_group(process: subprocess.Popen[bytes], found: Watched) -> None:
    """As `kill -9` does: server, worker and page are told by the kernel, the index runs on."""
    os.killpg(process.pid, signal.SIGKILL)


def kill_everything(process: subprocess.Popen[bytes], found: Watched) -> None:
    """As a machine that fails does: nobody is told anything."""
    below = psutil.Process(process.pid).children(recursive=True)
    for each in (psutil.Process(process.pid), *below, found.postmaster()):
        each.kill()


@pytest.fixture(scope="module")
def recipe(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose cells are small and many."""
    text = small_recipe.read_text().replace("tile_px: 96", "tile_px: 32")
    text = text.replace("name: mangrove_features", f"name: {PRODUCT}")
    assert f"name: {PRODUCT}" in text and "tile_px: 32" in text
    path = tmp_path_factory.mktemp("recipe") / "many.recipe.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, ingested_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of all files of the store after one whole build."""
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    subprocess.run(["cp", "-a", str(ingested_home), str(home)], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEOCUBE_HOME", str(home))
        assert build(str(recipe), "demo", "2020")["failed"] == []
    return digests(home / "store")


def only_requests(home: Path) -> None:
    """Have `neocube serve` of this home register requests only: nothing that a schedule starts runs beside them."""
    declared = yaml.safe_load(prefect_file().read_text())
    declared["deployments"] = [each for each in declared["deployments"] if each["name"] == "request-product"]
    (home / "prefect.yaml").write_text(yaml.safe_dump(declared))


def on_page(api: Api, method: str, path: str, body: object = None) -> Any:
    """What the API of the request page says to an operator."""
    said = {"Authorization": f"Bearer {TOKEN}"}
    url = f"{api.said['page']}/api/{path}"
    return httpx.request(method, url, json=body, headers=said, timeout=120, trust_env=False).raise_for_status().json()


def ask(api: Api, recipe: Path) -> str:
    """The id of a request for the demo area."""
    body = {"recipe": recipe.read_text(), "area": "demo", "period": "2020", "project": "coast"}
    return str(on_page(api, "POST", "requests", body)["id"])


def wait_until_done(api: Api, number: str) -> None:
    """Return when the request is done, with all its cells."""
    path = f"requests/{number}"
    wait_until(lambda: on_page(api, "GET", path)["state"] not in ("approved", "running"), "the request to end")
    found = on_page(api, "GET", path)
    assert (found["state"], found["cells"]["built"]) == ("done", found["cells"]["to_build"]), found


def files(settings: Settings, cells: Collection[str]) -> dict[str, tuple[int, int]]:
    """Each file of some cells, with its inode and time: a cell that is built again has others."""
    folder = Path(settings.store_url) / "cells" / PRODUCT
    found = [each for cell in cells for each in (folder / cell).rglob("*") if each.is_file()]
    return {str(each): (each.stat().st_ino, each.stat().st_mtime_ns) for each in found}


def rows(settings: Settings) -> list[str]:
    """The ids of the rows of cells, archived ones too."""
    with open_index(settings) as index:
        return sorted(str(row.id) for row in index.dc.index.datasets.search(product=PRODUCT, archived=None))


def check_whole(settings: Settings, planned: list[str], undisturbed: dict[str, str]) -> None:
    """Each planned cell has one row, and the store the files of an undisturbed build."""
    assert rows(settings) == planned
    assert digests(Path(settings.store_url)) == undisturbed


def slots(api: Api) -> int:
    """How many slots of the deployment of requests are taken."""
    return int(api.deployment(REQUESTS)["global_concurrency_limit"]["active_slots"])


@pytest.fixture
def planned(ingested_settings: Settings, recipe: Path) -> list[str]:
    """The ids of the cells that are to be built."""
    only_requests(ingested_settings.home)
    found = sorted(str(cell.id) for cell in plan(str(recipe), "demo", "2020").cells)
    assert len(found) >= 16
    return found


@pytest.mark.full
@pytest.mark.parametrize("kill", [kill_its_group, kill_everything])
def test_a_serve_that_is_killed_and_started_again_ends_with_the_cube_whole(
    kill: Kill,
    ingested_settings: Settings,
    recipe: Path,
    planned: list[str],
    undisturbed: dict[str, str],
    tmp_path: Path,
) -> None:
    settings, found = ingested_settings, Watched(ingested_settings.home)
    place = (settings.home, free_port(), free_port(), tmp_path / "serve.log")
    with serving(*place, **ACCOUNTS) as (process, api):
        number = ask(api, recipe)
        wait_until(lambda: len(found.cells(PRODUCT)) >= 2, "the first cells", 0.05)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 4, "the server, the worker, the page and the run"
        kill(process, found)
        _, alive = psutil.wait_procs(started, timeout=60)
        assert alive == []
    before = rows(settings)
    assert 2 <= len(before) < len(planned), "it was killed when all was done"
    built = files(settings, before)

    with serving(*place, **ACCOUNTS) as (_, api):
        access, now = PrefectAccess(api.said["api"]), datetime.now(UTC)
        assert on_page(api, "GET", f"requests/{number}")["state"] == "running"
        assert settle_dead_runs(access, now + 2 * SILENT) == []
        settled = settle_dead_runs(access, now + 4 * SILENT)
        assert [(each.was, each.now) for each in settled] == [("RUNNING", "CRASHED")] * 2, "the request and its build"
        assert slots(api) == 0
        wait_until_done(api, number)
        wait_until(lambda: slots(api) == 0, "the slots to be free")
        assert sorted(run["state_type"] for run in api.runs(REQUESTS)) == ["COMPLETED", "CRASHED"]

    check_whole(settings, planned, undisturbed)
    assert files(settings, before) == built, "what was committed is not built again"
    with open_index(settings) as index, reading(index) as requests:
        result = requests.get(UUID(number)).result
    assert result is not None
    assert (result["built"]["fresh"], result["built"]["built"]) == (len(before), len(planned) - len(before))


def kill_server(process: subprocess.Popen[bytes], found: Watched) -> None:
    child(process, "prefect", "server").kill()


def kill_index(process: subprocess.Popen[bytes], found: Watched) -> None:
    found.postmaster().kill()


def kill_both(process: subprocess.Popen[bytes], found: Watched) -> None:
    kill_server(process, found)
    kill_index(process, found)


def kill_page(process: subprocess.Popen[bytes], found: Watched) -> None:
    child(process, "uvicorn").kill()


def kill_worker(process: subprocess.Popen[bytes], found: Watched) -> None:
    child(process, "prefect", "worker").kill()


def child(process: subprocess.Popen[bytes], *words: str) -> psutil.Process:
    """The process below `serve` of whose command line these are parts."""
    below = psutil.Process(process.pid).children()
    (found,) = [each for each in below if all(word in each.cmdline() for word in words)]
    return found


@pytest.mark.full
@pytest.mark.parametrize(
    ("kill", "runs"),
    [
        (kill_worker, ["COMPLETED", "CRASHED"]),
        (kill_both, ["COMPLETED"]),
        (kill_server, ["COMPLETED"]),
        (kill_index, ["COMPLETED"]),
        (kill_page, ["COMPLETED"]),
    ],
)
def test_what_a_served_build_stands_on_is_killed_and_the_cube_is_whole_without_being_asked_for_again(
    kill: Kill,
    runs: list[str],
    ingested_settings: Settings,
    recipe: Path,
    planned: list[str],
    undisturbed: dict[str, str],
    tmp_path: Path,
) -> None:
    settings, found, log = ingested_settings, Watched(ingested_settings.home), tmp_path / "serve.log"
    with serving(settings.home, free_port(), free_port(), log, **ACCOUNTS) as (process, api):
        number = ask(api, recipe)
        wait_until(lambda: len(found.cells(PRODUCT)) >= 2, "the first cells", 0.05)
        before = found.cells(PRODUCT)
        kill(process, found)
        built = files(settings, before)
        assert len(before) < len(planned), "it was killed when all was done"
        wait_until(lambda: "started again" in log.read_text(), "serve to start again what ended")
        wait_until_answering(api)
        wait_until_done(api, number)
        wait_until(lambda: slots(api) == 0, "the slots to be free")
        assert sorted(run["state_type"] for run in api.runs(REQUESTS)) == runs, "a run dies with its worker"
        assert process.poll() is None
    check_whole(settings, planned, undisturbed)
    assert files(settings, before) == built, "what was committed is not built again"


def wait_until_answering(api: Api) -> None:
    """Return when the request page answers, which has been started again or has found its index again."""

    def answers() -> bool:
        try:
            on_page(api, "GET", "requests")
        except httpx.HTTPError:
            return False
        return True

    wait_until(answers, "the request page to answer")
