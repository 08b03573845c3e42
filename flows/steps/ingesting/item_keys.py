"""What an item is known by in its archive: its collection and id as keys of the database, and the digest of what it says."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import orjson

from flows.steps.archives.found_items import FoundItem, UnreadItem
from flows.steps.archives.raw_items import EARLIER, READING, members_digest

UNREADABLE = b""  # the digest of what could not be read: a name in quarantine, not an item
KEY_BYTES = 500


def item_digest(document: dict[str, Any], reading: bytes | None = None) -> bytes:
    """SHA-256 of an item's canonical JSON without its links, which say where a copy of it lies; `reading`: one of those before."""
    content = {name: value for name, value in document.items() if name != "links"}
    try:
        canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # numbers beyond 64 bits, lone surrogates
        canonical = json.dumps(content, sort_keys=True, default=str).encode()
    return hashlib.sha256((reading or READING) + canonical).digest()


def earlier_digests(found: FoundItem) -> Iterator[bytes]:
    """What releases before knew an item by, if it said the same: digests of its text and of its document."""
    for reading in EARLIER:
        if isinstance(found, UnreadItem):
            yield members_digest(found.raw.members, found.alternate, reading)
        if found.document is not None:
            yield item_digest(found.document, reading)


def key_text(value: object) -> str:
    """Text as a key of the database can hold it: no NUL, no lone surrogate, and short."""
    if isinstance(value, str) and value.isascii() and len(value) <= KEY_BYTES and "\x00" not in value:
        return value
    clean = str(value or "").replace("\x00", "").encode("utf-8", "replace").decode()
    if len(clean.encode()) <= KEY_BYTES:
        return clean
    return f"{clean[:100]}…{hashlib.sha256(clean.encode()).hexdigest()}"


def item_key(found: FoundItem) -> tuple[str, str]:
    """What an item is known by in its archive: its collection, empty where it states none, and its id."""
    collection = found.collection
    return key_text(collection if isinstance(collection, str) else ""), key_text(found.id)
