"""A reverse proxy that commits faults: in front of any real HTTP server, it spoils the answers that it is told to spoil."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from tests.flows.loopback_server import Silent, answering


@dataclass(frozen=True)
class Fault:
    """What comes instead of an answer.

    status: another status, with words; drop: nothing, the connection ends; cut: half of the body that was promised;
    short: half of the body under its own length; hang: nothing for some seconds; again: the body of the answer before.
    """

    kind: Literal["status", "drop", "cut", "short", "hang", "again"]
    status: int = 503
    words: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 1.0


@dataclass
class FaultyProxy:
    """What it stands before, what it does wrong (`faults` by the number of the request from 1), and what it was asked.

    Requests whose path does not contain `counts` are passed on and not counted. `between`: called before the request of that number.
    """

    upstream: str
    faults: dict[int, Fault] = field(default_factory=dict)
    always: Fault | None = None
    between: dict[int, Callable[["FaultyProxy"], None]] = field(default_factory=dict)
    counts: str = "/"
    url: str = ""
    asked: list[tuple[float, str, str]] = field(default_factory=list)
    committed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    last_body: bytes = b""

    def next_fault(self, method: str, path: str) -> Fault | None:
        """Count a request, and what is to go wrong with it."""
        if self.counts not in path:
            return None
        with self.lock:
            self.asked.append((time.monotonic(), method, path))
            number = len(self.asked)
            fault = self.faults.get(number, self.always)
            if fault:
                self.committed.append(fault.kind)
        if number in self.between:
            self.between[number](self)
        return fault


class _Handler(Silent, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy
    client: httpx.Client

    def _pass_on(self) -> None:
        asked = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.proxy.next_fault(self.command, self.path)
        kind = fault.kind if fault else ""
        if fault and kind in ("drop", "hang"):
            time.sleep(fault.seconds if kind == "hang" else 0)
            self.close_connection = True
            return
        if fault and kind == "status":
            self.answer(fault.status, fault.words.encode(), fault.headers)
            return
        kept = {name: self.headers[name] for name in ("content-type", "range") if self.headers[name]}
        answer = self.client.request(self.command, self.proxy.upstream + self.path, content=asked, headers=kept)
        body = answer.content.replace(self.proxy.upstream.encode(), self.proxy.url.encode())
        if kind == "again":
            body = self.proxy.last_body
        elif self.proxy.counts in self.path:
            self.proxy.last_body = body
        self.answer(
            answer.status_code,
            body[: len(body) // 2] if kind == "short" else body,
            {"content-type": answer.headers.get("content-type", "text/plain")},
            keep=len(body) // 2 if kind == "cut" else None,
        )
        self.close_connection = kind == "cut"

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_HEAD(self) -> None:
        self._pass_on()


@contextmanager
def faulty_proxy(upstream: str, **behaviour: Any) -> Iterator[FaultyProxy]:
    """The proxy on loopback for the block."""
    proxy = FaultyProxy(upstream, **behaviour)
    with httpx.Client(timeout=30) as client:
        handler = type("Handler", (_Handler,), {"proxy": proxy, "client": client})
        with answering(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as url:
            assert urlsplit(url).port
            proxy.url = url
            yield proxy
