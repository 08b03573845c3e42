"""The items of an archive, whatever kind it is: catalogue, item collection, folder, stac-geoparquet or STAC API."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pyarrow.parquet
import rustac

from datacube_config.archives import KnownArchive, archive_table, collection_aliases
from flows.steps.archive_files import ArchiveFiles, as_uri
from flows.steps.asset_hrefs import ItemPlace
from flows.steps.stac_api import collection_ids, search_items
from products.errors import RequestError
from products.sensors import COLLECTIONS

RASTERS = (".tif", ".tiff", ".jp2")
NO_ITEM = "no STAC item describes the rasters of this folder: expected an item (.json) beside them"


@dataclass(frozen=True, slots=True)
class FoundItem:
    """An item as found, or why there is none: `document` is None where nothing could be read."""

    id: str
    place: ItemPlace
    document: dict[str, Any] | None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask an archive for: our collections or the archive's, bounds in degrees, and an RFC 3339 interval."""

    collections: tuple[str, ...] = ()
    bounds: tuple[float, float, float, float] | None = None
    interval: str | None = None


def archive_location(archive: str) -> str:
    """What identifies an archive: its name in archives.yaml, a URL without a closing slash, or an absolute path."""
    if archive in archive_table().archives:
        return archive
    return archive.rstrip("/") if "://" in archive else str(Path(archive).resolve())


def read_items(archive: str, wanted: Wanted, files: ArchiveFiles) -> Iterator[FoundItem]:
    """Every item of an archive; RequestError if there is no such archive."""
    location = archive_location(archive)
    known = archive_table().archives.get(location)
    if known is not None:
        return _api_items(known.url, known, wanted, files)
    if location.startswith(("http://", "https://")):
        return _site_items(location, wanted, files)
    if not files.exists(location):
        names = ", ".join(archive_table().archives)
        raise RequestError(f"no archive {archive!r}: expected a path, an s3:// or http(s):// URL, or one of {names}")
    if not files.is_folder(location):
        return _file_items(location, location.rpartition("/")[0], files)
    for name in ("catalog.json", "collection.json"):
        if name in files.files_in(location):
            return _linked_items(f"{location}/{name}", location, files)
    return _folder_items(location, files)


def reread(found: FoundItem, files: ArchiveFiles) -> list[FoundItem]:
    """The items now at the place of one that could not be read; itself where there is still nothing else."""
    location = found.place.location.removeprefix("file://")
    if "://" in location and not location.startswith("s3://"):
        return [found]
    if files.is_folder(location):
        return list(_folder_items(location, files))
    return list(_quiet_items(location, found.place.root, files))


def _site_items(url: str, wanted: Wanted, files: ArchiveFiles) -> Iterator[FoundItem]:
    """An http(s) address: a STAC API if its landing page offers search, else a catalogue or a file of items."""
    try:
        landing = files.read_json(url)
    except (httpx.HTTPError, ValueError) as error:
        raise RequestError(f"no STAC at {url}: {type(error).__name__}: {error}") from error
    links = landing.get("links", []) if isinstance(landing, dict) else []
    if any(link.get("rel") == "search" for link in links):
        return _api_items(url, None, wanted, files)
    root = url.rpartition("/")[0]
    if isinstance(landing, dict) and landing.get("type") in ("Catalog", "Collection"):
        return _linked_items(url, root, files)
    return _file_items(url, root, files)


def _api_items(url: str, known: KnownArchive | None, wanted: Wanted, files: ArchiveFiles) -> Iterator[FoundItem]:
    hosts = known.hosts if known else ()
    rate = known.requests_per_second if known else 20.0
    for document in search_items(url, _api_collections(url, known, wanted), wanted.bounds, wanted.interval, rate):
        number = document.get("id") if isinstance(document, dict) else None
        own = next((str(link.get("href")) for link in _links(document) if link.get("rel") == "self"), "")
        if not own.startswith(url + "/"):
            own = f"{url}/collections/{document.get('collection') if number else None}/items/{number}"
        yield _found(document, ItemPlace(own, own.rpartition("/")[0], url, files.files_in, hosts))


def _api_collections(url: str, known: KnownArchive | None, wanted: Wanted) -> list[str]:
    """The API's own names of the wanted collections; of all that we know when none is asked for."""
    if known is None:
        ours = [name for name in wanted.collections if name in COLLECTIONS]
        if not ours:
            return list(wanted.collections)
        aliases = collection_aliases()
        return [name for name in collection_ids(url) if name in wanted.collections or aliases.get(name) in ours]
    asked = wanted.collections or tuple(known.collections)
    return [alias for name in asked for alias in known.collections.get(name, (name,))]


def _linked_items(start: str, root: str, files: ArchiveFiles) -> Iterator[FoundItem]:
    """The items a static catalogue links to, depth first, each once."""
    waiting, seen = [start], {start}
    while waiting:
        location = waiting.pop()
        try:
            document = files.read_json(location)
        except (OSError, ValueError, httpx.HTTPError) as error:
            yield _unreadable(location, root, files, error)
            continue
        if isinstance(document, dict) and document.get("type") in ("Catalog", "Collection"):
            links = (link for link in _links(document) if link.get("rel") in ("child", "item"))
            targets = dict.fromkeys(_target(str(link.get("href")), location) for link in links)
            fresh = [target for target in targets if target not in seen]
            seen.update(fresh)
            waiting.extend(target for target in reversed(fresh) if _inside(target, root))
            for target in (target for target in fresh if not _inside(target, root)):
                cause = f"{location} links to {target}, outside the archive {root}"
                yield FoundItem(target.rpartition("/")[2], _place(target, root, root, files), None, cause)
        else:
            yield from _documents(document, location, root, files)


def _folder_items(root: str, files: ArchiveFiles) -> Iterator[FoundItem]:
    """The items of the .json files below a folder, and a cause for folders of rasters that no item describes."""
    described: list[str] = []
    for folder, names in files.walk(root):
        found = False
        for name in names:
            if name.lower().endswith((".json", ".geojson")):
                for item in _quiet_items(f"{folder}/{name}", root, files):
                    found = True
                    yield item
        if found:
            described.append(folder)
        elif any(n.lower().endswith(RASTERS) for n in names) and not any(_inside(folder, up) for up in described):
            yield FoundItem(folder.rpartition("/")[2], _place(folder, folder, root, files), None, NO_ITEM)


def _quiet_items(location: str, root: str, files: ArchiveFiles) -> Iterator[FoundItem]:
    """The items of one file; none for a file that is JSON but no item, such as an MTL."""
    try:
        document = files.read_json(location)
    except (OSError, ValueError) as error:
        yield _unreadable(location, root, files, error)
        return
    kinds = [document] if isinstance(document, dict) else document if isinstance(document, list) else []
    if any(isinstance(kind, dict) and kind.get("type") in ("Feature", "FeatureCollection") for kind in kinds):
        yield from _documents(document, location, root, files)


def _file_items(location: str, root: str, files: ArchiveFiles) -> Iterator[FoundItem]:
    """The items of one file: an item, an item collection, or stac-geoparquet; RequestError for anything else."""
    if location.lower().endswith((".parquet", ".geoparquet")):
        raw = files.filesystem(location).cat_file(location)
        return _documents(_parquet(raw), location, root, files)
    try:
        document = files.read_json(location)
    except ValueError as error:
        raise RequestError(
            f"{location} is not JSON ({error}): expected a STAC catalogue, item or collection"
        ) from error
    if isinstance(document, dict) and document.get("type") in ("Catalog", "Collection"):
        return _linked_items(location, root, files)
    return _documents(document, location, root, files)


def _parquet(raw: bytes) -> dict[str, Any]:
    return dict(rustac.from_arrow(pyarrow.parquet.read_table(io.BytesIO(raw))))


def _documents(document: Any, location: str, root: str, files: ArchiveFiles) -> Iterator[FoundItem]:  # noqa: ANN401
    """The item or items of one JSON document."""
    features = document.get("features") if isinstance(document, dict) else document
    if isinstance(features, list):
        for number, feature in enumerate(features):
            name = feature.get("id", number) if isinstance(feature, dict) else number
            yield _found(feature, _place(f"{location}#{name}", location.rpartition("/")[0], root, files))
    else:
        yield _found(document, _place(location, location.rpartition("/")[0], root, files))


def _found(document: Any, place: ItemPlace) -> FoundItem:  # noqa: ANN401
    fallback = place.location.rpartition("/")[2]
    if not isinstance(document, dict):
        return FoundItem(fallback, place, None, f"expected a STAC item, got {type(document).__name__}")
    return FoundItem(str(document.get("id") or fallback), place, document)


def _unreadable(location: str, root: str, files: ArchiveFiles, error: Exception) -> FoundItem:
    place = _place(location, location.rpartition("/")[0], root, files)
    return FoundItem(location.rpartition("/")[2], place, None, f"unreadable item: {type(error).__name__}: {error}")


def _place(location: str, folder: str, root: str, files: ArchiveFiles) -> ItemPlace:
    return ItemPlace(as_uri(location), folder, root, files.files_in)


def _links(document: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    links = document.get("links") if isinstance(document, dict) else None
    return [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []


def _target(href: str, location: str) -> str:
    """The absolute path or URL a link of a catalogue names."""
    if "://" in href:
        return urlsplit(href).path if href.startswith("file://") else href
    if location.startswith(("http://", "https://")):
        return urljoin(location, href)
    scheme, _, rest = location.rpartition("://")
    path = str(Path(f"/{rest}" if scheme else rest).parent.joinpath(href))
    parts: list[str] = []
    for part in path.split("/"):
        parts = parts[:-1] if part == ".." else [*parts, part] if part not in ("", ".") else parts
    return f"{scheme}://{'/'.join(parts)}" if scheme else "/" + "/".join(parts)


def _inside(target: str, root: str) -> bool:
    return target == root or target.startswith(root.rstrip("/") + "/")
