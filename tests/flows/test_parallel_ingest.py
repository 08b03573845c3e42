"""Items read by worker processes: the same index as without them, also where one is killed, or the ingest itself."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.found_items import FoundItem
from flows.steps.archives.items import Wanted, read_items, read_pages
from flows.steps.index.bulk_index import json_text
from flows.steps.index.scene_index import list_scenes
from flows.steps.ingesting.batches_ahead import begun_ahead
from flows.steps.ingesting.harvest import Batch
from flows.steps.ingesting.ingest_archive import IngestReport, ingest_archive
from flows.steps.ingesting.ingest_report import IngestReport as Report
from flows.steps.ingesting.take_items import Take
from flows.steps.scenes import scene_pool
from flows.steps.scenes.read_scenes import NotTaken, Reading, read_scenes
from flows.steps.scenes.scene_pool import ScenePool
from flows.steps.scenes.scene_worker import _sent, asked, told

Item = dict[str, Any]
State = dict[str, list[Any]]
PAGE, PAGE_ITEMS = 40, 25
QUARANTINE = "select archive, item_id, cause from neocube.quarantine"
KNOWN = (
    "select collection, item_id, encode(digest, 'hex'), cast(dataset_id as text), note, cast(acquired as text), "
    "cast(bounds as text), gone_at is null from neocube.known_item"
)
DATASETS = "select cast(id as text), cast(metadata as text), archived is null from agdc.dataset"


@pytest.fixture(scope="module")
def archive(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five files of 43 items each: good ones, better renditions, repeated and changed ones, and some of every fault."""
    base = json.loads((shared_data / "stac/earth_search/c1/13TDE_2024_10_items.json").read_text())["features"]
    folder = tmp_path_factory.mktemp("parallel") / "archive"
    folder.mkdir()
    for number in range(5):
        items = [moved(base[at % len(base)], number * PAGE + at) for at in range(PAGE)]
        better = json.loads(json.dumps(items[0]).replace("_N0510_", "_N0511_"))
        better["id"], better["properties"]["s2:processing_baseline"] = f"{items[0]['id']}_b", "05.11"
        del items[3]["assets"]["red"]
        items[4]["geometry"] = None
        before = max(number - 1, 0) * PAGE
        again, other = moved(base[7], before + 7), moved(base[8], before + 8)
        changed = other | {"properties": other["properties"] | {"eo:cloud_cover": 1.5 + number}}
        page = {"type": "FeatureCollection", "features": [*items, better, again, changed]}
        (folder / f"page_{number}.json").write_text(json.dumps(page))
    return folder


def moved(item: Item, number: int) -> Item:
    """The item at another time: another acquisition, and a name of its own."""
    text_of = json.dumps(item)
    sensed = item["properties"]["datetime"][:10]
    day = f"{2010 + number // 336:04d}-{number % 336 // 28 + 1:02d}-{number % 28 + 1:02d}"
    moved_text = text_of.replace(sensed, day).replace(sensed.replace("-", ""), day.replace("-", ""))
    found: Item = json.loads(moved_text)
    return found | {"id": f"n{number}_{item['id']}"}


@pytest.fixture(autouse=True)
def _small_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of 25 items, and workers from the first item on, waited for."""
    monkeypatch.setattr("flows.steps.archives.items.PAGE_ITEMS", PAGE_ITEMS)
    monkeypatch.setattr(scene_pool, "START_AFTER_ITEMS", 1)


class WaitingPool(ScenePool):
    """A pool that waits for its workers to come up, so that each page after the first is read by them."""

    def submit(self, items: Any, archive: str) -> Any:
        answer = super().submit(items, archive)
        until = time.monotonic() + 60
        while self._workers and not any(each.is_ready or each.is_lost for each in self._workers):
            assert time.monotonic() < until, "no worker came up"
            time.sleep(0.01)
        return answer


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.steps.ingesting.ingest_archive.ScenePool", WaitingPool)


def ingest(settings: Settings, archive: Path, workers: int) -> IngestReport:
    with open_index(settings) as index:
        return ingest_archive(index, str(archive), radiometric_check="off", workers=workers)


def state(settings: Settings) -> State:
    """All rows that an ingest leaves, without their moments."""
    with open_index(settings) as index:
        scenes = sorted(json.dumps(row, sort_keys=True) for row in list_scenes(index))
        return {"scenes": scenes, **{query: rows(index, query) for query in (QUARANTINE, KNOWN, DATASETS)}}


def differences(one: State, other: State) -> dict[str, list[Any]]:
    """The rows that only one of two states has, by the query."""
    found = {
        query: [row for row in one[query] + other[query] if (row in one[query]) != (row in other[query])]
        for query in one
    }
    return {query: some for query, some in found.items() if some or len(one[query]) != len(other[query])}


def rows(index: Index, query: str) -> list[Any]:
    with index.engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(text(query)))


@pytest.fixture(scope="module")
def serial(
    archive: Path, initialised_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[IngestReport, State]:
    """What an ingest in one process leaves."""
    home = tmp_path_factory.mktemp("serial") / "home"
    subprocess.run(["cp", "-a", str(initialised_home), str(home)], check=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("flows.steps.archives.items.PAGE_ITEMS", PAGE_ITEMS)
        report = ingest(Settings(home=home), archive, workers=0)
    return report, state(Settings(home=home))


def told_of(report: Report) -> dict[str, Any]:
    """A report without its times."""
    return report.document() | {"seconds": 0, "workers_lost": []}


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_leave_the_rows_of_one_process(
    workers: int, serial: tuple[IngestReport, State], archive: Path, embedded_settings: Settings
) -> None:
    report = ingest(embedded_settings, archive, workers)
    assert report.workers_lost == []
    assert told_of(report) == told_of(serial[0])
    assert differences(state(embedded_settings), serial[1]) == {}
    assert (len(report.quarantined), report.replaced + report.superseded) == (10, 5)


@pytest.mark.usefixtures("waiting")
def test_a_worker_that_is_killed_is_reported_and_its_items_are_read_again(
    serial: tuple[IngestReport, State],
    archive: Path,
    embedded_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kill_at_request(monkeypatch, 3)
    with caplog.at_level(logging.WARNING):
        report = ingest(embedded_settings, archive, workers=1)
    said = "a process that read items ended with signal 9; its items are read again by the main one"
    assert report.workers_lost == [said] == report.document()["workers_lost"]
    assert said in caplog.text
    assert told_of(report) == told_of(serial[0])
    assert differences(state(embedded_settings), serial[1]) == {}


def kill_at_request(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """SIGKILL the worker that is given the n-th batch."""
    original, calls = scene_pool._Worker.ask, iter(range(1, 1000))

    def ask(worker: Any, request: object) -> Any:
        if next(calls) == number:
            os.kill(worker._process.pid, signal.SIGKILL)
        return original(worker, request)

    monkeypatch.setattr(scene_pool._Worker, "ask", ask)


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("call", [2, *(pytest.param(call, marks=pytest.mark.full) for call in (1, 4))])
def test_an_ingest_killed_while_workers_run_and_run_again_leaves_the_same_index_and_no_process(
    call: int,
    serial: tuple[IngestReport, State],
    archive: Path,
    embedded_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = os.fork()
    if not child:
        kill_self_at_commit(monkeypatch, call)
        ingest(embedded_settings, archive, workers=1)
        os._exit(1)
    workers: set[psutil.Process] = set()
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        workers |= workers_of(child)
        time.sleep(0.005)
    assert os.waitstatus_to_exitcode(ended[1]) == -signal.SIGKILL
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert workers and not alive
    report = ingest(embedded_settings, archive, workers=1)
    assert differences(state(embedded_settings), serial[1]) == {}
    assert report.found == serial[0].found


def workers_of(process_id: int) -> set[psutil.Process]:
    try:
        children = psutil.Process(process_id).children()
        return {each for each in children if "scene_worker" in " ".join(each.cmdline())}
    except psutil.Error:
        return set()


def kill_self_at_commit(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """SIGKILL this process once the scenes of the n-th batch are committed, before its items are remembered."""
    from flows.steps.ingesting import take_items

    original, calls = take_items.remember, iter(range(1, 1000))

    def remember(*facts: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*facts)

    monkeypatch.setattr(take_items, "remember", remember)


def test_a_small_ingest_starts_no_process(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_pool, "START_AFTER_ITEMS", 2000)
    with ScenePool(2) as pool:
        for page in read_pages(str(archive), Wanted(), ArchiveFiles()):
            pool.submit(page, "a")()
        assert (pool._workers, pool.ahead) == ([], 0)


def test_a_worker_that_does_not_start_leaves_the_reading_to_this_process(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_pool, "_BOOT", "import sys; sys.exit(3)")
    items = list(read_items(str(archive), Wanted(), ArchiveFiles()))[:3]
    with ScenePool(1) as pool:
        first = pool.submit(items, "a")
        with pytest.raises((EOFError, BrokenPipeError), match=r"ended|Broken pipe"):
            pool._workers[0]._hello.result(timeout=60)
        assert pool.submit(items, "a")() == first() == read_scenes(items, "a")
        assert pool.ahead == 0
        assert pool.lost == ["a process that read items ended with code 3; its items are read again by the main one"]


def test_what_a_worker_tells_is_what_this_process_reads(shared_data: Path) -> None:
    """All items of the shared data, whichever kind they are."""
    items = list(read_items(str(shared_data / "stac"), Wanted(), ArchiveFiles()))
    here = read_scenes(items, "a")
    assert [told(_sent(each)) for each in here] == here
    with WaitingPool(1) as pool:
        pool.submit(items[:1], "a")
        assert list(map(comparable, pool.submit(items, "a")())) == list(map(comparable, here))


def comparable(reading: Reading) -> Any:
    return reading if isinstance(reading, NotTaken) else (reading.id, reading.location, json_text(reading.document))


def test_a_message_to_a_worker_has_all_of_an_item(archive: Path) -> None:
    item = next(read_items(str(archive), Wanted(), ArchiveFiles()))
    text_of, name, alternate, location, folder, root, hosts = asked(item)  # type: ignore[arg-type]
    assert json.loads(text_of)["id"] == name == item.id
    assert (alternate, location, folder, root, hosts) == (None, item.place.location, str(archive), str(archive), ())


def test_pages_that_came_before_an_error_are_taken_first(embedded_settings: Settings, archive: Path) -> None:
    def pages() -> Iterator[list[FoundItem]]:
        yield from list(read_pages(str(archive), Wanted(), ArchiveFiles()))[:3]
        raise OSError("the disk is gone")

    taken: list[int] = []
    with open_index(embedded_settings) as index, WaitingPool(1) as pool:
        take = Take(index, "a", Report("a"), ArchiveFiles(), pool=pool)
        with pytest.raises(OSError, match="the disk is gone"):
            taken.extend(len(read_of(batch)) for batch in begun_ahead(take, map(Batch, pages()), lambda _: True))
    assert taken == [PAGE_ITEMS, PAGE_ITEMS - 1, PAGE_ITEMS], "the second page has an item of the first again"


def read_of(batch: Batch) -> list[Reading]:
    assert batch.prepared is not None
    return batch.prepared.read()


def test_a_worker_writes_nothing_but_answers_on_its_stdout(tmp_path: Path) -> None:
    """What a library prints goes to stderr."""
    boot = (
        "import flows.steps.scenes.scene_worker as w; original = w.read_scenes; "
        "w.read_scenes = lambda *a: print('hello') or original(*a); w.main()"
    )
    item = (b"{}", "one", None, "file:///nowhere/one.json", "/nowhere", "/nowhere", ())
    done = subprocess.run(
        [sys.executable, "-c", boot], input=frames(None, ("a", [item])), capture_output=True, check=True, cwd=tmp_path
    )
    assert b"hello" not in done.stdout and b"hello" in done.stderr


def frames(*values: Any) -> bytes:
    import io

    from flows.steps.scenes.frames import read_frame, write_frame

    stream = io.BytesIO()
    for value in values:
        write_frame(stream, value)
    stream.seek(0)
    assert [read_frame(stream) for _ in values] == list(values)
    with pytest.raises(EOFError, match="the other process ended"):
        read_frame(stream)
    return stream.getvalue()
