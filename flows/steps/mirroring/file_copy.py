"""One file from where it lies to a mirror: streamed, hashed, resumed, and in place only when it is whole."""

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from botocore.exceptions import BotoCoreError

from datacube_config.errors import StorageUnavailable
from flows.steps.archives.source_bytes import CHUNK_BYTES, Chunks, CopyFailed, FileAccess, SourceState, opened_source


class Stopped(RuntimeError):
    """The copying was told to stop; part files are kept."""


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


def _is_still(part: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(part.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
