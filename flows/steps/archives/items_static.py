"""Items in files: a static catalogue, an item collection, a list, a folder or prefix of items."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from flows.steps.archives.archive_files import LINK, SITES, reaching
from flows.steps.archives.delivered_scenes import delivered_in_file, delivered_in_folder, has_delivery, products_of
from flows.steps.archives.found_items import FoundItem, Source, links_of, plain_location
from flows.steps.archives.in_batches import in_batches
from flows.steps.archives.items_parquet import PARQUET, parquet_items
from flows.steps.archives.json_documents import ITEM_BYTES, parse_document, stream_features
from flows.steps.archives.links_out import is_below, leads_out
from flows.steps.archives.packed_files import is_packed
from flows.steps.archives.raw_items import raw_features
from products.errors import RequestError

JSON = (".json", ".geojson")
RASTERS = (".tif", ".tiff", ".jp2")
NO_ITEM = "no STAC item describes the rasters of this folder: expected an item (.json) beside them"
CATALOGUE_FILES = ("catalog.json", "collection.json")
READ_AT_ONCE = 32


def linked_items(start: str, source: Source) -> Iterator[FoundItem]:
    """The items a static catalogue links to, depth first, each once."""
    waiting, seen = [start], {hash(start)}
    while waiting:
        location = waiting.pop()
        try:
            document = _read(location, source)
        except (OSError, ValueError) as error:
            yield source.unreadable(location, error)
            continue
        if not _is_catalogue(document):
            yield from source.items_of(document, location)
            continue
        kinds: dict[str, str] = {}
        for link in links_of(document):
            if link.get("rel") in ("child", "item"):
                try:
                    kinds.setdefault(_target(str(link.get("href")), location), str(link["rel"]))
                except ValueError as error:
                    cause = f"{plain_location(location)} links to {str(link.get('href'))[:200]!r}, which is no address: {error}"
                    name = f"{source.name_of(location)} {str(link.get('href'))[:200]!r}"
                    yield FoundItem(name, source.place(location), None, cause)
        fresh = {target: kind for target, kind in kinds.items() if hash(target) not in seen}
        seen.update(map(hash, fresh))
        inside = {target: kind for target, kind in fresh.items() if is_below(target, source.root)}
        for target in (target for target in fresh if target not in inside):
            named = plain_location(target)
            cause = f"{plain_location(location)} links to {named}, outside the archive {source.root}"
            yield FoundItem(named, source.place(target, source.root), None, cause)
        yield from items_at((target for target, kind in inside.items() if kind == "item"), source)
        waiting.extend(target for target, kind in reversed(inside.items()) if kind == "child")


def folder_items(root: str, source: Source) -> Iterator[FoundItem]:
    """The items of the .json files below a folder, of scenes as delivered, and a cause for rasters that nothing describes."""
    if root != source.root and leads_out(root, source.root):
        yield source.unreadable_folder(root, LINK)
        return
    described: list[str] = []
    far, closed = root.startswith("s3://"), list[FoundItem]()
    for folder, names in source.files.walk(
        root, lambda folder, cause: closed.append(source.unreadable_folder(folder, cause))
    ):
        described = [up for up in described if folder.startswith(up + "/") or folder == up]
        found = False
        documents = [f"{folder}/{name}" for name in names if name.lower().endswith(JSON)]
        packed = [f"{folder}/{name}" for name in names if is_packed(f"{folder}/{name}")]
        for item in _in_folder(folder, names, documents, packed, source):
            found = True
            yield item
        if found:
            described = described if folder in described else [*described, folder]
            continue
        has_rasters = any(name.lower().endswith(RASTERS) for name in names)
        if has_rasters and not described and not (far and _has_documents_above(folder, root, source)):
            yield FoundItem(source.name_of(folder), source.place(folder, folder), None, NO_ITEM)
    yield from closed


def file_items(location: str, source: Source) -> Iterator[FoundItem]:
    """The items of one file: item, item collection, stac-geoparquet, tar or zip of a scene; RequestError for anything else."""
    if delivered := delivered_in_file(location, source.root, source.files):
        return iter([FoundItem(*each) for each in delivered])
    if location.lower().endswith(PARQUET):
        return parquet_items(location, source)
    with reaching(location), source.files.opened(location) as stream:
        raw = stream.read(ITEM_BYTES + 1)
    if len(raw) > ITEM_BYTES:
        return _streamed_items(location, source)
    if (features := raw_features(raw)) is not None:
        return source.unread(features, location)
    try:
        first = parse_document(raw)
    except ValueError as error:
        raise RequestError(
            f"{location} is not JSON ({error}): expected a STAC catalogue, item or collection"
        ) from error
    if _is_catalogue(first):
        return linked_items(location, source)
    return source.items_of(first, location)


def items_at(locations: Iterable[str], source: Source, *, quiet: bool = False) -> Iterator[FoundItem]:
    """The items of some files, read side by side where they are far; `quiet`: none for JSON that is no item."""
    for batch in in_batches(locations, READ_AT_ONCE):
        safe = [location for location in batch if not leads_out(location, source.root)]
        for location in (location for location in batch if location not in safe):
            yield source.unreadable(location, OSError("a symbolic link out of the archive: expected a file inside it"))
        for location, raw in source.files.read_many(safe) if safe else ():
            yield from _items_in(location, raw, source, quiet)


def _items_in(location: str, raw: bytes | Exception, source: Source, quiet: bool) -> Iterator[FoundItem]:
    try:
        if isinstance(raw, Exception):
            raise raw
        if len(raw) > ITEM_BYTES:
            yield from _streamed_items(location, source)
            return
        if (features := raw_features(raw)) is not None:
            yield from source.unread(features, location)
            return
        document = parse_document(raw)
    except (OSError, ValueError) as error:
        yield source.unreadable(location, error)
        return
    if not quiet or _is_item(document):
        yield from source.items_of(document, location)


def _in_folder(
    folder: str, names: list[str], documents: list[str], packed: list[str], source: Source
) -> Iterator[FoundItem]:
    has_metadata, described = has_delivery(names), set[str]()
    for item in items_at(documents, source, quiet=True):
        if has_metadata and item.document is not None:
            described |= products_of(item.document)
        yield item
    if has_metadata:
        for delivered in delivered_in_folder(folder, names, source.root, source.files, described):
            yield FoundItem(*delivered)
    for path in (path for path in packed if not leads_out(path, source.root)):
        for delivered in delivered_in_file(path, source.root, source.files):
            yield FoundItem(*delivered)


def _streamed_items(location: str, source: Source) -> Iterator[FoundItem]:
    """The items of a collection too large to be held; a fault further on is an item that says so."""
    try:
        with source.files.opened(location) as stream:
            yield from source.features(stream_features(stream), location)
    except (OSError, ValueError) as error:
        yield source.unreadable(location, error)


def _read(location: str, source: Source) -> Any:  # noqa: ANN401
    if leads_out(location, source.root):
        raise OSError("a symbolic link out of the archive: expected a file inside it")
    return source.files.read_json(location)


def _is_catalogue(document: Any) -> bool:  # noqa: ANN401
    return isinstance(document, dict) and document.get("type") in ("Catalog", "Collection")


def _is_item(document: Any) -> bool:  # noqa: ANN401
    kinds = [document] if isinstance(document, dict) else document if isinstance(document, list) else []
    return any(isinstance(kind, dict) and kind.get("type") in ("Feature", "FeatureCollection") for kind in kinds)


def _has_documents_above(folder: str, root: str, source: Source) -> bool:
    """Whether a folder above one of a prefix, whose keys come later, has documents that may describe it."""
    while folder != root and is_below(folder, root):
        folder = folder.rpartition("/")[0]
        if any(name.lower().endswith(JSON) and name not in CATALOGUE_FILES for name in source.files.files_in(folder)):
            return True
    return False


def _target(href: str, location: str) -> str:
    """The absolute path or URL a link of a catalogue names; ValueError for what is neither."""
    if not href.isprintable():
        raise ValueError("expected printable characters")
    if "://" in href:
        urlsplit(href)
        return unquote(urlsplit(href).path) if href.startswith("file://") else href
    if location.startswith(SITES):
        target = urljoin(location, href)
        if "://" not in target:
            raise ValueError("expected http or https")
        return target
    scheme, _, rest = location.rpartition("://")
    path = str(Path(f"/{rest}" if scheme else rest).parent.joinpath(href))
    parts: list[str] = []
    for part in path.split("/"):
        parts = parts[:-1] if part == ".." else [*parts, part] if part not in ("", ".") else parts
    return f"{scheme}://{'/'.join(parts)}" if scheme else "/" + "/".join(parts)
