"""The request page on loopback, in a thread of the tests."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from datacube_config.settings import Settings
from flows.request_page.app import create_app
from flows.steps.service.prefect_processes import free_port


@contextmanager
def served_page(settings: Settings) -> Iterator[str]:
    """The address of the page of these settings, as long as the context is open."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
