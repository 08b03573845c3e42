"""The store: what goes last goes last, and what is published is on the disk before its row says so."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid5

import pytest
from moto.server import ThreadedMotoServer

import flows.steps.cubes.cells
import flows.steps.cubes.snapshot
from datacube_config.connection import Index
from datacube_config.errors import StorageLost
from datacube_config.settings import Settings
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.index.index_setup import add_product
from flows.steps.storage import WRITE_BACK_BYTES, Storage, open_storage
from products.identity import NAMESPACE, CellKey
from products.template import odc_product_definition
from tests.flows.published_product import GRID, PERIODS, TEMPLATE, TILES, assembled, known_arrays, window


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, s3_endpoint: str) -> Storage:
    """An empty store of either kind."""
    if request.param == "folder":
        return Storage(str(tmp_path / "store"))
    options = {"key": "who", "secret": "secret", "client_kwargs": {"endpoint_url": s3_endpoint}}
    found = Storage("s3://last-of-all/store", options)
    if not found.filesystem.exists("last-of-all"):
        found.filesystem.mkdir("last-of-all")
    return found


def test_the_last_object_of_a_folder_goes_after_all_others(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, last = storage.path("map"), storage.path("map", "2020", "item.json")
    for path in (last, storage.path("map", "2020", "a.tif"), storage.path("map", "b.tif")):
        storage.write_bytes(path, b"x")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            storage.remove_folder(folder, last=last)
    assert storage.files(folder) == [last.removeprefix("s3://")]
    storage.remove_folder(folder, last=last)
    assert storage.files(folder) == []


def test_an_object_of_many_parts_is_viewed_as_it_was_made(storage: Storage) -> None:
    part, places = os.urandom(WRITE_BACK_BYTES // 3), [storage.path("a"), storage.path("empty")]
    storage.write_parts(places[0], (part for _ in range(7)))
    storage.write_parts(places[1], iter(()))
    assert storage.view(places[0]) == part * 7 and storage.view(places[1]) == b""
    with pytest.raises(FileNotFoundError, match="none"):
        storage.view(storage.path("none"))


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files and folders that were flushed to the disk, in order."""
    found: list[str] = []
    flush = os.fsync

    def noted(number: int) -> None:
        found.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        flush(number)

    monkeypatch.setattr(os, "fsync", noted)
    return found


@pytest.fixture
def stored(tmp_path: Path, index: Index) -> Storage:
    """A store for the cells of the known product."""
    add_product(index.dc, odc_product_definition(TEMPLATE))
    return Storage(str(tmp_path / "store"))


def publish(index: Index, storage: Storage, tile: int = 0) -> bool:
    key = CellKey(TEMPLATE.product, TEMPLATE.version, TILES[tile], PERIODS[0])
    content: dict[str, Any] = {name: array[:1, ..., *window(TILES[tile])] for name, array in known_arrays().items()}
    return publish_cell(
        index, storage, CellDraft(uuid5(NAMESPACE, key.label), key, TEMPLATE, GRID, "digest", {}), content
    )


def everything(folder: Path) -> set[str]:
    return {str(folder), *map(str, folder.rglob("*"))}


def test_a_cell_is_on_the_disk_with_all_its_folders_before_its_row_is_written(
    index: Index, stored: Storage, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, before = flows.steps.cubes.cells._commit, set[str]()

    def committing(*arguments: Any, **options: Any) -> None:
        before.update(flushed)
        commit(*arguments, **options)

    monkeypatch.setattr(flows.steps.cubes.cells, "_commit", committing)
    assert publish(index, stored)
    written = everything(Path(stored.root))
    assert len(written) > 20
    assert written <= before


def test_a_cube_is_on_the_disk_before_it_is_said_to_be_whole(
    index: Index, stored: Storage, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for tile in range(len(TILES)):
        publish(index, stored, tile)
    cells, before, point = everything(Path(stored.root)), set(flushed), flows.steps.cubes.snapshot.point
    assert cells <= before

    def pointing(*arguments: Any) -> None:
        before.update(flushed)
        point(*arguments)

    monkeypatch.setattr(flows.steps.cubes.snapshot, "point", pointing)
    cube = Path(assembled(index, stored))
    names = everything(Path(stored.root))
    links = {path for path in names if Path(path).is_file() and Path(path).stat().st_nlink > 1}
    assert len(links) > 8
    assert names - links - before == {f"{cube.with_suffix('')}.complete"}, "it is flushed by the name that it has first"
    complete = next(number for number, path in enumerate(flushed) if path.endswith(".complete.partial"))
    assert str(cube) in flushed[:complete]
    assert str(cube.parent) in flushed[complete:]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_cell_that_the_disk_does_not_take_is_not_published(
    index: Index, stored: Storage, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def failing(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(StorageLost, match=f"cannot write the cell .*: {os.strerror(number)}"):
            publish(index, stored)
    assert list(index.dc.index.datasets.search(product=TEMPLATE.product)) == []
    assert publish(index, stored)


def test_a_store_that_need_not_outlive_the_machine_is_not_flushed(
    index: Index, stored: Storage, flushed: list[str], neocube_home: Path
) -> None:
    assert open_storage(Settings(home=neocube_home)).flushes is False, "the tests are run so"
    assert open_storage(Settings(home=neocube_home, store_flush=True)).flushes is True
    assert publish(index, replace(stored, flushes=False))
    assert flushed == []


def test_a_file_system_without_flushing_of_folders_is_good_enough(
    index: Index, stored: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def of_files_only(number: int) -> None:
        if Path(f"/proc/self/fd/{number}").is_dir():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flush(number)

    monkeypatch.setattr(os, "fsync", of_files_only)
    assert publish(index, stored)


def test_processes_that_begin_together_do_not_refuse_each_others_store(tmp_path: Path) -> None:
    store = Storage(str(tmp_path / "store"), flushes=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.check_writable(), range(200)))
    assert list(tmp_path.rglob("*")) == [tmp_path / "store"]


def test_an_object_store_that_goes_away_while_a_cell_is_written_is_named_in_one_line() -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "who", "secret": "secret", "client_kwargs": {"endpoint_url": f"http://{host}:{port}"}}
    at_once = {"skip_instance_cache": True, "config_kwargs": {"retries": {"max_attempts": 0}}}
    store = Storage("s3://goes/store", options | at_once)
    store.filesystem.retries = 1
    store.filesystem.mkdir("goes")

    def write() -> None:
        with store.writing(store.path("x"), "the cell x"):
            store.write_bytes(store.path("x", "a"), b"first")
            server.stop()
            store.write_bytes(store.path("x", "b"), b"second")

    with pytest.raises(StorageLost, match="the cell x to s3://goes/store/x: Could not connect.*see that it answers"):
        write()


def test_a_removal_that_fails_too_does_not_hide_why_a_store_gave_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Storage(str(tmp_path))

    def refusing(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def write() -> None:
        with store.writing(store.path("x"), "the cell x"):
            store.write_bytes(store.path("x", "a"), b"first")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.filesystem, "rm", refusing)
    with pytest.raises(StorageLost, match="cannot write the cell x to .*: No space left on device: make room there"):
        write()


@pytest.mark.parametrize(("root", "other"), [("/a/store", "s3://a/store"), ("s3://a/store", "/a/store")])
def test_a_path_is_of_the_kind_of_a_store_whatever_its_root(root: str, other: str) -> None:
    store = Storage(root)
    assert store.is_of_kind(f"{root}/x") and store.is_of_kind(f"{root}-of-before/x") and not store.is_of_kind(other)
