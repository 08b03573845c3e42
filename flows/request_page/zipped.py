"""A folder as a zip file that is sent while it is packed: it never lies on this disk, and no part of it is held for long."""

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

PIECE_BYTES = 1 << 20


class _Sent:
    """What ZipFile writes to: it cannot seek, and gives away what it holds."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, piece: bytes) -> int:
        self._held += piece
        return len(piece)

    def flush(self) -> None:
        """Nothing waits here."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        piece, self._held = bytes(self._held), bytearray()
        return piece


def zipped(folder: Path, name: str) -> Iterator[bytes]:
    """The pieces of a zip file with a folder in it under a name, in the order of its files, not compressed again."""
    sent = _Sent()
    with ZipFile(sent, "w", ZIP_STORED) as packed:  # type: ignore[call-overload]
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = ZipInfo.from_file(path, f"{name}/{path.relative_to(folder)}", strict_timestamps=False)
            with path.open("rb") as source, packed.open(entry, "w", force_zip64=True) as target:
                while piece := source.read(PIECE_BYTES):
                    target.write(piece)
                    yield sent.taken()
    yield sent.taken()
