"""A private Prefect server for the tests of one file, and this process as a client of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.steps.service.prefect_processes import Server, free_port, private_environment, running_server

PATIENCE_S = 30.0


def send_what_waits() -> None:
    """Logs and events of this process, sent by now, or given up where their server is gone.

    Prefect keeps one sender per process and kind of client, tied to the server that it first spoke to: the next one is tied anew.
    """
    APILogWorker.drain_all(timeout=PATIENCE_S)
    EventsWorker.drain_all(timeout=PATIENCE_S)


@contextmanager
def prefect_server(home: Path, **settings: str) -> Iterator[Server]:
    """The server, with files in `home` and its own `settings`, that this process speaks to as long as the context is open."""
    environment = {**private_environment(home), **settings}
    with running_server("127.0.0.1", free_port(), environment, home / "logs" / "server.log", ui=False) as server:
        server.wait_until_ready()
        send_what_waits()
        with temporary_settings({PREFECT_API_URL: server.url, PREFECT_HOME: home / "prefect"}):
            yield server
            send_what_waits()
