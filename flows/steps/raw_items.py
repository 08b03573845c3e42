"""Items as the bytes they came in: cut out of a collection, named and digested without being read."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from flows.steps.href_secrets import without_secrets

READING = b"2"  # part of every digest: another number, and the next full listing reads every item anew
HREF = re.compile(rb'"href"\s*:\s*"((?:[^"\\]|\\.)*)"')
NOT_CONTENT = "links"  # they say where a copy of an item lies


class _Collection(msgspec.Struct):
    """An item collection whose items are left as they are."""

    type: str
    features: list[msgspec.Raw]


_collection = msgspec.json.Decoder(_Collection)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class RawItem:
    """The text of an item, the name and collection that it states, and the digest of its content."""

    text: bytes
    id: Any
    collection: Any
    digest: bytes


def raw_features(document: bytes) -> list[bytes] | None:
    """The texts of the items of an item collection; None for any other document, or one that is not plain JSON."""
    try:
        found = _collection.decode(document)
    except (msgspec.DecodeError, RecursionError):
        return None
    return [bytes(item) for item in found.features] if found.type == "FeatureCollection" else None


def raw_item(text: bytes, alternate: str | None = None) -> RawItem | None:
    """An item left unread; None for one that must be read to be compared. `alternate`: the kind of href it is read by."""
    try:
        members = _members.decode(text)
        name, collection = (orjson.loads(bytes(members.get(key, b"null"))) for key in ("id", "collection"))
    except (msgspec.DecodeError, RecursionError, orjson.JSONDecodeError):
        return None
    if not isinstance(name, str) or not name or is_suspect(bytes(members.get("assets", b""))):
        return None
    return RawItem(text, name, collection, _digest(members, alternate))


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


def _digest(members: Mapping[str, msgspec.Raw], alternate: str | None) -> bytes:
    """SHA-256 of the members of an item as they are written, in the order of their names."""
    parts = [READING, (alternate or "").encode()]
    for name in sorted(members):
        if name != NOT_CONTENT:
            parts += (orjson.dumps(name), bytes(members[name]))
    return hashlib.sha256(b"\n".join(parts)).digest()
