"""Whether the files of a local archive are what they were: by their names, sizes and times, without reading them."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from flows.steps.archives.raw_items import READING

ALONE = (".parquet", ".geoparquet")
ENDS_BYTES = 4096
_LISTS_ITEMS = re.compile(rb'"type"\s*:\s*"FeatureCollection"')
_LINKS = re.compile(rb'"type"\s*:\s*"(Catalog|Collection)"')


def local_signature(location: str) -> str | None:
    """SHA-256 of the name, size and times of each file of a local archive; None for one that is elsewhere or cannot be listed whole.

    The change time is among them, which no program can set back.
    """
    if not os.path.isabs(location) or not os.path.exists(location):  # noqa: PTH110, PTH117, a URL is no path
        return None
    root = location if Path(location).is_dir() or holds_its_items(Path(location)) else str(Path(location).parent)
    digest = hashlib.sha256(READING)
    try:
        for path, found in _entries(root):
            digest.update(
                f"{path} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n".encode(errors="surrogateescape")
            )
    except OSError:
        return None
    return digest.hexdigest()


def holds_its_items(path: Path) -> bool:
    """Whether a file has its items in it, not links to them, as its first and last lines tell."""
    if path.suffix.lower() in ALONE:
        return True
    with path.open("rb") as stream:
        ends = stream.read(ENDS_BYTES)
        stream.seek(max(0, path.stat().st_size - ENDS_BYTES))
        ends += b"\n" + stream.read()
    return bool(_LISTS_ITEMS.search(ends)) and not _LINKS.search(ends)


def _entries(root: str) -> Iterator[tuple[str, os.stat_result]]:
    if not Path(root).is_dir():
        yield root, Path(root).stat()
        return
    for folder, folders, names in os.walk(root, onerror=_raise):
        folders.sort()
        for path in (os.path.join(folder, name) for name in sorted(names)):  # noqa: PTH118, a million of them
            yield path, os.stat(path, follow_symlinks=os.path.exists(path))  # noqa: PTH110, PTH116


def _raise(error: OSError) -> None:
    raise error
