"""A trial of icechunk as the store of cubes beside plain Zarr with hard links (ADR 0011).

Neocube does not need icechunk; the trial has an environment of its own with icechunk, zarr, s3fs, moto[server] and numpy:
`python tests/bench/icechunk_trial.py FOLDER` prints one JSON document.
"""

import json
import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import zarr
from icechunk_stores import PLACES, TILE, WHOLE, Icechunk, Plain, Virtual, array_in, pixels

ROUNDS, WATCHED_S, SNAPSHOTS = 3, 6.0, 20

WAYS: dict[str, type[Any]] = {"plain": Plain, "icechunk": Icechunk, "virtual": Virtual}


def bytes_and_files(root: Path) -> tuple[int, int]:
    """What a folder takes, files with several names once; the names of files."""
    stats = [path.stat() for path in root.rglob("*") if path.is_file()]
    return sum({each.st_ino: each.st_size for each in stats}.values()), len(stats)


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measured(way: str, root: Path) -> dict[str, Any]:
    """Medians in seconds of the same acts, in a fresh store each round."""
    found: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        here = root / f"{way}-{number}"
        store = WAYS[way](here)
        acts: dict[str, Callable[[], Any]] = {
            "publish all cells": lambda store=store: store.publish(dict.fromkeys(PLACES, 1)),
            "publish one new cell": lambda store=store: store.publish({PLACES[0]: 2}),
            "pin": store.pin,
            "open": lambda store=store, here=here: store.opened(here),
            "read all": lambda store=store, here=here: store.opened(here)[...],
            "read a window": lambda store=store, here=here: store.opened(here)[0, 0, 400:656, 400:656],
        }
        sizes = {}
        for name, act in acts.items():
            found.setdefault(name, []).append(timed(act))
            sizes[name] = bytes_and_files(here)
    added = sizes["publish one new cell"][0] - sizes["publish all cells"][0]
    seconds = {name: round(statistics.median(values), 4) for name, values in found.items()}
    for generation in range(3, 3 + SNAPSHOTS):
        store.publish({PLACES[generation % len(PLACES)]: generation})
    before, swept = bytes_and_files(here), timed(store.sweep)
    after = bytes_and_files(here)
    return {
        "seconds": seconds, "bytes added by one new cell": added, "bytes and files after 20 more": before,
        "seconds to sweep": round(swept, 4), "bytes and files then": after,
    }  # fmt: skip


def read_beside(way: str, root: Path, start: Any, answers: Any) -> None:
    """How often a pixel of each cell was read, and how often they were of two generations."""
    reads = torn = 0
    start.wait()
    ends = time.time() + WATCHED_S
    while time.time() < ends:
        corners = WAYS[way].opened(root)[0, 0, ::TILE, ::TILE]
        reads, torn = reads + 1, torn + (len(np.unique(corners)) != 1)
    answers.put((reads, torn))


def watched(way: str, root: Path) -> dict[str, int]:
    """Two readers beside one writer that publishes whole generations."""
    here = root / f"{way}-watched"
    store = WAYS[way](here)
    store.publish(dict.fromkeys(PLACES, 1))
    context, generation = multiprocessing.get_context("spawn"), 1
    answers, start = context.Queue(), context.Barrier(3)
    readers = [context.Process(target=read_beside, args=(way, here, start, answers)) for _ in range(2)]
    for reader in readers:
        reader.start()
    start.wait()
    ends = time.time() + WATCHED_S
    while time.time() < ends:
        generation += 1
        store.publish(dict.fromkeys(PLACES, generation))
    found = [answers.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    return {"generations": generation, "reads": sum(each[0] for each in found), "torn": sum(each[1] for each in found)}


@contextmanager
def counting_s3() -> Iterator[tuple[str, list[str]]]:
    """A real S3 API on loopback, and the requests that it gets."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    asked: list[str] = []
    inner = DomainDispatcherApplication(create_backend_app)

    def application(environment: dict[str, Any], start: Any) -> Any:
        asked.append(f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}")
        return inner(environment, start)

    quiet = type("Quiet", (WSGIRequestHandler,), {"log": lambda *_: None})
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def requests_to_open() -> dict[str, Any]:
    """Requests to open a cube in S3, and then to read a window of 256 pixels of one feature, which lies in four chunks of one shard."""
    found = {}
    with counting_s3() as (url, asked):
        client = {"endpoint_url": url, "region_name": "eu-west-1"}
        options = {"key": "k", "secret": "s", "client_kwargs": client, "max_concurrency": 1}
        import s3fs

        s3fs.S3FileSystem(**options).mkdir("trial")
        storage = icechunk.s3_storage(
            bucket="trial", prefix="ice", region="eu-west-1", endpoint_url=url, allow_http=True, force_path_style=True,
            access_key_id="k", secret_access_key="s",
        )  # fmt: skip
        session = icechunk.Repository.create(storage).writable_session("main")
        plain = zarr.storage.FsspecStore.from_url("s3://trial/plain.zarr", storage_options=options)
        for store in (plain, session.store):
            array_in(store, WHOLE, True)[:, :, :TILE, :TILE] = pixels((0, 0), 1)
        session.commit("cell")
        zarr.consolidate_metadata(plain)

        def snapshot() -> Any:
            return icechunk.Repository.open(storage).readonly_session("main").store

        def cube() -> Any:
            return zarr.storage.FsspecStore.from_url("s3://trial/plain.zarr", storage_options=options, read_only=True)

        for way, opened in (("plain", cube), ("icechunk", snapshot)):
            asked.clear()
            array = zarr.open_group(opened(), mode="r", zarr_format=3)["features"]
            opening = list(asked)
            array[0, 0, 128:384, 128:384]
            found[way] = {"open": opening, "window": asked[len(opening) :]}
    return found


def main(folder: str) -> None:
    root = Path(folder).absolute()
    icechunk.set_logs_filter("error")
    document: dict[str, Any] = {"icechunk": icechunk.__version__, "zarr": zarr.__version__, "load": os.getloadavg()}
    for way in WAYS:
        document[way] = {**measured(way, root), "beside a writer": watched(way, root)}
    document["requests"] = requests_to_open()
    sys.stdout.write(json.dumps(document | {"load after": os.getloadavg()}, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
