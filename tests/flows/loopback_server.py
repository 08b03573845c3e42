"""An HTTP server of the tests' own, in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer


class Silent:
    """What a handler of requests is, too, that logs nothing."""

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def answering(server: HTTPServer) -> Iterator[str]:
    """The URL of a server that answers as long as the context is open, and is closed with it."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
