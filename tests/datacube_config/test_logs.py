"""Logs as JSON lines: which records are written, with which ids."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from datacube_config.logs import PACKAGES, current_run, logged, start_logs

LOG = logging.getLogger("flows.steps.somewhere")


@pytest.fixture
def started() -> Iterator[None]:
    """Logging that writes JSON, as it was before afterwards."""
    was = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level) for name in PACKAGES}
    start_logs("json")
    yield
    for name, (handlers, level) in was.items():
        logging.getLogger(name).handlers = handlers
        logging.getLogger(name).setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.usefixtures("started")
def test_a_record_is_a_line_with_the_ids_of_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(run="r"), logged(cell="c"):
        LOG.warning("asset not read", extra={"scene": "s", "cause": "two\nlines"})
    (line,) = lines(capsys)
    at = line.pop("at")
    assert isinstance(at, str) and at.endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "flows.steps.somewhere",
        "event": "asset not read",
        "run": "r",
        "cell": "c",
        "scene": "s",
        "cause": "two\nlines",
    }


@pytest.mark.usefixtures("started")
def test_ids_end_with_their_block_and_are_those_of_their_thread(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(1) as pool, logged(run="outer"):
        with logged(run="inner"):
            assert current_run() == "inner"
            pool.submit(LOG.info, "elsewhere").result()
        LOG.info("outside")
    assert current_run() == ""
    assert [(line["event"], line.get("run")) for line in lines(capsys)] == [("elsewhere", None), ("outside", "outer")]


@pytest.mark.usefixtures("started")
def test_what_a_record_says_itself_wins_and_starting_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    start_logs("json")
    with logged(cell="of the block"):
        LOG.info("cell published", extra={"cell": "its own"})
    LOG.debug("not told")
    assert [line["cell"] for line in lines(capsys)] == ["its own"]


def test_off_leaves_logging_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    handlers = logging.getLogger("flows").handlers[:]
    start_logs("off")
    LOG.info("nobody hears this")
    assert logging.getLogger("flows").handlers == handlers
    assert capsys.readouterr().err == ""
