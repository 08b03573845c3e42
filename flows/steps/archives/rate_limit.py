"""Requests a second that all workers and processes together ask of a provider: one token bucket each."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Protocol
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine, text

CLOSED_AT_MOST_S = 3600.0

# The rows are read and written by the server's clock, so that workers on machines with other clocks agree.
_FILLED = "least(1, tokens + :rate * greatest(0, extract(epoch from clock_timestamp() - filled_at)))"
_TAKE = f"""
update neocube.rate_limit set tokens = {_FILLED} - 1, filled_at = clock_timestamp()
where provider = :provider and (closed_until is null or closed_until <= clock_timestamp()) and {_FILLED} >= 1
returning tokens"""
_WAIT = f"""
select greatest(extract(epoch from closed_until - clock_timestamp()), (1 - {_FILLED}) / :rate, 0), closed_because
from neocube.rate_limit where provider = :provider"""
_OPEN = "insert into neocube.rate_limit (provider, tokens) values (:provider, 1) on conflict do nothing"
_CLOSE = """
update neocube.rate_limit set
    tokens = 0,
    closed_until = greatest(closed_until, clock_timestamp() + make_interval(secs => :seconds)),
    filled_at = greatest(closed_until, clock_timestamp() + make_interval(secs => :seconds)),
    closed_because = :words
where provider = :provider"""


class ProviderClosed(RuntimeError):
    """The provider asked for a longer pause than the caller has patience for; the message has its words."""


class TokenBucket(Protocol):
    """Where requests wait for their turn."""

    @property
    def provider(self) -> str:
        """The host whose requests it counts."""
        ...

    @property
    def requests_per_second(self) -> float:
        """How often it lets one through."""
        ...

    def try_take(self) -> tuple[float, str]:
        """(0, "") if a request may go now, else the seconds until one may be tried, and why it is closed."""
        ...

    def close(self, seconds: float, words: str) -> None:
        """Let nobody through for some seconds, because of what the provider said."""
        ...


@dataclass(slots=True)
class LocalBucket:
    """A bucket of this process alone, for work without an index."""

    provider: str
    requests_per_second: float
    _free_at: float = 0.0
    _closed_until: float = 0.0
    _words: str = ""
    _lock: Lock = field(default_factory=Lock)

    def try_take(self) -> tuple[float, str]:
        """(0, "") if a request may go now, else the seconds until one may be tried, and why it is closed."""
        with self._lock:
            now = time.monotonic()
            if now < self._closed_until:
                return self._closed_until - now, self._words
            if now < self._free_at:
                return self._free_at - now, ""
            self._free_at = now + 1 / self.requests_per_second
            return 0.0, ""

    def close(self, seconds: float, words: str) -> None:
        """Let nobody through for some seconds, because of what the provider said."""
        with self._lock:
            until = time.monotonic() + min(seconds, CLOSED_AT_MOST_S)
            self._closed_until, self._words = max(self._closed_until, until), words


@dataclass(frozen=True, slots=True)
class SharedBucket:
    """The bucket of all processes on one index: a row of `neocube.rate_limit`, and its lock."""

    provider: str
    requests_per_second: float
    engine: Engine

    def try_take(self) -> tuple[float, str]:
        """(0, "") if a request may go now, else the seconds until one may be tried, and why it is closed."""
        values = {"provider": self.provider, "rate": self.requests_per_second}
        with self.engine.begin() as connection:
            if connection.execute(text(_TAKE), values).first() is not None:
                return 0.0, ""
            row = connection.execute(text(_WAIT), values).first()
            if row is None:
                self._make(connection)
                return 0.001, ""
            return float(row[0]), row[1] or ""

    def close(self, seconds: float, words: str) -> None:
        """Let nobody through for some seconds, because of what the provider said."""
        with self.engine.begin() as connection:
            self._make(connection)
            values = {"provider": self.provider, "seconds": min(seconds, CLOSED_AT_MOST_S), "words": words}
            connection.execute(text(_CLOSE), values)

    def _make(self, connection: Connection) -> None:
        connection.execute(text(_OPEN), {"provider": self.provider})


def bucket_of(url: str, requests_per_second: float, engine: Engine | None = None) -> TokenBucket:
    """The bucket of the host of a URL; of this process alone without an engine."""
    provider = (urlsplit(url).hostname or url).lower()
    if engine is None:
        return LocalBucket(provider, requests_per_second)
    return SharedBucket(provider, requests_per_second, engine)


def take_turn(bucket: TokenBucket, patience_s: float) -> None:
    """Wait until a request may go; ProviderClosed if that would take longer than `patience_s` seconds."""
    started = time.monotonic()
    while True:
        wait_s, words = bucket.try_take()
        if wait_s <= 0:
            return
        waited = time.monotonic() - started
        if waited + wait_s > patience_s:
            said = f" after it {words}" if words else ""
            raise ProviderClosed(f"{bucket.provider} is closed for another {wait_s:.0f} s{said}")
        time.sleep(wait_s * random.uniform(1.0, 1.1))


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks to wait, from its number or its HTTP date; None without a sound one."""
    asked = headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdecimal():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
