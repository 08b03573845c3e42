"""Files of an archive: a local folder, an s3:// prefix or an http(s) site."""

import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import fsspec
import httpx
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from datacube_config.archives import archive_table
from flows.steps.archives.json_documents import ITEM_BYTES, parse_document
from flows.steps.archives.links_out import leads_out
from flows.steps.archives.packed_files import is_packed_folder, packed_names
from flows.steps.archives.signing import s3fs_options
from flows.steps.archives.site_files import SiteFiles, SiteStopped

SPOOL_BYTES = 8 << 20
LISTED_FOLDERS = 4096
NAMES_A_RUN = 10_000
READERS = 8
KEYS_A_PAGE = 1000
S3_ERRORS: Final = (OSError, BotoCoreError, ClientError)  # how s3fs says that a bucket gives nothing
SITES = ("http://", "https://")
LINK = "a symbolic link out of the archive is not followed: ingest the folder that it leads to, or remove the link"

Closed = Callable[[str, str], None]


class ArchiveFiles:
    """Reads and lists what lies in an archive. The last 4096 folders are listed once."""

    def __init__(self, s3_options: Mapping[str, Any] | None = None, sites: SiteFiles | None = None) -> None:
        self._s3_options = dict(s3_options or {})
        self.sites = sites or SiteFiles()
        self._listed: OrderedDict[str, frozenset[str]] = OrderedDict()

    @property
    def client_options(self) -> dict[str, Any]:
        """The keys and region of the settings, as boto3's clients want them."""
        names = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token"}
        keys = {names[name]: value for name, value in self._s3_options.items() if name in names}
        region = self._s3_options.get("client_kwargs", {}).get("region_name")
        return keys | ({"region_name": region} if region else {})

    def read_json(self, location: str) -> Any:  # noqa: ANN401, whatever the file holds
        """The document of at most 32 MiB at a path or URL; OSError or ValueError if it cannot be read, SiteStopped."""
        with self.opened(location) as stream:
            return parse_document(stream.read(ITEM_BYTES + 1))

    @contextmanager
    def opened(self, location: str, client: httpx.Client | None = None) -> Iterator[BinaryIO]:
        """The bytes at a path or URL, as a stream that can be rewound."""
        if location.startswith(SITES):
            with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool, ExitStack() as own:
                self.sites.fetch(client or own.enter_context(self.sites.client()), location, spool)
                spool.seek(0)
                yield spool  # type: ignore[misc]
        else:
            with self.filesystem(location).open(location, "rb") as stream:
                yield stream

    def is_folder(self, location: str) -> bool:
        """Whether a path or s3 prefix holds files; SiteStopped."""
        with reaching(location):
            return bool(self.filesystem(location).isdir(location))

    def exists(self, location: str) -> bool:
        """Whether there is anything at a path or s3 URL; SiteStopped."""
        with reaching(location):
            return bool(self.filesystem(location).exists(location))

    def files_in(self, folder: str) -> frozenset[str]:
        """The names of the files of one folder; none for a site that cannot be listed. SiteStopped."""
        if folder.startswith(SITES):
            return frozenset()
        if folder not in self._listed:
            self._note(folder, frozenset(self._names(folder)))
        return self._listed[folder]

    def walk(self, root: str, closed: Closed | None = None) -> Iterator[tuple[str, list[str]]]:
        """Each folder below `root` with the sorted names of its files; links to folders are not followed.

        `closed` is told of each local folder that is not looked into, and why: it cannot be listed, or a link leads to it out of `root`.
        Of an s3:// prefix, runs of names in the order of the keys: a folder with folders in it may come more than once. SiteStopped.
        """
        if not root.startswith("s3://"):
            yield from self._walk_local(root, closed or (lambda folder, cause: None))
            return
        folder, names, is_whole = "", list[str](), True
        for path in self._keys(root):
            here, _, name = path.rpartition("/")
            if here != folder or len(names) == NAMES_A_RUN:
                is_below = (here + "/").startswith(folder + "/")
                if names:
                    yield self._run(folder, names, is_whole and not is_below)
                is_whole = not (is_below or (folder + "/").startswith(here + "/")) or not folder
                folder, names = here, []
            names.append(name)
        if names:
            yield self._run(folder, names, is_whole)

    def read_many(self, paths: list[str]) -> Iterator[tuple[str, bytes | Exception]]:
        """Up to 32 MiB and one byte at some paths of one kind, read side by side where they are far, or why there are none; SiteStopped."""
        if paths[0].startswith(SITES):
            with self.sites.client() as client, ThreadPoolExecutor(READERS) as pool:
                yield from zip(paths, pool.map(lambda path: self._bytes(path, client), paths), strict=True)
            return
        if not paths[0].startswith("s3://"):
            for path in paths:
                yield path, self._bytes(path)
            return
        found = self.filesystem(paths[0]).cat_ranges(paths, 0, ITEM_BYTES + 1, on_error="return")
        for path, content in zip(paths, found, strict=True):
            if isinstance(content, ParamValidationError):
                yield path, ValueError(" ".join(str(content).split()))
                continue
            if isinstance(content, BotoCoreError | ClientError):
                with reaching(path):
                    raise content
            yield path, content

    def filesystem(self, location: str) -> Any:  # noqa: ANN401, an fsspec filesystem
        """The filesystem of a path or s3 URL."""
        if not location.startswith("s3://"):
            return fsspec.filesystem("file")
        options = s3fs_options(location, self._s3_options, archive_table().signing)
        return fsspec.filesystem("s3", use_listings_cache=False, **options)

    def _keys(self, root: str) -> Iterator[str]:
        """The s3:// URLs below a prefix, in the order of their keys, a page at a time."""
        filesystem = self.filesystem(root)
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        more: dict[str, str] = {}
        while True:
            with reaching(root):
                page = filesystem.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=KEYS_A_PAGE, **more)
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):
                    yield f"s3://{bucket}/{entry['Key']}"
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _walk_local(self, root: str, closed: Closed) -> Iterator[tuple[str, list[str]]]:
        for folder, folders, names in os.walk(root, onerror=lambda error: closed(str(error.filename), str(error))):
            folders.sort()
            for path in (f"{folder}/{name}" for name in folders):
                if leads_out(path, root):
                    closed(path, LINK)
            if names:
                yield self._run(folder, sorted(names), True)

    def _run(self, folder: str, names: list[str], is_whole: bool) -> tuple[str, list[str]]:
        if is_whole:
            self._note(folder, frozenset(names))
        return folder, names

    def _note(self, folder: str, names: frozenset[str]) -> None:
        self._listed[folder] = names
        self._listed.move_to_end(folder)
        if len(self._listed) > LISTED_FOLDERS:
            self._listed.popitem(last=False)

    def _bytes(self, path: str, client: httpx.Client | None = None) -> bytes | Exception:
        try:
            with self.opened(path, client) as stream:
                return stream.read(ITEM_BYTES + 1)
        except (OSError, ValueError) as error:
            return error

    def _names(self, folder: str) -> list[str]:
        if is_packed_folder(folder):
            return list(packed_names(folder))
        if not folder.startswith("s3://"):
            return _local_names(folder)
        filesystem = self.filesystem(folder)
        with reaching(folder):
            try:
                entries = filesystem.ls(folder, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return [Path(entry["name"]).name for entry in entries if entry["type"] == "file"]


@contextmanager
def reaching(location: str) -> Iterator[None]:
    """SiteStopped, in one line, where an s3:// place throttles, refuses, does not answer or is not there."""
    try:
        yield
    except S3_ERRORS as error:
        if not location.startswith("s3://"):
            raise
        words = " ".join(str(error).split()) or type(error).__name__
        remedy = "check the NEOCUBE_S3_ settings, or what archives.yaml says of its bucket, and run it again"
        raise SiteStopped(f"{location}: {words}: {remedy}") from error


def as_uri(location: str) -> str:
    """A local path as file:///…; a URL as it is."""
    return location if "://" in location else Path(location).as_uri()


def _local_names(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
