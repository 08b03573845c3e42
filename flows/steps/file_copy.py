"""One file from where it lies to a mirror: streamed, hashed, resumed, and in place only when it is whole."""

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import fsspec
import httpx
from botocore.exceptions import BotoCoreError

from datacube_config.errors import StorageUnavailable
from flows.steps.rate_limit import retry_after_s
from flows.steps.signing import Rules, s3fs_options, signed_url, without_tokens
from flows.steps.storage import path_of

CHUNK_BYTES = 4 * 2**20
HTTP_TIMEOUT_S = 60.0
Chunks = Callable[[int], Iterator[bytes]]
PLAIN = {"Accept-Encoding": "identity"}


class CopyFailed(RuntimeError):
    """A source file that cannot be copied: the message names it and says why. `is_final`: trying again is of no use; else after `wait_s`."""

    def __init__(self, message: str, *, is_final: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(without_tokens(message))
        self.is_final = is_final
        self.wait_s = wait_s


class Stopped(RuntimeError):
    """The copying was told to stop; part files are kept."""


@dataclass(frozen=True, slots=True)
class FileAccess:
    """How files are opened byte by byte: the options of s3fs and the rules of the hosts that sign."""

    s3_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    signing: Rules = ()

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


class Hash(Protocol):
    """What hashlib's objects can do."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """The digest so far."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A file of a mirror as it was written."""

    href: str
    size_bytes: int
    sha256: str
    moved_bytes: int


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a source file was when it was opened: its size and a mark that changes with its content (ETag or time)."""

    size_bytes: int | None
    mark: str

    @property
    def fingerprint(self) -> str:
        """Names the part file of this state."""
        return hashlib.sha256(f"{self.size_bytes} {self.mark}".encode()).hexdigest()[:12]


def copy_file(href: str, target: str, files: FileAccess, stop: threading.Event) -> Copied:
    """Copy a file byte for byte to a path or s3:// URL; CopyFailed for the source, StorageUnavailable for the target."""
    if target.startswith("s3://"):
        return _copy_to_s3(href, target, files, stop)
    folder = Path(target).parent
    with writing_to(target):
        folder.mkdir(parents=True, exist_ok=True)
        with opened_source(href, files) as (state, chunks):
            part = Path(f"{target}.{state.fingerprint}.part")
            for old in folder.glob(f"{Path(target).name}.*.part"):
                if old != part:
                    old.unlink(missing_ok=True)
            with only_writer(part) as file:
                return _finish(href, Path(target), part, file, state, chunks, stop)


def file_digest(path: str, files: FileAccess, stop: threading.Event) -> tuple[int, str]:
    """Size and sha256 of a file of a mirror; CopyFailed if it cannot be read."""
    digest, size = hashlib.sha256(), 0
    with opened_source(path, files) as (_, chunks):
        for chunk in chunks(0):
            size += len(chunk)
            digest.update(chunk)
            if stop.is_set():
                raise Stopped
    return size, digest.hexdigest()


@contextmanager
def writing_to(target: str) -> Iterator[None]:
    """StorageUnavailable, in one line, where the mirror gives out."""
    try:
        yield
    except (OSError, BotoCoreError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageUnavailable(
            f"cannot write {target}: {reason}: make room there and run it again, it goes on where it stopped"
        ) from error


@contextmanager
def only_writer(part: Path) -> Iterator[BinaryIO]:
    """The part file open for appending, by one process at a time; the lock goes with the process."""
    while True:
        with part.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(part, file):
                yield file
                return


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


def _finish(
    href: str, target: Path, part: Path, file: BinaryIO, state: SourceState, chunks: Chunks, stop: threading.Event
) -> Copied:
    """Append what the part file lacks, make it durable and give it its name."""
    digest = hashlib.sha256()
    file.seek(0)
    start = size = hash_file(file, digest)
    for chunk in chunks(start):
        file.write(chunk)
        digest.update(chunk)
        size += len(chunk)
        file.flush()
        if stop.is_set():
            raise Stopped
    if state.size_bytes is not None and size != state.size_bytes:
        if size > state.size_bytes:
            part.unlink()
        raise CopyFailed(f"cannot copy {href}: {size} of {state.size_bytes} bytes came")
    os.fsync(file.fileno())
    part.replace(target)
    return Copied(str(target), size, digest.hexdigest(), size - start)


def _copy_to_s3(href: str, target: str, files: FileAccess, stop: threading.Event) -> Copied:
    """A multi-part upload that is completed only when every byte has come."""
    digest, size = hashlib.sha256(), 0
    with opened_source(href, files) as (state, chunks), writing_to(target):
        upload = files.filesystem(target).open(target, "wb", autocommit=False)
        try:
            for chunk in chunks(0):
                upload.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                if stop.is_set():
                    raise Stopped
            if state.size_bytes is not None and size != state.size_bytes:
                raise CopyFailed(f"cannot copy {href}: {size} of {state.size_bytes} bytes came")
            upload.close()
            upload.commit()
        except BaseException:
            upload.closed = True  # or fsspec would complete the upload when it forgets the file
            upload.discard()
            raise
    return Copied(target, size, digest.hexdigest(), size)


def hash_file(file: BinaryIO, digest: Hash) -> int:
    """Give a digest the rest of an open file; how many bytes that was."""
    size = 0
    while block := file.read(CHUNK_BYTES):
        digest.update(block)
        size += len(block)
    return size


@contextmanager
def _http_source(href: str, files: FileAccess) -> Iterator[tuple[SourceState, Chunks]]:
    """One request for the whole file; another for the rest where some of it is there already."""
    with httpx.Client(timeout=HTTP_TIMEOUT_S, follow_redirects=True) as client, ExitStack() as open_answer:
        with _reading(href):
            first = open_answer.enter_context(
                client.stream("GET", signed_url(href, files.signing), headers=PLAIN)
            ).raise_for_status()
        state = _http_state(first)

        def chunks(start: int) -> Iterator[bytes]:
            with _reading(href):
                if start == 0:
                    yield from first.iter_raw(CHUNK_BYTES)
                    return
                open_answer.close()
                ask_rest = {**PLAIN, "Range": f"bytes={start}-"}
                with client.stream("GET", signed_url(href, files.signing), headers=ask_rest) as rest:
                    yield from _after(rest, start, state, href)

        yield state, chunks


def _after(answer: httpx.Response, start: int, state: SourceState, href: str) -> Iterator[bytes]:
    """The bytes from `start`, also of a server that sends the whole file again."""
    if start == state.size_bytes:
        return
    answer.raise_for_status()
    is_rest = answer.status_code == httpx.codes.PARTIAL_CONTENT
    if _http_state(answer).mark != state.mark:
        raise CopyFailed(f"cannot copy {href}: it changed while it was read")
    to_skip = 0 if is_rest else start
    for chunk in answer.iter_raw(CHUNK_BYTES):
        skipped = min(to_skip, len(chunk))
        to_skip -= skipped
        yield chunk[skipped:]


def _http_state(answer: httpx.Response) -> SourceState:
    length = answer.headers.get("content-length")
    mark = answer.headers.get("etag") or answer.headers.get("last-modified") or ""
    return SourceState(int(length) if length else None, mark)


def _stored_state(info: Any) -> SourceState:  # noqa: ANN401, an fsspec entry
    return SourceState(int(info["size"]), str(info.get("ETag") or info.get("mtime") or ""))


def _is_still(part: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(part.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextmanager
def _reading(href: str) -> Iterator[None]:
    """CopyFailed for what goes wrong with a source."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        is_final = error.response.status_code in (400, 401, 403, 404, 410)
        words = f"{error.response.status_code} {error.response.reason_phrase}"
        wait_s = retry_after_s(error.response.headers) or 0.0
        raise CopyFailed(f"cannot copy {href}: {words}", is_final=is_final, wait_s=wait_s) from error
    except (httpx.HTTPError, OSError, BotoCoreError) as error:
        is_final = isinstance(error, FileNotFoundError | PermissionError)
        raise CopyFailed(f"cannot copy {href}: {type(error).__name__}: {error}", is_final=is_final) from error
