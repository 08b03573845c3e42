"""Items as archives give them, before anything is believed of them."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from flows.steps.archives.archive_files import SITES, ArchiveFiles, as_uri
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.href_secrets import document_without_secrets, without_secrets
from flows.steps.archives.json_documents import parse_document
from flows.steps.archives.raw_items import Members, RawItem, is_suspect, raw_item, text_of
from flows.steps.archives.signing import without_tokens

PLAIN = re.compile(r"[\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class FoundItem:
    """An item as found, without secrets, or why there is none: with a `cause` it is to be refused.

    `document` is None where nothing could be read; `is_removed` where the archive says that it took away what was at the
    place. `acknowledge` is to be called once the item is settled in the index or in quarantine. `kept_collection`: what
    the quarantine has as the collection of an item that it has no document of.
    """

    id: str
    place: ItemPlace
    document: dict[str, Any] | None
    cause: str | None = None
    is_removed: bool = False
    acknowledge: Callable[[], None] | None = field(default=None, compare=False, repr=False)
    kept_collection: str | None = None

    @property
    def collection(self) -> Any:  # noqa: ANN401, untrusted
        """What the item says that its collection is."""
        return self.document.get("collection") if self.document else self.kept_collection


class UnreadItem(FoundItem):
    """An item known by name, collection and digest, whose document is read when it is first looked at."""

    __slots__ = ("_read", "alternate", "raw")
    raw: RawItem
    alternate: str | None
    _read: tuple[dict[str, Any] | None, str | None]

    @property
    def is_suspect(self) -> bool:
        """Whether it must be read to be compared: its hrefs may have secrets, which come out first."""
        return is_suspect(bytes(self.raw.members.get("assets", b"")))

    def read(self) -> tuple[dict[str, Any] | None, str | None]:
        """(document, cause), read anew and not kept."""
        return read_text(self.raw.text, self.alternate)

    def __init__(self, raw: RawItem, place: ItemPlace, alternate: str | None = None) -> None:
        for name, value in {
            "id": raw.id,
            "place": place,
            "acknowledge": None,
            "is_removed": False,
            "kept_collection": None,
            "raw": raw,
            "alternate": alternate,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def collection(self) -> Any:  # noqa: ANN401, untrusted
        """What the item says that its collection is."""
        return self.raw.collection

    @property
    def document(self) -> dict[str, Any] | None:
        """The item without secrets, or None where it cannot be read."""
        return self._reading[0]

    @property
    def cause(self) -> str | None:
        """Why there is no document."""
        return self._reading[1]

    @property
    def _reading(self) -> tuple[dict[str, Any] | None, str | None]:
        try:
            return self._read
        except AttributeError:
            object.__setattr__(self, "_read", self.read())
            return self._read


def read_text(text: bytes, alternate: str | None) -> tuple[dict[str, Any] | None, str | None]:
    """(the item in a text, None), or (None, why it cannot be read)."""
    try:
        document = parse_document(text)
    except ValueError as error:
        return None, f"unreadable item: {type(error).__name__}: {error}"
    document = preferring(document, alternate) if alternate else document
    return (document_without_secrets(document) if is_suspect(text) else document), None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask an archive for: our collections or the archive's, bounds in degrees, and an RFC 3339 interval."""

    collections: tuple[str, ...] = ()
    bounds: tuple[float, float, float, float] | None = None
    interval: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """An archive being read: its files, the root that paths may not leave, the hosts and the kind of href it is read by."""

    root: str
    files: ArchiveFiles
    hosts: tuple[str, ...] = ()
    alternate: str | None = None

    def place(self, location: str, folder: str | None = None) -> ItemPlace:
        """The place of an item at a path or URL, without secrets; relative hrefs start in the folder of it."""
        plain = plain_location(location)
        start = plain.rpartition("/")[0] if folder is None else folder
        return ItemPlace(as_uri(plain), start, self.root, self.files.files_in, self.hosts)

    def found(self, document: Any, location: str, folder: str | None = None) -> FoundItem:  # noqa: ANN401
        """What a document is, as an item."""
        place, fallback = self.place(location, folder), self.name_of(location)
        if not isinstance(document, dict):
            return FoundItem(fallback, place, None, f"expected a STAC item, got {type(document).__name__}")
        clean = document_without_secrets(preferring(document, self.alternate) if self.alternate else document)
        return FoundItem(str(document.get("id") or fallback), place, clean)

    def unreadable(self, location: str, error: Exception) -> FoundItem:
        """An item that could not be read, with the reason."""
        cause = f"unreadable item: {type(error).__name__}: {without_tokens(str(error))}"
        return FoundItem(self.name_of(location), self.place(location), None, cause)

    def unreadable_folder(self, folder: str, cause: str) -> FoundItem:
        """A folder that could not be looked into, with the reason: any known item may lie in it."""
        return FoundItem(self.name_of(folder), self.place(folder, folder), None, f"unreadable folder: {cause}")

    def name_of(self, location: str) -> str:
        """What stands for an item without id at a path or URL: its path in the archive."""
        return path_in(plain_location(location), self.root)

    def items_of(self, document: Any, location: str) -> Iterator[FoundItem]:  # noqa: ANN401
        """The item or items of one JSON document."""
        features = document.get("features") if isinstance(document, dict) else document
        if isinstance(features, list):
            yield from self.features(features, location)
        else:
            yield self.found(document, location)

    def features(self, features: Iterable[Any], location: str) -> Iterator[FoundItem]:
        """The items of a collection that lies at a location."""
        location = plain_location(location)
        folder = location.rpartition("/")[0]
        for number, feature in enumerate(features):
            name = feature.get("id", number) if isinstance(feature, dict) else number
            yield self.found(feature, f"{location}#{name}", folder)

    def unread(self, features: Iterable[Members], location: str) -> Iterator[FoundItem]:
        """The items of a collection that lies at a location, left unread where they have a name."""
        location = plain_location(location)
        folder, start = location.rpartition("/")[0], as_uri(location)
        for number, members in enumerate(features):
            raw = raw_item(members, self.alternate)
            if raw is None:
                yield self._of_text(text_of(members), location, number)
            elif "/" in raw.id:
                yield UnreadItem(raw, self.place(f"{location}#{raw.id}", folder), self.alternate)
            else:
                mark = f"#{raw.id}" if "://" in location else _fragment(raw.id)
                place = ItemPlace(start + mark, folder, self.root, self.files.files_in, self.hosts)
                yield UnreadItem(raw, place, self.alternate)

    def _of_text(self, text: bytes, location: str, number: int) -> FoundItem:
        """An item of a collection that has no name to be known by."""
        try:
            feature = parse_document(text)
        except ValueError as error:
            return self.unreadable(f"{location}#{number}", error)
        name = feature.get("id", number) if isinstance(feature, dict) else number
        return self.found(feature, f"{location}#{name}", location.rpartition("/")[0])


def _fragment(name: str) -> str:
    """`#` and a name, as the URI of a file has them."""
    return f"%23{name}" if PLAIN.fullmatch(name) else quote(f"#{name}")


def plain_location(location: str) -> str:
    """A path, or a URL without signatures and tokens: what is stored of the address that a document was read from."""
    return without_secrets(location) if location.startswith(SITES) else location


def path_in(location: str, root: str) -> str:
    """The path of a location below the root of an archive; its last part for the root itself, or for what lies elsewhere."""
    below = root.rstrip("/") + "/"
    return location[len(below) :] if location.startswith(below) else location.rstrip("/").rpartition("/")[2]


def acknowledge(items: Iterable[FoundItem]) -> None:
    """Tell where the items came from that they are settled: a queue then forgets their messages."""
    for item in items:
        if item.acknowledge is not None:
            item.acknowledge()


def preferring(document: dict[str, Any], alternate: str) -> dict[str, Any]:
    """The item with the hrefs of a kind of alternate (such as s3) in place of the usual ones, where it has them."""
    assets = document.get("assets")
    if not isinstance(assets, dict):
        return document
    return {**document, "assets": {name: _preferring(asset, alternate) for name, asset in assets.items()}}


def _preferring(asset: Any, alternate: str) -> Any:  # noqa: ANN401
    others = asset.get("alternate") if isinstance(asset, dict) else None
    other = others.get(alternate) if isinstance(others, dict) else None
    href = other.get("href") if isinstance(other, dict) else None
    return {**asset, "href": href} if isinstance(href, str) and href else asset


def links_of(document: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """The links of a document that are mappings."""
    links = document.get("links") if isinstance(document, dict) else None
    return [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []
