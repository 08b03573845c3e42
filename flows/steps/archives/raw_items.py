"""Items as the bytes they came in: cut out of a collection, named and digested without being read."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from flows.steps.archives.href_secrets import without_secrets

READING = b"4"  # part of every digest: another number, with any change of what is read from an item, and the next full listing reads every one anew
EARLIER = (b"3", b"2", b"1")  # what it was before: that an item is the known one of its id is told by these too
FEW = 40  # members, of which the names are remembered
HREF = re.compile(rb'"href"\s*:\s*"((?:[^"\\]|\\.)*)"')
NOT_CONTENT = "links"  # they say where a copy of an item lies

Members = Mapping[str, msgspec.Raw]


class _Collection(msgspec.Struct):
    """An item collection, of whose items the members are left as they are written."""

    type: str
    features: list[dict[str, msgspec.Raw]]


_collection = msgspec.json.Decoder(_Collection)


@dataclass(frozen=True, slots=True)
class RawItem:
    """The members of an item as they are written, the name and collection that it states, and the digest of its content."""

    members: Members
    id: str
    collection: Any
    digest: bytes

    @property
    def text(self) -> bytes:
        """The item as JSON."""
        return text_of(self.members)


def raw_features(document: bytes) -> list[dict[str, msgspec.Raw]] | None:
    """The items of an item collection, unread; None for any other document, or one that is not plain JSON."""
    try:
        found = _collection.decode(document)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found.features if found.type == "FeatureCollection" else None


def raw_item(members: Members, alternate: str | None = None) -> RawItem | None:
    """An item known by name; None for one that states none. `alternate`: the kind of href it is read by."""
    try:
        name, collection = (orjson.loads(bytes(members.get(key, b"null"))) for key in ("id", "collection"))
    except orjson.JSONDecodeError:
        return None
    is_named = isinstance(name, str) and name
    return RawItem(members, name, collection, members_digest(members, alternate)) if is_named else None


def text_of(members: Members) -> bytes:
    """Members of an item as JSON."""
    return b"{" + b",".join([orjson.dumps(name) + b":" + bytes(value) for name, value in members.items()]) + b"}"


def is_suspect(text: bytes) -> bool:
    """Whether some JSON may have an href with a secret in it, or hides its hrefs behind escapes."""
    if b"\\u00" in text:
        return True
    if b"?" not in text and b"@" not in text:
        return False
    return any(b"\\" in href or _has_secret(href) for href in HREF.findall(text))


def _has_secret(href: bytes) -> bool:
    written = href.decode("utf-8", "replace")
    return without_secrets(written) != written


def members_digest(members: Members, alternate: str | None, reading: bytes | None = None) -> bytes:
    """SHA-256 of the members of an item as they are written, in the order of their names; `reading`: one of those before."""
    parts: list[bytes | msgspec.Raw] = [reading or READING, (alternate or "").encode()]
    for name, written in _content(tuple(members)) if len(members) <= FEW else _content.__wrapped__(tuple(members)):
        parts += (written, members[name])
    return hashlib.sha256(b"\n".join(parts)).digest()


@lru_cache(256)
def _content(names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """The names of members that are content, in their order, and how JSON writes them."""
    return [(name, orjson.dumps(name)) for name in sorted(names) if name != NOT_CONTENT]
