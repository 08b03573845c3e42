"""Items as archives give them, before anything is believed of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flows.steps.archive_files import ArchiveFiles, as_uri
from flows.steps.asset_hrefs import ItemPlace
from flows.steps.href_secrets import document_without_secrets


@dataclass(frozen=True, slots=True)
class FoundItem:
    """An item as found, without secrets, or why there is none: with a `cause` it is to be refused.

    `document` is None where nothing could be read; `is_removed` where the archive says that it took away what was at the
    place. `acknowledge` is to be called once the item is settled in the index or in quarantine.
    """

    id: str
    place: ItemPlace
    document: dict[str, Any] | None
    cause: str | None = None
    is_removed: bool = False
    acknowledge: Callable[[], None] | None = field(default=None, compare=False, repr=False)


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
        """The place of an item at a path or URL; relative hrefs start in the folder of it."""
        start = location.rpartition("/")[0] if folder is None else folder
        return ItemPlace(as_uri(location), start, self.root, self.files.files_in, self.hosts)

    def found(self, document: Any, location: str, folder: str | None = None) -> FoundItem:  # noqa: ANN401
        """What a document is, as an item."""
        place = self.place(location, folder)
        fallback = place.location.rpartition("/")[2]
        if not isinstance(document, dict):
            return FoundItem(fallback, place, None, f"expected a STAC item, got {type(document).__name__}")
        clean = document_without_secrets(preferring(document, self.alternate) if self.alternate else document)
        return FoundItem(str(document.get("id") or fallback), place, clean)

    def unreadable(self, location: str, error: Exception) -> FoundItem:
        """An item that could not be read, with the reason."""
        cause = f"unreadable item: {type(error).__name__}: {error}"
        return FoundItem(location.rpartition("/")[2], self.place(location), None, cause)

    def items_of(self, document: Any, location: str) -> Iterator[FoundItem]:  # noqa: ANN401
        """The item or items of one JSON document."""
        features = document.get("features") if isinstance(document, dict) else document
        if isinstance(features, list):
            yield from self.features(features, location)
        else:
            yield self.found(document, location)

    def features(self, features: Iterable[Any], location: str) -> Iterator[FoundItem]:
        """The items of a collection that lies at a location."""
        folder = location.rpartition("/")[0]
        for number, feature in enumerate(features):
            name = feature.get("id", number) if isinstance(feature, dict) else number
            yield self.found(feature, f"{location}#{name}", folder)


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
