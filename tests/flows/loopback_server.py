"""An HTTP server of the tests' own, in a thread."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType


class Silent(BaseHTTPRequestHandler):
    """A handler of requests that logs nothing and gives an answer in one call."""

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] = MappingProxyType({}), keep: int | None = None
    ) -> None:
        """An answer with its headers; the body not to HEAD, and only its first `keep` bytes of those that are promised."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:keep])


class _Folder(Silent, SimpleHTTPRequestHandler):
    """The files of a folder."""


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


@contextmanager
def serving_folder(folder: Path) -> Iterator[str]:
    """The files of a folder on loopback for the block; the URL."""
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), partial(_Folder, directory=str(folder)))) as url:
        yield url
