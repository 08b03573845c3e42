"""Prefect's Dask task runner over clusters by name: what it is given, cells as tasks of a run, and a flow of somebody else."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from distributed import LocalCluster
from prefect import flow, task

from datacube_config.settings import Settings
from flows import task_runner
from flows.build_cube import build_cube
from flows.build_here import build
from flows.steps.cubes.dask_files import CLUSTERS
from flows.steps.service.prefect_processes import answers, free_port
from products.errors import RequestError
from tests.flows.file_digests import digests
from tests.flows.prefect_server import prefect_server

AREA, YEAR = "demo", "2020"
IN_THIS_PROCESS = (
    "kind: local\nworkers: 1\noptions: {processes: false, threads_per_worker: 1, dashboard_address: '127.0.0.1:0'}\n"
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a Prefect server of this file."""
    with pytest.MonkeyPatch.context() as patch, prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        patch.setenv("DO_NOT_TRACK", "1")
        yield server.url


@pytest.fixture
def here(tmp_path: Path) -> str:
    """A cluster of one worker in this process."""
    path = tmp_path / "here.yaml"
    path.write_text(IN_THIS_PROCESS)
    return str(path)


@pytest.fixture
def built_alone(ingested_home: Path, tmp_path: Path, small_recipe: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What one process builds, without Prefect, in a home of its own: its report and its files."""
    alone = tmp_path / "alone"
    subprocess.run(["cp", "-a", str(ingested_home), str(alone)], check=True)
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setenv("NEOCUBE_HOME", str(alone))
        report = build(str(small_recipe), AREA, YEAR)
    return report, digests(str(alone / "store"))


def task_runs(api: str, n_ended: int) -> dict[str, str]:
    """The states of the task runs by name, once so many have ended: the server stores them a moment later."""
    found: dict[str, str] = {}
    end = time.monotonic() + 60
    while list(found.values()).count("COMPLETED") < n_ended and time.monotonic() < end:
        time.sleep(0.2)
        answer = httpx.post(f"{api}/task_runs/filter", json={}, timeout=60)
        found = {each["name"]: each["state_type"] for each in answer.json() if each["name"].startswith("build-")}
    return found


def test_a_named_cluster_gives_the_runner_its_class_and_options() -> None:
    runner = task_runner("local")
    assert runner.cluster_class is LocalCluster
    assert runner.cluster_kwargs == {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    assert task_runner("tcp://head:8786").address == "tcp://head:8786"


@pytest.mark.parametrize("name", ["cuda", "slurm", "kubernetes"])
def test_every_cluster_of_the_deployments_makes_a_runner_or_says_what_to_install(name: str) -> None:
    assert (CLUSTERS / f"{name}.yaml").is_file()
    try:
        assert task_runner(name).cluster_kwargs["n_workers" if name != "cuda" else "threads_per_worker"] >= 1
    except RequestError as error:
        assert f"a cluster of the kind {name} needs dask-" in str(error)  # noqa: PT017, either is right


def test_an_unknown_cluster_is_refused_before_the_flow_begins() -> None:
    with pytest.raises(RequestError, match="unknown cluster 'locl': expected a scheduler such as tcp://HOST:8786"):
        task_runner("locl")


@pytest.mark.full
def test_a_flow_of_somebody_else_runs_its_tasks_on_a_cluster_by_name(api: str, here: str) -> None:
    @task
    def squared(number: int) -> int:
        return number**2

    @flow(task_runner=task_runner(here))
    def theirs() -> int:
        return sum(future.result() for future in [squared.submit(number) for number in range(4)])

    assert theirs() == 14


@pytest.mark.full
def test_cells_are_tasks_of_the_run_and_the_same_as_of_one_process(
    api: str,
    ingested_settings: Settings,
    small_recipe: Path,
    here: str,
    built_alone: tuple[dict[str, Any], dict[str, str]],
) -> None:
    report = build_cube(str(small_recipe), AREA, YEAR, dask=here)
    alone, files = built_alone
    assert report["failed"] == []
    assert report["cells"] == alone["cells"]
    assert digests(ingested_settings.store_url) == files
    assert task_runs(api, report["built"]) == {f"build-{cell['cell']}": "COMPLETED" for cell in alone["cells"]}


@pytest.mark.full
def test_workers_that_do_not_reach_the_api_build_without_being_tasks(
    api: str, ingested_settings: Settings, small_recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker whose proxy is not there."""
    path, proxy = tmp_path / "behind.yaml", f"http://127.0.0.1:{free_port()}"
    surroundings = f"{{HTTP_PROXY: '{proxy}', http_proxy: '{proxy}', NO_PROXY: '', no_proxy: ''}}"
    options = f"{{threads_per_worker: 1, dashboard_address: '127.0.0.1:0', env: {surroundings}}}"
    path.write_text(f"kind: local\nworkers: 1\noptions: {options}\n")
    before = task_runs(api, 0)
    report = build_cube(str(small_recipe), AREA, YEAR, dask=str(path))
    assert report["failed"] == [] and report["built"] >= 4
    assert f"does not reach the Prefect API at {api}: cells are built, but are no tasks of this run" in caplog.text
    assert task_runs(api, 0) == before


def test_an_api_answers_or_does_not(api: str) -> None:
    assert answers(api)
    assert not answers(f"http://127.0.0.1:{free_port()}/api")


@pytest.mark.full
def test_a_cell_whose_worker_is_killed_is_built_by_another(
    api: str,
    ingested_settings: Settings,
    small_recipe: Path,
    tmp_path: Path,
    built_alone: tuple[dict[str, Any], dict[str, str]],
) -> None:
    """The first process that opens the folder of a cell is killed, once."""
    path = tmp_path / "two.yaml"
    path.write_text("kind: local\nworkers: 2\noptions: {threads_per_worker: 1, dashboard_address: '127.0.0.1:0'}\n")
    cells = Path(ingested_settings.store_url, "cells", "mangrove_features")
    killed: list[int] = []

    def kill_one_when_a_cell_appears() -> None:
        while not killed:
            if cells.is_dir() and list(cells.glob("*/zarr.json")):
                workers = [
                    each
                    for each in psutil.Process().children(recursive=True)
                    if "spawn_main" in " ".join(each.cmdline())
                ]
                killed.append(workers[0].pid)
                os.kill(workers[0].pid, signal.SIGKILL)
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one_when_a_cell_appears, daemon=True)
    killer.start()
    report = build_cube(str(small_recipe), AREA, YEAR, dask=str(path))
    killer.join(timeout=10)
    assert len(killed) == 1
    assert report["failed"] == []
    assert digests(ingested_settings.store_url) == built_alone[1]
