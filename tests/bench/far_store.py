"""Files of a folder as objects of a bucket that is far away: `/vsis3` reads them, each answer is late by a round trip, each connection by one more.

`python tests/bench/far_store.py FOLDER SECONDS` prints its port and serves until its stdin ends; `GET /counts` gives requests, bytes and connections since
the last time. Not an S3 API: it knows GET with and without a range, and HEAD. It waits where a network would, and takes less of the processor than moto.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import httpx

RANGE = re.compile(r"bytes=(\d+)-(\d+)?")


class _Counts:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.taken()

    def taken(self) -> dict[str, int]:
        """What was counted, and begin again."""
        now = getattr(self, "numbers", {})
        self.numbers = {"requests": 0, "bytes": 0, "connections": 0}
        return now

    def add(self, **numbers: int) -> None:
        with self.lock:
            for name, number in numbers.items():
                self.numbers[name] += number


def _handler(folder: Path, round_trip_s: float) -> type[BaseHTTPRequestHandler]:
    counts = _Counts()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        is_new = True

        def do_GET(self) -> None:
            if self.path == "/counts":
                with counts.lock:
                    self._answer(200, json.dumps(counts.taken()).encode())
                return
            time.sleep(round_trip_s * (2 if self.is_new else 1))
            counts.add(requests=1, connections=int(self.is_new))
            self.is_new = False
            path = folder / unquote(self.path.partition("?")[0]).lstrip("/").partition("/")[2]
            if not path.is_file():
                self._answer(404, b"")
                return
            size = path.stat().st_size
            wanted = RANGE.match(self.headers.get("range") or "")
            first = int(wanted[1]) if wanted else 0
            last = min(int(wanted[2]) if wanted and wanted[2] else size - 1, size - 1)
            if first > last:
                self._answer(416, b"")
                return
            self.send_response(206 if wanted else 200)
            self.send_header("content-length", str(last + 1 - first))
            if wanted:
                self.send_header("content-range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            if self.command == "GET":
                self._send(path, first, last + 1 - first)

        def do_HEAD(self) -> None:
            self.do_GET()

        def _send(self, path: Path, first: int, length: int) -> None:
            self.wfile.flush()
            with path.open("rb") as file:
                while length:
                    sent = os.sendfile(self.connection.fileno(), file.fileno(), first, length)
                    first, length = first + sent, length - sent
                    counts.add(bytes=sent)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


@contextmanager
def far_store(folder: Path, round_trip_s: float) -> Iterator[str]:
    """The URL of the store, in a process of its own, for the block."""
    command = [sys.executable, __file__, str(folder), str(round_trip_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def counted(url: str) -> dict[str, int]:
    """Requests, bytes and connections since the last time."""
    found: dict[str, int] = httpx.get(f"{url}/counts").json()
    return found


def main(folder: str, round_trip_s: str) -> None:
    """Serve until stdin ends."""
    with _Server(("127.0.0.1", 0), _handler(Path(folder), float(round_trip_s))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
