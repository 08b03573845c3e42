"""What an item is known by in its archive: its collection and id as keys of the database, and the digest of what it says."""

import hashlib
import json
from typing import Any

import orjson

from flows.steps.archives.found_items import FoundItem
from flows.steps.archives.raw_items import READING

UNREADABLE = b""  # the digest of what could not be read: a name in quarantine, not an item
KEY_BYTES = 500


def item_digest(document: dict[str, Any]) -> bytes:
    """SHA-256 of an item's canonical JSON without its links, which say where a copy of it lies."""
    content = {name: value for name, value in document.items() if name != "links"}
    try:
        canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # numbers beyond 64 bits, lone surrogates
        canonical = json.dumps(content, sort_keys=True, default=str).encode()
    return hashlib.sha256(READING + canonical).digest()


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
