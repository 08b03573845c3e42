"""The bytes of a source file, from any offset: on this machine, in a bucket or on a site, and why they could not be had."""

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import fsspec
import httpx
from botocore.exceptions import BotoCoreError

from flows.steps.archives.asset_hrefs import leads_inside
from flows.steps.archives.host_buckets import HostBuckets
from flows.steps.archives.rate_limit import ProviderClosed, TokenBucket, retry_after_s, take_turn
from flows.steps.archives.signing import Rules, s3fs_options, signed_url, without_tokens
from flows.steps.storage import path_of

CHUNK_BYTES = 4 * 2**20
HTTP_TIMEOUT_S, TURN_S, BUSY_S = 60.0, 900.0, 2.0
PLAIN = {"Accept-Encoding": "identity"}
Chunks = Callable[[int], Iterator[bytes]]


class CopyFailed(RuntimeError):
    """A source file that cannot be copied: the message names it and says why. `is_final`: trying again is of no use; else after `wait_s`."""

    def __init__(self, message: str, *, is_final: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(without_tokens(message))
        self.is_final = is_final
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class FileAccess:
    """How files are opened byte by byte: the options of s3fs, the rules of the hosts that sign, the turns at those of sites."""

    s3_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    signing: Rules = ()
    buckets: HostBuckets = field(default_factory=HostBuckets, compare=False, repr=False)

    def filesystem(self, location: str) -> Any:  # noqa: ANN401, an fsspec filesystem
        """The filesystem of a path or s3 URL, its listings forgotten."""
        if not location.startswith("s3://"):
            return fsspec.filesystem("file")
        found = fsspec.filesystem("s3", **s3fs_options(location, self.s3_options, self.signing))
        found.invalidate_cache()
        return found

    def size_of(self, location: str) -> int:
        """The size in bytes of a file at a path or s3 URL; FileNotFoundError."""
        return int(self.filesystem(location).info(location)["size"])

    def remove(self, location: str) -> None:
        """Remove a file at a path or s3 URL if it is there."""
        filesystem = self.filesystem(location)
        if filesystem.exists(location):
            filesystem.rm_file(location)


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a source file was when it was opened: its size and a mark that changes with its content (ETag or time)."""

    size_bytes: int | None
    mark: str

    @property
    def fingerprint(self) -> str:
        """Names the part file of this state."""
        return hashlib.sha256(f"{self.size_bytes} {self.mark}".encode()).hexdigest()[:12]


@contextmanager
def opened_source(href: str, files: FileAccess) -> Iterator[tuple[SourceState, Chunks]]:
    """What a source file is, and a function that streams it from an offset; CopyFailed in the words of its provider."""
    if href.startswith(("http://", "https://")):
        with _http_source(href, files) as source:
            yield source
        return
    path = path_of(href)
    filesystem = files.filesystem(path)
    with _reading(href):
        state = _stored_state(filesystem.info(path))

    def chunks(start: int) -> Iterator[bytes]:
        with _reading(href):
            for offset in range(start, state.size_bytes or 0, CHUNK_BYTES):
                end = min(offset + CHUNK_BYTES, state.size_bytes or 0)
                yield filesystem.cat_file(path, start=offset, end=end)
            if _stored_state(filesystem.info(path)) != state:
                raise CopyFailed(f"cannot copy {href}: it changed while it was read")

    yield state, chunks


@contextmanager
def _http_source(href: str, files: FileAccess) -> Iterator[tuple[SourceState, Chunks]]:
    """One request for the whole file; another for the rest where some of it is there already."""
    with _client(href) as client, ExitStack() as open_answer:
        bucket = files.buckets.of(href)
        with _reading(href, bucket):
            take_turn(bucket, TURN_S)
            first = open_answer.enter_context(
                client.stream("GET", signed_url(href, files.signing), headers=PLAIN)
            ).raise_for_status()
        state = _http_state(first)

        def chunks(start: int) -> Iterator[bytes]:
            with _reading(href, bucket):
                if start == 0:
                    yield from first.iter_raw()
                    return
                open_answer.close()
                take_turn(bucket, TURN_S)
                ask_rest = {**PLAIN, "Range": f"bytes={start}-"}
                with client.stream("GET", signed_url(href, files.signing), headers=ask_rest) as rest:
                    yield from _after(rest, start, state, href)

        yield state, chunks


def _client(href: str) -> httpx.Client:
    """A client that is redirected to public hosts only."""

    def check(request: httpx.Request) -> None:
        host = request.url.host.lower()
        if host != (urlsplit(href).hostname or "").lower() and leads_inside(host):
            raise httpx.RequestError(f"it redirects to {host!r}, which is not a public host", request=request)

    return httpx.Client(timeout=HTTP_TIMEOUT_S, follow_redirects=True, event_hooks={"request": [check]})


def _after(answer: httpx.Response, start: int, state: SourceState, href: str) -> Iterator[bytes]:
    """The bytes from `start`, also of a server that sends the whole file again."""
    if start == state.size_bytes:
        return
    answer.raise_for_status()
    is_rest = answer.status_code == httpx.codes.PARTIAL_CONTENT
    if _http_state(answer).mark != state.mark:
        raise CopyFailed(f"cannot copy {href}: it changed while it was read")
    to_skip = 0 if is_rest else start
    for chunk in answer.iter_raw():
        skipped = min(to_skip, len(chunk))
        to_skip -= skipped
        yield chunk[skipped:]


def _http_state(answer: httpx.Response) -> SourceState:
    length = answer.headers.get("content-length")
    # Without a mark nothing tells whether the rest belongs to what is there already, so that it never matches.
    mark = answer.headers.get("etag") or answer.headers.get("last-modified") or str(uuid.uuid4())
    return SourceState(int(length) if length else None, mark)


def _stored_state(info: Any) -> SourceState:  # noqa: ANN401, an fsspec entry
    return SourceState(int(info["size"]), str(info.get("ETag") or info.get("mtime") or ""))


@contextmanager
def _reading(href: str, bucket: TokenBucket | None = None) -> Iterator[None]:
    """CopyFailed for what goes wrong with a source; a host that asks to wait is closed for all who share its bucket."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        is_final = error.response.status_code in (400, 401, 403, 404, 410)
        words = f"{error.response.status_code} {error.response.reason_phrase}"
        asked_s = retry_after_s(error.response.headers)
        if bucket is not None and not is_final and (error.response.status_code == 429 or asked_s is not None):
            bucket.close(asked_s or BUSY_S, f"answered {words}")
        raise CopyFailed(f"cannot copy {href}: {words}", is_final=is_final, wait_s=asked_s or 0.0) from error
    except (httpx.HTTPError, OSError, BotoCoreError, ProviderClosed) as error:
        is_final = isinstance(error, FileNotFoundError | PermissionError)
        raise CopyFailed(f"cannot copy {href}: {type(error).__name__}: {error}", is_final=is_final) from error
