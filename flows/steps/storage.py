"""Where cells, cubes, models and maps lie: one root, a local folder or an S3 prefix."""

import errno
import mmap
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote
from uuid import uuid4

import fsspec
import zarr
from botocore.exceptions import BotoCoreError
from zarr.abc.buffer import Buffer
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from datacube_config.errors import StorageLost, StorageUnavailable
from datacube_config.settings import Settings
from flows.steps.disk_flush import begin_flush, flush_names, flush_tree
from flows.steps.s3_filesystem import ONE_TRY_OF_SECONDS, s3_filesystem
from products.errors import RequestError

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
GIVEN_OUT: Final = (OSError, BotoCoreError)  # how a store says that it cannot
WRITE_BACK_BYTES = 16 * 2**20  # of an object of parts, before the disk is told to begin


@dataclass(frozen=True)
class Storage:
    """A root (absolute path or s3:// URL) and, for S3, the options of s3fs; whether a folder is flushed to the disk before it is published."""

    root: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    flushes: bool = True

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return "://" not in self.root

    def is_of_kind(self, path: str) -> bool:
        """Whether a path, below this root or another, is where the root is: on this machine, or in an object store."""
        return ("://" not in path) == self.is_local

    @cached_property
    def filesystem(self) -> Any:  # noqa: ANN401
        """The fsspec filesystem behind the root."""
        return fsspec.filesystem("file") if self.is_local else s3_filesystem(self.options)

    def path(self, *parts: str) -> str:
        """The place of an object below the root; RequestError if a part would escape it."""
        for part in parts:
            if part.startswith("/") or ".." in part.split("/"):
                raise RequestError(f"expected a place below {self.root}, got {part!r}")
        return "/".join((self.root.rstrip("/"), *parts))

    def url(self, path: str) -> str:
        """The URL of a path: file:///… or s3://…"""
        return Path(path).as_uri() if self.is_local else path

    def zarr_store(self, path: str, read_only: bool = False) -> Store:
        """The Zarr store at a path. On S3 an object is one request: s3fs would ask for its size first, to read large ones in parts."""
        if self.is_local:
            return LocalStore(path, read_only=read_only)
        files = s3_filesystem(self.options, max_concurrency=1, asynchronous=True)
        return FsspecStore(files, read_only, path.removeprefix("s3://").rstrip("/"))

    def open_group(self, path: str) -> zarr.Group:
        """The Zarr group at a path, for reading."""
        return zarr.open_group(self.zarr_store(path, read_only=True), mode="r", zarr_format=3)

    def exists(self, path: str) -> bool:
        """Whether an object or folder is there now, past any listing cache."""
        if not self.is_local:
            self.filesystem.invalidate_cache()
        return bool(self.filesystem.exists(path))

    def files(self, path: str) -> list[str]:
        """All objects below a path, sorted."""
        if not self.is_local:
            self.filesystem.invalidate_cache()
        return sorted(self.filesystem.find(path))

    def read_bytes(self, path: str) -> bytes:
        """The content of an object."""
        return bytes(self.filesystem.cat_file(path))

    def view(self, path: str) -> memoryview:
        """The content of an object: of a local file as it lies there, mapped; of S3 fetched whole."""
        if not self.is_local or not (size := Path(path).stat().st_size):
            return memoryview(self.read_bytes(path))
        with Path(path).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def write_bytes(self, path: str, content: bytes) -> None:
        """Put an object; on a folder through a temporary file, so that readers see all or nothing."""
        if not self.is_local:
            self.filesystem.pipe_file(path, content)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
            if self.flushes:
                flush_names(target, Path(self.root))
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def write_parts(self, path: str, parts: Iterable[bytes]) -> None:
        """Put an object made of parts in one go; not there whole, nor for good, until its folder is said to be. The disk begins with the first parts."""
        if not self.is_local:
            self.filesystem.pipe_file(path, b"".join(parts))
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("wb") as file:
            waiting = 0
            for part in parts:
                file.write(part)
                waiting += len(part)
                if self.flushes and waiting >= WRITE_BACK_BYTES:
                    file.flush()
                    begin_flush(file.fileno())
                    waiting = 0

    def write_group(self, path: str, objects: Mapping[str, Buffer]) -> None:
        """Put the small objects of a Zarr group that was made in memory, by their keys below a path: on S3 all at a time."""
        contents = {f"{path}/{key}": content.to_bytes() for key, content in objects.items()}
        if not self.is_local:
            self.filesystem.pipe(contents)
            return
        for place, content in contents.items():
            self.write_parts(place, [content])

    def flush(self, path: str) -> None:
        """Have a folder for good, also when the machine loses power; what an object store took, it has for good."""
        if self.is_local and self.flushes:
            flush_tree(Path(path), Path(self.root))

    def copy(self, source: str, target: str) -> None:
        """A hard link, or a server-side copy on S3; a folder across file systems gets a plain copy."""
        if not self.is_local:
            self.filesystem.copy(source, target)
            return
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        try:
            Path(target).hardlink_to(source)
        except OSError:
            shutil.copyfile(source, target)

    def copy_folder(self, source: str, target: str) -> None:
        """Hard links of all objects below a path, or server-side copies on S3, several at a time."""
        files = self.files(source)
        prefix = source if self.is_local else source.removeprefix("s3://")
        self.copy_all({each: target + each.removeprefix(prefix) for each in files})

    def copy_all(self, targets: Mapping[str, str]) -> None:
        """A hard link for each source, or server-side copies on S3, several at a time."""
        if not self.is_local:
            self.filesystem.copy(list(targets), list(targets.values()))
            return
        for source, target in targets.items():
            self.copy(source, target)

    def remove(self, path: str) -> None:
        """Remove an object or folder if it is there."""
        if self.exists(path):
            self.filesystem.rm(path, recursive=True)

    def remove_folder(self, path: str, last: str) -> None:
        """Remove a folder, the object `last` in it after all others: as long as it is there, they may be too."""
        others = [each for each in self.files(path) if each != last.removeprefix("s3://")]
        if self.is_local:
            for each in others:
                self.filesystem.rm_file(each)
        elif others:
            self.filesystem.rm(others)
        self.remove(path)

    @contextmanager
    def writing(self, path: str, what: str) -> Iterator[None]:
        """Write a folder whole: StorageLost, in one line, if the store gives out, and nothing left of it where it still can be removed."""
        with self.reaching(path, what):
            try:
                yield
            except GIVEN_OUT:
                with suppress(*GIVEN_OUT):
                    self.remove(path)
                raise

    @contextmanager
    def reaching(self, path: str, what: str) -> Iterator[None]:
        """StorageLost, in one line, if the store gives out while something is written; what is there stays."""
        try:
            yield
        except GIVEN_OUT as error:
            reason, remedy = (
                (
                    error.strerror or str(error),
                    "make room there" if error.errno in FULL else "see that it can be written to",
                )
                if isinstance(error, OSError)
                else (error, "see that it answers")
            )
            raise StorageLost(
                f"cannot write {what} to {path}: {reason}: {remedy}, or set NEOCUBE_STORE_URL to another place"
            ) from error

    def check_readable(self) -> None:
        """StorageUnavailable, naming the place, if the root is not there or cannot be listed; nothing is written."""
        with read_from(f"the store {self.root}"):
            if self.is_local:
                with os.scandir(self.root):
                    return
            bucket, _, prefix = self.root.removeprefix("s3://").partition("/")
            self.filesystem.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)

    def check_writable(self) -> None:
        """StorageUnavailable, naming the place, if nothing can be written below the root."""
        probe = self.path(f".writable-{uuid4().hex}")  # another process may be asking too
        try:
            self.write_bytes(probe, b"neocube")
            self.remove(probe)
        except GIVEN_OUT as error:
            raise StorageUnavailable(
                f"cannot write to the store {self.root}: {error}; check NEOCUBE_STORE_URL and its permissions"
            ) from error


@contextmanager
def read_from(what: str, passing: tuple[type[OSError], ...] = ()) -> Iterator[None]:
    """StorageUnavailable, in one line that names what is read, if its store gives out in another way than is let pass."""
    try:
        yield
    except passing:
        raise
    except GIVEN_OUT as error:
        raise StorageUnavailable(f"cannot read {what}: {error}; check NEOCUBE_STORE_URL and its permissions") from error


def path_of(url: str) -> str:
    """The path behind file:///… (percent signs decoded), or what is one already: a path, s3://…"""
    return unquote(url.removeprefix("file://")) if url.startswith("file://") else url


def storage_at(url: str, options: Mapping[str, Any] | None = None) -> Storage:
    """A store whose root is the place at a URL or path."""
    return Storage(path_of(url), dict(options or {}))


def open_storage(settings: Settings, prompt: bool = False) -> Storage:
    """The store that the settings name, on S3 with `s3_options`."""
    url = settings.store_url
    root = str(settings.home / "store") if url is None else str(url)
    if root.startswith("s3://"):
        return Storage(root, s3_options(settings, prompt))
    return Storage(str(Path(root.removeprefix("file://")).absolute()), flushes=settings.store_flush)


def s3_options(settings: Settings, prompt: bool = False) -> dict[str, Any]:
    """The s3fs options of the settings; only what is set, so that the usual AWS sources apply otherwise. `prompt`, where somebody waits: one try of seconds."""
    client = {"endpoint_url": settings.s3_endpoint_url, "region_name": settings.s3_region}
    options: dict[str, Any] = {"client_kwargs": {key: value for key, value in client.items() if value}}
    if prompt:
        options["config_kwargs"] = deepcopy(dict(ONE_TRY_OF_SECONDS))  # botocore writes into it
    if settings.s3_anonymous:
        return options | {"anon": True}
    if settings.s3_access_key_id and settings.s3_secret_access_key:
        options["key"] = settings.s3_access_key_id
        options["secret"] = settings.s3_secret_access_key.get_secret_value()
    return options
