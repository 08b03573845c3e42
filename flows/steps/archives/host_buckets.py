"""The token bucket of each host that files are asked of."""

from dataclasses import dataclass, field
from fnmatch import fnmatch
from threading import Lock
from urllib.parse import urlsplit

from sqlalchemy import Engine

from datacube_config.archives import KnownArchive, archive_table
from flows.steps.archives.rate_limit import TokenBucket, bucket_of

REQUESTS_PER_SECOND = 20.0
"""Of a host that no entry of archives.yaml names."""


@dataclass(slots=True)
class HostBuckets:
    """One bucket a host: shared by all processes on an index, or of this process alone without one."""

    engine: Engine | None = None
    _buckets: dict[str, TokenBucket] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def of(self, url: str) -> TokenBucket:
        """The bucket of the host of a URL."""
        host = (urlsplit(url).hostname or url).lower()
        with self._lock:
            if host not in self._buckets:
                self._buckets[host] = bucket_of(url, requests_per_second(host), self.engine)
            return self._buckets[host]


def requests_per_second(host: str) -> float:
    """The rate of a host, the slowest that an archive there or with files there says; 20 where none names it."""
    rates = [rate for known in archive_table().archives.values() if (rate := _rate(host, known)) is not None]
    return min(rates, default=REQUESTS_PER_SECOND)


def _rate(host: str, known: KnownArchive) -> float | None:
    if host == (urlsplit(known.url).hostname or "").lower():
        return known.requests_per_second
    return known.files_per_second if any(fnmatch(host, pattern) for pattern in known.hosts) else None
