"""A relay of TCP that stands before a real server and makes it distant: what passes is late by half a round trip each way, and requests are counted."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n", re.M)
_RANGE = re.compile(rb"^range: *bytes=(\d+)-(\d+)", re.M | re.I)
_AT_ONCE = 1 << 18


@dataclass
class DistantStore:
    """Its own URL, and what was asked of it: method and path with the first and last byte, how many bytes it answered, how many connections it had at once.

    `silences` are seconds that the next pieces of answers are held back, one each.
    """

    url: str = ""
    asked: list[tuple[str, str, tuple[int, int] | None]] = field(default_factory=list)
    answered_bytes: int = 0
    open_now: int = 0
    most_open: int = 0
    silences: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self) -> None:
        """Count from zero again."""
        with self.lock:
            self.asked, self.answered_bytes, self.most_open = [], 0, self.open_now

    def note(self, sent: bytes) -> None:
        """Count the requests in what a client sent."""
        for found in _REQUEST.finditer(sent):
            span = _RANGE.search(sent, found.end(), max(sent.find(b"\r\n\r\n", found.end()), found.end()) + 2)
            with self.lock:
                self.asked.append(
                    (found[1].decode(), found[2].decode(), (int(span[1]), int(span[2])) if span else None)
                )


@contextmanager
def distant_store(upstream: str, round_trip_s: float) -> Iterator[DistantStore]:
    """The relay on loopback for the block, before the server at a URL."""
    there = urlsplit(upstream)
    store = DistantStore()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        store.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        threading.Thread(
            target=_accept, args=(listener, (there.hostname, there.port), store, round_trip_s), daemon=True
        ).start()
        yield store
        listener.shutdown(socket.SHUT_RDWR)  # wakes who waits for a connection


def _accept(
    listener: socket.socket, upstream: tuple[str | None, int | None], store: DistantStore, round_trip_s: float
) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the block has ended
            return
        server = socket.create_connection((str(upstream[0]), int(upstream[1] or 80)))
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with store.lock:
            store.open_now += 1
            store.most_open = max(store.most_open, store.open_now)
        # To connect takes a round trip too, which on loopback is none: the first bytes are late by it.
        opened = time.monotonic() + round_trip_s
        for source, target, is_asking in ((client, server, True), (server, client, False)):
            pieces: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
            threading.Thread(
                target=_take, args=(source, pieces, store, round_trip_s / 2, opened, is_asking), daemon=True
            ).start()
            threading.Thread(target=_give, args=(pieces, source, target, store, is_asking), daemon=True).start()


def _take(
    source: socket.socket, pieces: "SimpleQueue[tuple[float, bytes]]", store: DistantStore, delay_s: float,
    opened: float, is_asking: bool,
) -> None:  # fmt: skip
    """Bytes as they come, each piece with the time when it is to arrive; an empty one where they end."""
    content = b"."
    while content:
        content, silence_s = b"", 0.0
        with suppress(OSError):  # the other end is gone
            content = source.recv(_AT_ONCE)
        if is_asking:
            store.note(content)
        else:
            with store.lock:
                store.answered_bytes += len(content)
                silence_s = store.silences.pop(0) if store.silences and content else 0.0
        pieces.put((max(time.monotonic(), opened if is_asking else 0.0) + delay_s + silence_s, content))


def _give(
    pieces: "SimpleQueue[tuple[float, bytes]]", source: socket.socket, target: socket.socket, store: DistantStore,
    is_asking: bool,
) -> None:  # fmt: skip
    """Pass on each piece when it is due; where they end, end that direction, and with the other direction the connection."""
    while True:
        due, content = pieces.get()
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            target.sendall(content)
        except OSError:
            content = b""
        if not content:
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)
            if is_asking:
                with store.lock:
                    store.open_now -= 1
            else:
                for end in (source, target):
                    end.close()
            return
