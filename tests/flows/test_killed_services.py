"""Prefect's server and the database are killed while cells are built: both come back by themselves, no cell is lost or there twice."""

import threading
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, PREFECT_HOME, temporary_settings

from datacube_config.connection import database_url, open_index
from datacube_config.embedded import revive
from datacube_config.errors import IndexDown
from datacube_config.settings import Settings
from flows import index_retry
from flows.build_cube import build_cube
from flows.index_retry import outlasting
from flows.plan_cells import plan
from flows.steps.service.kept_processes import keep_running, kept
from flows.steps.service.prefect_processes import (
    Server,
    free_port,
    private_environment,
    running_prefect,
    server_command,
)
from tests.flows.prefect_server import send_what_waits
from tests.flows.serve_process import Watched
from tests.waiting import wait_until


@pytest.fixture
def many_cells(small_recipe: Path, tmp_path: Path) -> Path:
    """A recipe whose cells are small and many."""
    path = tmp_path / "many.recipe.yaml"
    path.write_text(small_recipe.read_text().replace("tile_px: 96", "tile_px: 32"))
    assert "tile_px: 32" in path.read_text()
    return path


class TestIsOver(Exception):
    """Nothing is to be kept running any more."""

    __test__ = False


@pytest.mark.full
def test_a_build_outlasts_a_kill_of_its_server_and_its_index(ingested_settings: Settings, many_cells: Path) -> None:
    planned = {str(cell.id) for cell in plan(str(many_cells), "demo", "2020").cells}
    home, port, told, is_over = ingested_settings.home, free_port(), list[str](), threading.Event()
    log = home / "logs" / "server.log"
    command = server_command("127.0.0.1", port, ui=False)

    def look_after_the_index() -> bool:
        if is_over.is_set():
            raise TestIsOver
        return revive(home)

    def keep() -> None:
        with suppress(TestIsOver):
            keep_running([server], stack, told.append, look_after_the_index, 1.0)

    with ExitStack() as stack:
        stack.enter_context(database_url(ingested_settings))
        server = kept(stack, "the server", partial(running_prefect, command, private_environment(home), log))
        found = Watched(home)
        Server(f"http://127.0.0.1:{port}/api", server.process, log).wait_until_ready()
        keeper = threading.Thread(target=keep)

        def kill_both_of_them() -> None:
            wait_until(lambda: len(found.cells("mangrove_features")) >= 2, "the first cells", 0.05)
            server.process.kill()
            found.postmaster().kill()

        killer = threading.Thread(target=kill_both_of_them)
        where = {PREFECT_API_URL: f"http://127.0.0.1:{port}/api", PREFECT_HOME: home / "prefect"}
        with temporary_settings({**where, PREFECT_CLIENT_MAX_RETRIES: 7}):
            keeper.start()
            killer.start()
            try:
                report = build_cube(str(many_cells), "demo", "2020")
            finally:
                is_over.set()
                killer.join()
                keeper.join()
            send_what_waits()
    assert report["failed"] == []
    assert {line.partition(" ended")[0] for line in told} == {"the server", "the embedded index"}
    check_cells(ingested_settings, planned)


def check_cells(settings: Settings, planned: set[str]) -> None:
    """Each planned cell is there, once, in the index and in the store, and no other."""
    with open_index(settings) as index:
        rows = list(index.dc.index.datasets.search(product="mangrove_features", archived=None))
    assert sorted(str(row.id) for row in rows) == sorted(planned)
    assert not any(row.is_archived for row in rows)
    folder = Path(settings.store_url) / "cells" / "mangrove_features"
    assert {each.name for each in folder.iterdir()} == planned


def test_work_is_gone_on_with_when_its_index_answers_again(
    embedded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_retry, "EVERY_S", 0.0)
    postmaster = embedded_settings.home / "postgres" / "postmaster.pid"
    tries: list[int] = []

    @outlasting
    def work() -> int:
        with open_index(embedded_settings) as index:
            tries.append(1)
            if len(tries) < 3:
                psutil.Process(int(postmaster.read_text().split()[0])).kill()
            return len(list(index.dc.index.products.get_all()))

    assert work() > 0
    assert len(tries) == 3


def test_an_index_that_stays_away_and_other_errors_end_the_work(
    embedded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_retry, "EVERY_S", 0.0)
    monkeypatch.setattr(index_retry, "PATIENCE_S", 0.2)
    nowhere = f"postgresql://who:secret@127.0.0.1:{free_port()}/none"
    monkeypatch.setenv("NEOCUBE_INDEX_URL", nowhere)
    tries: list[int] = []

    @outlasting
    def work(error: Exception | None) -> None:
        tries.append(1)
        if error:
            raise error
        with open_index(Settings(home=embedded_settings.home)):
            raise AssertionError("nothing listens there")

    with pytest.raises(IndexDown, match="cannot be reached"):
        work(None)
    assert len(tries) == 1, "it is waited for, not tried"
    with pytest.raises(KeyError, match="wrong"):
        work(KeyError("wrong"))
    assert len(tries) == 2
