"""More than one machine: a real Dask scheduler and its workers on two machines build what one process builds, also when one of them is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client, KilledWorker
from sqlalchemy import make_url

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.batch_runners import Batch, FailedCell, Outcome, survived
from flows.build_here import build
from flows.plan_cells import plan
from flows.steps.cubes.dask_cluster import ProcessView, check_workers, place_of
from flows.steps.ingesting.ingest_archive import ingest_archive
from products.errors import RequestError
from tests.flows.file_digests import digests
from tests.flows.machines import Machine, MachineGroup, machines, relay
from tests.waiting import wait_until

AREA, YEAR = "demo", "2020"
HERE = ProcessView("kernel", (1, 2), True)
ONE = {"nthreads": 1, "memory_limit": 4_000_000_000}


@pytest.fixture
def recipe(tmp_path: Path, small_recipe: Path) -> str:
    """Tiles of 56 pixels: several batches of cells."""
    path = tmp_path / "many.recipe.yaml"
    path.write_text(small_recipe.read_text().replace("tile_px: 96", "tile_px: 56"))
    return str(path)


@dataclass(frozen=True)
class Cluster:
    """A Dask scheduler on this host, its workers, and the machines that these run on."""

    address: str
    workers: tuple[subprocess.Popen[bytes], ...]
    group: MachineGroup


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Dask scheduler, and on each of two machines a worker of one thread."""
    place = tmp_path / "scheduler.json"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEOCUBE_")}
    common = ["--scheduler-file", str(place), "--no-dashboard"]

    def start(machine: Machine, *arguments: str) -> subprocess.Popen[bytes]:
        command = [*machine.enter, sys.executable, "-m", "dask", *arguments, "--host", machine.address, *common]
        environment = {**kept, "HOME": str(machine.folder), "PYTHONPATH": os.pathsep.join(sys.path)}
        with (machine.folder / "dask.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, cwd=machine.folder, stdout=log, stderr=log)

    with machines(tmp_path) as group:
        scheduler = start(Machine((), tmp_path, group.address), "scheduler", "--port", "0")
        worker = ("worker", "--nthreads", "1", "--no-nanny", "--memory-limit", "0")
        workers = tuple(start(machine, *worker) for machine in group.machines)
        try:
            yield Cluster(address_in(place), workers, group)
        finally:
            for process in (*workers, scheduler):
                process.kill()
                process.wait()


def address_in(place: Path) -> str:
    """The address that a scheduler leaves in its file, with two workers there."""
    wait_until(place.is_file, "the scheduler to leave its address", 0.1, 60)
    with Client(scheduler_file=str(place), set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        return str(client.scheduler.address)


def seen_by(cluster: Cluster, look: Callable[[str], str], what: str) -> set[str]:
    """What the workers see, each by itself."""
    with Client(cluster.address, set_as_default=False) as client:
        return set(client.run(look, what).values())


def n_rows(settings: Settings) -> int:
    """Cells in the index, the archived ones too."""
    with open_index(settings) as index:
        return len(list(index.dc.index.datasets.search(product="mangrove_features", archived=None)))


@pytest.fixture
def index_of_the_room(
    server_settings: Settings, cluster: Cluster, small_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The settings in the environment: an index, with an archive in it, at an address that the machines reach."""
    assert server_settings.index_url is not None
    url = make_url(server_settings.index_url.get_secret_value())
    assert url.host and url.port
    with relay(cluster.group.address, (url.host, url.port)) as port:
        reached = url.set(host=cluster.group.address, port=port).render_as_string(hide_password=False)
        with monkeypatch.context() as patch:
            patch.setenv("NEOCUBE_INDEX_URL", reached)
            patch.setenv("NEOCUBE_INDEX_DRIVER", server_settings.index_driver)
            with open_index(server_settings) as index:
                ingest_archive(index, str(small_archive))
            yield server_settings


@pytest.mark.full
def test_two_machines_of_which_one_is_killed_build_what_one_process_builds(
    index_of_the_room: Settings,
    ingested_home: Path,
    recipe: str,
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, alone = index_of_the_room, tmp_path / "alone"
    subprocess.run(["cp", "-a", str(ingested_home), str(alone)], check=True)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("NEOCUBE_HOME", str(alone))
        elsewhere.delenv("NEOCUBE_INDEX_URL")
        elsewhere.delenv("NEOCUBE_INDEX_DRIVER")
        one = build(recipe, AREA, YEAR)
    assert one["failed"] == []

    assert seen_by(cluster, os.path.realpath, ".") == {str(each.folder) for each in cluster.group.machines}
    networks = seen_by(cluster, os.readlink, "/proc/self/ns/net") | {str(Path("/proc/self/ns/net").readlink())}
    assert len(networks) == (3 if cluster.group.has_networks else 1)
    killed: list[int] = []

    def kill_one_when_cells_appear() -> None:
        cells = Path(settings.store_url, "cells", "mangrove_features")
        while not killed:
            if cells.is_dir() and len(list(cells.glob("*/zarr.json"))) >= 3:
                cluster.workers[0].send_signal(signal.SIGKILL)
                killed.append(cluster.workers[0].wait())
            time.sleep(0.05)

    killer = threading.Thread(target=kill_one_when_cells_appear, daemon=True)
    killer.start()
    report = build(recipe, AREA, YEAR, dask=cluster.address)
    killer.join(timeout=10)
    assert killed == [-signal.SIGKILL]

    assert report["failed"] == []
    assert report["built"] + report["fresh"] == one["built"] == n_rows(settings)
    assert [cell["id"] for cell in report["cells"]] == [cell["id"] for cell in one["cells"]]
    assert digests(settings.store_url) == digests(str(alone / "store"))
    assert {cell.state for cell in plan(recipe, AREA, YEAR).cells} == {"fresh"}
    again = build(recipe, AREA, YEAR, dask=cluster.address)
    assert (again["built"], again["fresh"]) == (0, one["built"])


@pytest.mark.full
def test_an_embedded_index_serves_dask_workers_of_this_host(
    ingested_settings: Settings, small_recipe: Path, cluster: Cluster
) -> None:
    report = build(str(small_recipe), AREA, YEAR, dask=cluster.address)
    assert report["failed"] == []
    assert report["built"] == n_rows(ingested_settings) >= 4


def test_an_address_without_a_scheduler_is_refused(ingested_settings: Settings, small_recipe: Path) -> None:
    assert ingested_settings.index_url is None
    with pytest.raises(RequestError, match=r"expected a Dask scheduler at nonsense://x, such as tcp://HOST:8786: "):
        build(str(small_recipe), AREA, YEAR, dask="nonsense://x")
    with pytest.raises(RequestError, match="expected --workers or --dask, got both"):
        build(str(small_recipe), AREA, YEAR, workers=2, dask="tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    ("worker", "place", "said"),
    [
        (ONE, ProcessView("another", (1, 2), True), "w is not on this host, where the embedded index is: set NEOCUBE_INDEX_URL"),
        (ONE, ProcessView("kernel", None, True), "w is not on this host"),
        (ONE, ProcessView("kernel", (1, 2), False), "w does not see the folder of the store: set NEOCUBE_STORE_URL"),
        ({**ONE, "nthreads": 4}, HERE, r"w has 4 threads: expected 1 \(dask worker --nthreads 1\)"),
        ({**ONE, "memory_limit": 10**9}, HERE, r"2.00 GB, the Dask worker w may take 0.95 GB: set NEOCUBE_MEMORY_LIMIT_BYTES=950000000"),
    ],
)  # fmt: skip
def test_workers_that_cannot_do_the_work_are_refused(worker: dict[str, Any], place: ProcessView, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        check_workers({"w": worker}, {"w": place}, HERE, is_embedded=True, peak_bytes=2_000_000_000)


def test_workers_elsewhere_on_a_server_index_and_those_without_a_memory_limit_are_not_refused() -> None:
    check_workers(
        {"w": ONE}, {"w": ProcessView("another", None, True)}, HERE, is_embedded=False, peak_bytes=2_000_000_000
    )
    check_workers({"w": {**ONE, "memory_limit": 0}}, {"w": HERE}, HERE, is_embedded=True, peak_bytes=10**12)


def test_a_place_is_what_a_process_sees(tmp_path: Path) -> None:
    here = place_of(str(tmp_path), str(tmp_path))
    assert here.kernel and here.home == (tmp_path.stat().st_dev, tmp_path.stat().st_ino) and here.has_store
    assert place_of(str(tmp_path / "none"), "s3://bucket/store") == ProcessView(here.kernel, None, True)
    assert not place_of(str(tmp_path), str(tmp_path / "none")).has_store


def test_a_batch_whose_workers_keep_dying_is_failed_cell_by_cell(
    ingested_settings: Settings, small_recipe: Path
) -> None:
    made = plan(str(small_recipe), AREA, YEAR)
    batch = Batch(made.recipe, made.grid, made.cells)

    def dead() -> list[Outcome]:
        raise KilledWorker("build_batch-1", SimpleNamespace(address="tcp://10.0.0.2:1"), 3)

    lost = survived(batch, dead)
    assert [cell.cell for cell in lost if isinstance(cell, FailedCell)] == [cell.key.label for cell in made.cells]
    assert all("all those workers died" in cell.cause for cell in lost if isinstance(cell, FailedCell))
    assert survived(batch, lambda: lost) is lost
