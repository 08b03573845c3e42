"""What `neocube serve` runs is started again when it ends, until it ends again and again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from flows.steps.service import kept_processes
from flows.steps.service.kept_processes import MOST_STARTS, KeptProcess, keep_running, kept
from flows.steps.service.patient_asking import asked_again


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", code]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_processes, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(kept_processes, "LOOK_EVERY_S", 0.02)


class Enough(Exception):
    """The test has seen what it wanted."""


def test_a_process_that_was_killed_is_started_again_and_ends_with_the_stack() -> None:
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        raise Enough

    with ExitStack() as stack:
        sleeper = kept(stack, "the sleeper", lambda: running("import time; time.sleep(60)"))
        other = kept(stack, "the other", lambda: running("import time; time.sleep(60)"))
        first, second = sleeper.process, other.process
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(Enough):
            keep_running([sleeper, other], stack, tell, lambda: False, 60.0)
        assert told == ["the sleeper ended with exit code -9: started again"]
        assert (sleeper.process.poll(), other.process) == (None, second)
        again = sleeper.process
    assert first.poll() == again.poll() == second.poll() == -9


def test_a_process_that_ends_again_and_again_is_given_up_with_its_exit_code() -> None:
    told: list[str] = []
    with ExitStack() as stack:
        broken = kept(stack, "the page", lambda: running("raise SystemExit(3)"))
        said = keep_running([broken], stack, told.append, lambda: False, 60.0)
    assert said == "the page ended 6 times in 10 minutes, with exit code 3"
    assert told == ["the page ended with exit code 3: started again"] * MOST_STARTS


def test_ends_of_long_ago_count_no_more() -> None:
    with ExitStack() as stack, running("pass") as process:
        process.wait()
        old = KeptProcess("it", lambda: running("pass"), process, [0.0] * MOST_STARTS)
        assert old.start_again(stack, kept_processes.WITHIN_S + 1)
        assert len(old.started_at) == 1


def test_an_index_that_was_started_again_is_told() -> None:
    told: list[str] = []
    answers = iter([False, True])

    def tell(line: str) -> None:
        told.append(line)
        raise Enough

    with ExitStack() as stack:
        sleeper = kept(stack, "the sleeper", lambda: running("import time; time.sleep(60)"))
        with pytest.raises(Enough):
            keep_running([sleeper], stack, tell, lambda: next(answers), 0.0)
    assert told == ["the embedded index ended: started again"]


def test_a_server_that_does_not_answer_is_asked_again_and_its_refusal_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.steps.service.patient_asking.EVERY_S", 0.0)
    asked, request = iter([httpx.ConnectError("refused"), 503, 200, 404]), httpx.Request("POST", "http://a.org")

    def call(name: str) -> str:
        what = next(asked)
        if isinstance(what, Exception):
            raise what
        httpx.Response(what, request=request).raise_for_status()
        return name

    assert asked_again(call)("it") == "it"
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        asked_again(call)("it")
    monkeypatch.setattr("flows.steps.service.patient_asking.PATIENCE_S", -1.0)
    asked = iter([httpx.ConnectError("refused")])
    with pytest.raises(httpx.ConnectError, match="refused"):
        asked_again(call)("it")
