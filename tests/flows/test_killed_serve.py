"""`neocube serve` is killed in the middle of a build that was asked for on its page: started again, it ends with the cube whole."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
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
from tests.flows.serve_process import Api, Watched, serving, wait_until
from tests.flows.test_kill_and_resume import digests

PRODUCT, REQUESTS = "many_cells", "request-product/request-product"
TOKEN = "a token of the tests"
ACCOUNTS = [{"name": "ops", "role": "operator", "projects": ["coast"], "token_hash": hashed_token(TOKEN)}]
Kill = Callable[[subprocess.Popen[bytes], Watched], None]


def kill_its_group(process: subprocess.Popen[bytes], found: Watched) -> None:
    """As `kill -9` does: server, worker and page are told by the kernel, the index runs on."""
    os.killpg(process.pid, signal.SIGKILL)


def kill_everything(process: subprocess.Popen[bytes], found: Watched) -> None:
    """As a machine that fails does: nobody is told anything."""
    below = psutil.Process(process.pid).children(recursive=True)
    for each in (psutil.Process(process.pid), *below, found.postmaster()):
        each.kill()


@pytest.fixture
def recipe(small_recipe: Path, tmp_path: Path) -> Path:
    """A recipe whose cells are small and many."""
    text = (
        small_recipe.read_text()
        .replace("tile_px: 96", "tile_px: 32")
        .replace("name: mangrove_features", f"name: {PRODUCT}")
    )
    assert f"name: {PRODUCT}" in text and "tile_px: 32" in text
    path = tmp_path / "many.recipe.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def undisturbed(recipe: Path, ingested_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The digests of all files of the store after one whole build."""
    home = tmp_path / "undisturbed"
    subprocess.run(["cp", "-a", str(ingested_home), str(home)], check=True)
    with monkeypatch.context() as patch:
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


def files(settings: Settings) -> dict[str, tuple[int, int]]:
    """Each file of each cell, with its inode and time: a cell that is built again has others."""
    folder = Path(settings.store_url) / "cells" / PRODUCT
    return {str(each): (each.stat().st_ino, each.stat().st_mtime_ns) for each in folder.rglob("*") if each.is_file()}


def committed(settings: Settings) -> list[str]:
    """The ids of the rows of cells, archived ones too."""
    with open_index(settings) as index:
        return sorted(str(row.id) for row in index.dc.index.datasets.search(product=PRODUCT, archived=None))


def slots(api: Api) -> int:
    """How many slots of the deployment of requests are taken."""
    return int(api.deployment(REQUESTS)["global_concurrency_limit"]["active_slots"])


@pytest.mark.full
@pytest.mark.parametrize("kill", [kill_its_group, kill_everything])
def test_a_serve_that_is_killed_and_started_again_ends_with_the_cube_whole(
    kill: Kill, ingested_settings: Settings, recipe: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    settings, found = ingested_settings, Watched(ingested_settings.home)
    planned = sorted(str(cell.id) for cell in plan(str(recipe), "demo", "2020").cells)
    assert len(planned) >= 16
    only_requests(settings.home)
    place = (settings.home, free_port(), free_port(), tmp_path / "serve.log")
    accounts = {"NEOCUBE_ACCOUNTS": json.dumps(ACCOUNTS)}

    with serving(*place, **accounts) as (process, api):
        body = {"recipe": recipe.read_text(), "area": "demo", "period": "2020", "project": "coast"}
        number = on_page(api, "POST", "requests", body)["id"]
        wait_until(lambda: found.cells(PRODUCT) >= 2, "the first cells", 0.05)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 4, "the server, the worker, the page and the run"
        kill(process, found)
        _, alive = psutil.wait_procs(started, timeout=60)
        assert alive == []
    before = committed(settings)
    assert 2 <= len(before) < len(planned), "it was killed when all was done"
    built = {name: made for name, made in files(settings).items() if any(cell in name for cell in before)}

    with serving(*place, **accounts) as (_, api):
        access, now = PrefectAccess(api.said["api"]), datetime.now(UTC)
        assert on_page(api, "GET", f"requests/{number}")["state"] == "running"
        assert settle_dead_runs(access, now + 2 * SILENT) == []
        settled = settle_dead_runs(access, now + 4 * SILENT)
        assert [(each.was, each.now) for each in settled] == [("RUNNING", "CRASHED")] * 2, "the request and its build"
        assert slots(api) == 0
        wait_until(lambda: on_page(api, "GET", f"requests/{number}")["state"] != "running", "the request to end")
        done = on_page(api, "GET", f"requests/{number}")
        assert (done["state"], done["cells"]["built"]) == ("done", done["cells"]["to_build"]), done
        wait_until(lambda: slots(api) == 0, "the slots to be free")
        states = sorted(run["state_type"] for run in api.runs(REQUESTS))
        assert states == ["COMPLETED", "CRASHED"]

    assert committed(settings) == planned
    assert digests(Path(settings.store_url)) == undisturbed
    assert built.items() <= files(settings).items(), "what was committed is not built again"
    with open_index(settings) as index, reading(index) as requests:
        result = requests.get(UUID(number)).result
    assert result is not None
    assert (result["built"]["fresh"], result["built"]["built"]) == (len(before), len(planned) - len(before))
