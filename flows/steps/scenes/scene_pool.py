"""Processes that read items into scenes beside this one, once an ingest has shown itself to be a large one."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from datacube_config.archives import own_archives
from flows.steps.archives.found_items import FoundItem, UnreadItem
from flows.steps.scenes.frames import read_frame, write_frame
from flows.steps.scenes.read_scenes import Reading, read_scenes
from flows.steps.scenes.scene_worker import asked, told

START_AFTER_ITEMS = 500
MAX_WORKERS = 4
AHEAD = 2  # batches under way for each worker
ENDS_WITHIN_S = 2.0
# The module search path of this process, and nothing of its main module.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from flows.steps.scenes.scene_worker import main; main()"
)

_log = logging.getLogger(__name__)

Read = Callable[[], list[Reading]]


class ScenePool:
    """Reads batches, in this process at first, beside it from the 500th item on. A context manager; used by one thread.

    `workers`: at most so many processes; None: one for each core but the first, at most 4.
    """

    def __init__(self, workers: int | None = None) -> None:
        cores = len(os.sched_getaffinity(0))
        self._n_wanted = min(cores - 1, MAX_WORKERS) if workers is None else workers
        self._n_items = 0
        self._workers: list[_Worker] = []
        self._next = 0
        self.lost: list[str] = []

    def __enter__(self) -> "ScenePool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers = []

    @property
    def ahead(self) -> int:
        """How many batches may be under way before the first of them is waited for."""
        return AHEAD * sum(worker.is_ready for worker in self._workers)

    def submit(self, items: Sequence[FoundItem], archive: str) -> Read:
        """Have items read; what is returned gives, in their order, what each is."""
        self._n_items += len(items)
        if self._n_items >= START_AFTER_ITEMS and not self._workers and self._n_wanted > 0:
            self._workers = [_Worker() for _ in range(self._n_wanted)]
        for worker in self._workers:
            if worker.has_failed:
                self._lose(worker)
        ready = [worker for worker in self._workers if worker.is_ready]
        far = [each for each in items if isinstance(each, UnreadItem) and not each.place.root.startswith("s3://")]
        if not ready or not far:
            return lambda: read_scenes(items, archive)
        self._next += 1
        worker = ready[self._next % len(ready)]
        answer = worker.ask((archive, [asked(each) for each in far]))
        return lambda: self._joined(worker, answer, items, far, archive)

    def _joined(
        self, worker: "_Worker", answer: "Future[Any]", items: Sequence[FoundItem], far: list[UnreadItem], archive: str
    ) -> list[Reading]:
        """What a worker says of the far items, and this process of the others; of all of them where the worker is lost."""
        try:
            found = dict(zip(map(id, far), map(told, answer.result()), strict=True))
        except (EOFError, OSError, CancelledError):
            self._lose(worker)
            return read_scenes(items, archive)
        near = [each for each in items if id(each) not in found]
        found |= dict(zip(map(id, near), read_scenes(near, archive), strict=True))
        return [found[id(each)] for each in items]

    def _lose(self, worker: "_Worker") -> None:
        """Say that a worker ended, once, and go on without it."""
        if worker.is_lost:
            return
        worker.is_lost = True
        self.lost.append(f"a process that read items {worker.ending()}; its items are read again by the main one")
        worker.stop()
        _log.warning("%s", self.lost[-1])


class _Worker:
    """One process and the thread that talks with it: a request is answered before the next is sent."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _BOOT, json.dumps(sys.path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._talk = ThreadPoolExecutor(1)
        self._hello = self._talk.submit(self._exchange, _text(own_archives()))
        self.is_lost = False

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        return not self.is_lost and self._hello.done() and self._hello.exception() is None

    @property
    def has_failed(self) -> bool:
        """Whether it ended before it could answer."""
        return not self.is_lost and self._hello.done() and self._hello.exception() is not None

    def ask(self, request: object) -> "Future[Any]":
        """The answer to a request, in its turn; EOFError or OSError where the process ended."""
        return self._talk.submit(self._exchange, request)

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._talk.shutdown(wait=False, cancel_futures=True)
        self._process.kill()
        self._process.wait()
        self._talk.shutdown(wait=True)
        for stream in (self._process.stdin, self._process.stdout):
            _close(stream)

    def ending(self) -> str:
        """How a process that no longer answers ended, in words."""
        try:
            code = self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            return "closed its pipes"
        return f"ended with signal {-code}" if code < 0 else f"ended with code {code}"

    def _exchange(self, request: object) -> Any:  # noqa: ANN401
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise EOFError("the worker has no pipes")
        write_frame(process.stdin, request)  # type: ignore[arg-type]
        return read_frame(process.stdout)  # type: ignore[arg-type]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        try:
            stream.close()
        except BrokenPipeError:  # what it still had to send has no receiver
            return
