"""The items of an archive, whatever kind it is: an API, a catalogue, files, a bucket, its inventory, or a queue."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from datacube_config.archives import KnownArchive, archive_table
from flows.steps.archives.archive_files import SITES, ArchiveFiles
from flows.steps.archives.asked_collections import with_asked
from flows.steps.archives.delivered_scenes import delivered_in_file
from flows.steps.archives.found_items import FoundItem, Source, Wanted, acknowledge
from flows.steps.archives.href_secrets import without_secrets
from flows.steps.archives.items_api import StacApi, api_item, api_items, api_of, offers_search
from flows.steps.archives.items_parquet import PARQUET, parquet_items
from flows.steps.archives.items_queue import queue_pages
from flows.steps.archives.items_s3 import inventory_items, is_inventory, prefix_items
from flows.steps.archives.items_static import CATALOGUE_FILES, file_items, folder_items, items_at, linked_items
from flows.steps.archives.polite_requests import ApiUnavailable
from flows.steps.archives.site_files import NoFile, SiteStopped
from products.errors import RequestError

__all__ = [
    "FoundItem",
    "StacApi",
    "Wanted",
    "acknowledge",
    "api_item",
    "archive_location",
    "check_stated",
    "in_its_words",
    "read_items",
    "read_pages",
    "reread",
    "stac_api",
]

PAGE_ITEMS = 500
FILE_URL = "file:///"
EXPECTED = "expected a path, an s3://, sqs:// or http(s):// URL, or one of"


def archive_location(archive: str) -> str:
    """What identifies an archive: its name in archives.yaml, a URL without a closing slash, or an absolute path, also of a file:/// URL.

    RequestError for a URL with a user, password, signature or token: it would be stored with every scene; and for nothing, which is no folder.
    """
    check_stated(archive, f"{EXPECTED} {', '.join(archive_table().archives)}")
    if archive in archive_table().archives:
        return archive
    if "://" not in archive:
        return str(Path(archive).resolve())
    if archive.startswith(FILE_URL):
        return str(Path(_path_of(archive)).resolve())
    if (plain := without_secrets(archive)) != archive:
        raise RequestError(
            f"expected the address of an archive without user, password, signature or token, as it is stored with every scene, "
            f"got {plain} with one: let an entry of archives.yaml say how its files are signed"
        )
    return archive.rstrip("/")


def check_stated(place: str, expected: str) -> None:
    """RequestError for a place that is an empty text, which would be the current folder."""
    if not place.strip():
        raise RequestError(f"{expected}; got an empty text: is a variable unset? `.` is the current folder")


def read_items(archive: str, wanted: Wanted, files: ArchiveFiles) -> Iterator[FoundItem]:
    """Every item of an archive; RequestError if there is no such archive."""
    return chain.from_iterable(read_pages(archive, wanted, files))


def read_pages(archive: str, wanted: Wanted, files: ArchiveFiles) -> Iterator[list[FoundItem]]:
    """Every item of an archive, a few hundred at a time; RequestError if there is no such archive, or no such collection in it."""
    location = archive_location(archive)
    known = archive_table().archives.get(location)
    if known is not None and known.kind == "queue":
        return queue_pages(known.url, _source(known.url, files, known))
    if known is None and location.startswith("sqs://"):
        return queue_pages(location, Source(location, files))
    with in_its_words():
        items = _known_items(known, wanted, files) if known else _items(location, wanted, files)
    is_whole = _tells_all(known.url if known else location, known, wanted)
    return with_asked(_pages(items), wanted.collections, location) if is_whole else _pages(items)


def stac_api(archive: str, wanted: Wanted, files: ArchiveFiles) -> StacApi | None:
    """The STAC API that an archive is, or None; RequestError if nothing answers at its URL."""
    location = archive_location(archive)
    known = archive_table().archives.get(location)
    if known is not None:
        return api_of(known.url, known, wanted, files) if known.kind == "api" else None
    if not location.startswith(SITES):
        return None
    with in_its_words():
        landing = _landing(location, files)
    return api_of(location, None, wanted, files) if offers_search(landing) else None


def reread(found: FoundItem, files: ArchiveFiles) -> list[FoundItem]:
    """The items now at the place of one that could not be read: itself where there is still nothing else, none where its file was deleted."""
    try:
        return _reread(found, files)
    except SiteStopped:
        return [found]


def _reread(found: FoundItem, files: ArchiveFiles) -> list[FoundItem]:
    location = found.place.location
    source = Source(found.place.root, files, found.place.hosts)
    if location.startswith("file://"):
        return _reread_local(found, unquote(location.removeprefix("file://")), source)
    if location.startswith(SITES):
        return list(items_at([location], source, quiet=True))
    if "://" in location and not location.startswith("s3://"):
        return [found]
    return _reread_file(found, location, source)


def _reread_local(found: FoundItem, path: str, source: Source) -> list[FoundItem]:
    is_there = any(source.files.exists(each) for each in (path, path.rpartition("#")[0]) if each)
    if not is_there and "FileNotFoundError" not in (found.cause or ""):
        return []  # it was there when it was refused
    return _reread_file(found, path, source)


def _reread_file(found: FoundItem, location: str, source: Source) -> list[FoundItem]:
    collection, mark, _ = location.rpartition("#")
    if mark and not source.files.exists(location):
        return _reread_member(found, collection, source)
    if source.files.is_folder(location):
        return list(folder_items(location, source))
    if delivered := delivered_in_file(location, source.root, source.files):
        return [FoundItem(*each) for each in delivered]
    return list(items_at([location], source, quiet=True))


def _reread_member(found: FoundItem, collection: str, source: Source) -> list[FoundItem]:
    """What is now at the place of a member of a collection: none where all of that can be read and nothing there is as it was."""
    whole = source.place(collection).location
    for each in items_at([collection], source, quiet=True):
        if each.place.location in (found.place.location, whole) and each.document is None:
            return [found] if each.place.location == whole else [each]
    return []


def _path_of(location: str) -> str:
    """The path of a file:/// URL; anything else as it is."""
    return unquote(urlsplit(location).path) if location.startswith(FILE_URL) else location


def _tells_all(location: str, known: KnownArchive | None, wanted: Wanted) -> bool:
    """Whether items of other times and places are listed too; an API leaves them out, and so does a parquet file."""
    is_asked = location.lower().endswith(PARQUET) or (known is not None and known.kind in ("api", "parquet"))
    return not is_asked or (wanted.bounds is None and wanted.interval is None)


def _known_items(known: KnownArchive, wanted: Wanted, files: ArchiveFiles) -> Iterator[FoundItem]:
    """The items of an archive that archives.yaml describes, queues apart."""
    if known.kind == "api":
        return api_items(api_of(known.url, known, wanted, files), wanted, files)
    url = _path_of(known.url)
    url = url.rstrip("/") if "://" in url else str(Path(url).expanduser().resolve())
    if known.kind == "inventory":
        return inventory_items(url, _source(url, files, known), known.items)
    if known.kind == "prefix":
        return prefix_items(url, _source(url, files, known), known.items)
    if known.kind == "parquet":
        return parquet_items(url, _source(url.rpartition("/")[0], files, known), wanted)
    return _items(url, wanted, files, known)


def _items(
    location: str, wanted: Wanted, files: ArchiveFiles, known: KnownArchive | None = None
) -> Iterator[FoundItem]:
    """The items at a path or URL, by what is found there."""
    folder = location.rpartition("/")[0]
    if location.startswith(SITES):
        return _site_items(location, wanted, files, known)
    if not files.exists(location):
        raise RequestError(f"no archive {location!r}: {EXPECTED} {', '.join(archive_table().archives)}")
    if not files.is_folder(location):
        if location.lower().endswith(PARQUET):
            return parquet_items(location, _source(folder, files, known), wanted)
        if location.endswith("/manifest.json") and is_inventory(files.read_json(location)):
            return inventory_items(location, _source(folder, files, known), known.items if known else "*.json")
        return file_items(location, _source(folder, files, known))
    source = _source(location, files, known)
    for name in CATALOGUE_FILES:
        if name in files.files_in(location):
            return linked_items(f"{location}/{name}", source)
    return folder_items(location, source)


def _site_items(url: str, wanted: Wanted, files: ArchiveFiles, known: KnownArchive | None) -> Iterator[FoundItem]:
    """An http(s) address: a STAC API if its landing page offers search, else a catalogue or a file of items."""
    source = _source(url.rpartition("/")[0], files, known)
    if url.lower().endswith(PARQUET):
        return parquet_items(url, source, wanted)
    landing = _landing(url, files)
    if offers_search(landing):
        return api_items(api_of(url, known, wanted, files), wanted, files)
    if isinstance(landing, dict) and landing.get("type") in ("Catalog", "Collection"):
        return linked_items(url, source)
    return file_items(url, source)


def _landing(url: str, files: ArchiveFiles) -> Any:  # noqa: ANN401
    try:
        return files.read_json(url)
    except NoFile as error:
        raise RequestError(f"no STAC at {url}: {str(error).removeprefix(f'{url}: ')}") from error
    except (OSError, ValueError) as error:
        raise RequestError(f"no STAC at {url}: {type(error).__name__}: {error}") from error


def _source(root: str, files: ArchiveFiles, known: KnownArchive | None) -> Source:
    return Source(root, files, known.hosts if known else (), known.alternate if known else None)


def _pages(items: Iterator[FoundItem]) -> Iterator[list[FoundItem]]:
    """Pages of items; what came before a site or bucket stopped is a page too."""
    while True:
        page: list[FoundItem] = []
        try:
            page.extend(islice(items, PAGE_ITEMS))
        except SiteStopped as stopped:
            if page:
                yield page
            raise ApiUnavailable(str(stopped)) from stopped
        if not page:
            return
        yield page


@contextmanager
def in_its_words() -> Iterator[None]:
    """ApiUnavailable for a site or bucket that stopped before there was anything to list."""
    try:
        yield
    except SiteStopped as stopped:
        raise ApiUnavailable(str(stopped)) from stopped
