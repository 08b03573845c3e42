"""Untrusted JSON: documents of limited size and depth, and collections of any size feature by feature."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

ITEM_BYTES = 32 << 20  # one document: an item, a catalogue, a page that is read whole
PAGE_BYTES = 2 << 30  # a collection of items that is read as a stream
MAX_DEPTH = 64
TOO_DEEP = f"the document is nested deeper than {MAX_DEPTH} levels"
ALIKE = bytes.maketrans(b"{}", b"[]")
NO_BRACKETS = bytes(sorted({*range(256)} - {*b'[]{}"'}))
CHUNK_BYTES = 4 << 20
AFTER_VALUE = frozenset(",]}: \t\r\n")  # a number that is followed by anything else may go on

_decoder = json.JSONDecoder()


class TooLarge(ValueError):
    """More bytes or levels than a document of its kind may have."""


def parse_document(raw: bytes) -> Any:  # noqa: ANN401, whatever the file holds
    """The document in some bytes; ValueError if it is no JSON, too large or too deep."""
    if len(raw) > ITEM_BYTES:
        raise TooLarge(f"expected a document of at most {ITEM_BYTES >> 20} MiB, got more")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return require_shallow(_parse_tolerantly(raw))
    if depth_of(raw) > MAX_DEPTH:
        raise TooLarge(TOO_DEEP)
    return document


def _parse_tolerantly(raw: bytes) -> Any:  # noqa: ANN401
    """What orjson refuses: NaN, a byte order mark, other encodings."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise TooLarge(TOO_DEEP) from None


def depth_of(raw: bytes) -> int:
    """How deep lists and mappings are nested in valid JSON, 65 for anything deeper, without looking at each value.

    What is left of the text is its brackets: those within strings have an odd number of quotes before them.
    """
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = raw.translate(ALIKE, NO_BRACKETS).replace(b'""', b"")
    if b'"' in brackets:
        brackets = b"".join(brackets.split(b'"')[::2])
    depth = 0
    while brackets and depth <= MAX_DEPTH:
        brackets = brackets.replace(b"[]", b"")
        depth += 1
    return depth


def require_shallow(document: Any) -> Any:  # noqa: ANN401
    """The document itself; TooLarge if lists and mappings are nested deeper than 64 levels."""
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return document
    raise TooLarge(TOO_DEEP)


def stream_features(stream: BinaryIO) -> Iterator[Any]:
    """The features of an item collection, or of a list of items, one at a time; ValueError where it is neither."""
    text = _Window(stream)
    opening = text.take()
    if opening == "[":
        yield from _elements(text)
        return
    if opening != "{":
        raise ValueError(f"expected an item collection, got {opening!r}")
    n_lists = 0
    for name in _names(text):
        if name == "features" and text.peek() == "[":
            n_lists += 1
            text.take()
            yield from _elements(text)
        else:
            text.value()
    if not n_lists:
        raise TooLarge(f"expected an item collection, or a document of at most {ITEM_BYTES >> 20} MiB")


def _names(text: "_Window") -> Iterator[str]:
    """The keys of a mapping whose brace is taken; the caller takes each value."""
    if text.peek() == "}":
        return
    while True:
        name = text.value()
        if not isinstance(name, str) or text.take() != ":":
            raise ValueError("expected a key and a colon")
        yield name
        if text.take_one_of(",}") == "}":
            return


def _elements(text: "_Window") -> Iterator[Any]:
    """The elements of a list whose bracket is taken."""
    if text.peek() == "]":
        text.take()
        return
    while True:
        yield require_shallow(text.value())
        if text.take_one_of(",]") == "]":
            return


class _Window:
    """A moving window on the text of a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._n_read, self._ended = "", 0, 0, False

    def peek(self) -> str:
        """The next character that is no space; nothing at the end."""
        while True:
            while self._at < len(self._text):
                if not self._text[self._at].isspace():
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self) -> str:
        """The next character that is no space, left behind."""
        found = self.peek()
        self._at += 1
        return found

    def take_one_of(self, expected: str) -> str:
        """The next character; ValueError for another than expected."""
        found = self.take()
        if not found or found not in expected:
            raise ValueError(
                f"expected {' or '.join(expected)}, got {found or 'the end'!r}: the document is cut or no JSON"
            )
        return found

    def value(self) -> Any:  # noqa: ANN401
        """The next value, whole."""
        self.peek()
        while True:
            try:
                found, end = _decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise TooLarge(TOO_DEEP) from None
            except json.JSONDecodeError:
                if len(self._text) - self._at > ITEM_BYTES:
                    raise TooLarge(f"expected items of at most {ITEM_BYTES >> 20} MiB, got more") from None
                if not self._more():
                    raise
            else:
                if self._text[end : end + 1] in AFTER_VALUE or not self._more():
                    self._at = end
                    return found

    def _more(self) -> bool:
        """Read on: as much again as is still looked at; False at the end."""
        if self._ended:
            return False
        chunk = self._stream.read(max(CHUNK_BYTES, len(self._text) - self._at))
        self._n_read += len(chunk)
        if self._n_read > PAGE_BYTES:
            raise TooLarge(f"expected a collection of at most {PAGE_BYTES >> 30} GiB, got more")
        self._ended = not chunk
        self._text, self._at = self._text[self._at :] + self._decode.decode(chunk, final=self._ended), 0
        return True
