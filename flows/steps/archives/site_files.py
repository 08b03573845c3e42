"""Files on http(s) sites: each is asked for in the turn of its host and again while the host is busy, as an API is."""

from collections import Counter
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import IO
from urllib.parse import urlsplit

import httpx

from flows.steps.archives.host_buckets import HostBuckets
from flows.steps.archives.json_documents import PAGE_BYTES
from flows.steps.archives.polite_requests import (
    Answer,
    ApiUnavailable,
    NoAnswer,
    Patience,
    ToldToWait,
    download,
    open_client,
)
from flows.steps.archives.rate_limit import ProviderClosed, retry_after_s, take_turn

BODY_S, HEAD_TURN_S, HEAD_PAUSE_S = 3600.0, 30.0, 2.0
FAILED_IN_A_ROW = 3
ENDINGS = {".json": b"}]", ".geojson": b"}]"}
OK, TOO_MANY = 200, 429


class SiteStopped(RuntimeError):
    """A site or bucket that answers nothing more, in its own words."""


class NoFile(OSError):
    """One file that a site does not give, in its own words."""


@dataclass(slots=True)
class SiteFiles:
    """Fetches files of at most 2 GiB. A file that fails alone is NoFile; a site whose files fail one after another is SiteStopped."""

    buckets: HostBuckets = field(default_factory=HostBuckets)
    patience: Patience = field(default_factory=Patience)
    _failed: Counter[str] = field(default_factory=Counter)
    _stopped: dict[str, str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def client(self) -> httpx.Client:
        """A client for some files; to be closed."""
        return open_client(self.patience)

    def fetch(self, client: httpx.Client, url: str, target: IO[bytes]) -> None:
        """Write what is at a URL into a file that can be rewound; NoFile or SiteStopped."""
        host = _host(url)
        if host in self._stopped:
            raise SiteStopped(self._stopped[host])
        try:
            answer = self._asked(client, url, target)
            if answer.status == OK and _is_cut(url, target):
                answer = self._asked(client, url, target)
        except NoAnswer as error:
            self._note(host, error)
            raise NoFile(str(error)) from error
        except (ApiUnavailable, httpx.InvalidURL) as error:
            raise NoFile(str(error)) from error
        with self._lock:
            self._failed.pop(host, None)
        if answer.status != OK:
            raise NoFile(f"{url}: {answer.words}")

    def head(self, client: httpx.Client, url: str) -> httpx.Response | None:
        """The answer to one HEAD request; None from a host that is closed or has not answered some before."""
        host, bucket = _host(url), self.buckets.of(url)
        if self._failed[host] >= FAILED_IN_A_ROW:
            return None
        try:
            take_turn(bucket, HEAD_TURN_S)
            answer = client.head(url)
        except (httpx.HTTPError, httpx.InvalidURL, ProviderClosed):
            with self._lock:
                self._failed[host] += 1
            return None
        with self._lock:
            self._failed.pop(host, None)
        asked_s = retry_after_s(answer.headers)
        if answer.status_code == TOO_MANY or (asked_s is not None and answer.is_server_error):
            bucket.close(asked_s or HEAD_PAUSE_S, f"answered {answer.status_code}")
        return answer

    def _asked(self, client: httpx.Client, url: str, target: IO[bytes]) -> Answer:
        patience = replace(self.patience, body_s=max(self.patience.body_s, BODY_S), body_bytes=PAGE_BYTES)
        return download(client, client.build_request("GET", url), self.buckets.of(url), patience, target)

    def _note(self, host: str, error: NoAnswer) -> None:
        """SiteStopped where the site itself is the trouble."""
        with self._lock:
            self._failed[host] += 1
            if isinstance(error, ToldToWait) or self._failed[host] >= FAILED_IN_A_ROW:
                self._stopped[host] = str(error)
        if host in self._stopped:
            raise SiteStopped(str(error)) from error


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def _is_cut(url: str, target: IO[bytes]) -> bool:
    """Whether a JSON file does not end as one: the body was cut by somebody who then stated the length of what was left."""
    ends = next((ends for name, ends in ENDINGS.items() if urlsplit(url).path.lower().endswith(name)), None)
    size = target.seek(0, 2)
    target.seek(max(0, size - 64))
    end = target.read().rstrip()
    return ends is not None and end[-1:] not in (ends[:1], ends[1:])
