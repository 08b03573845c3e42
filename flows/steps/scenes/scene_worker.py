"""A process that reads items into scenes for the one that started it, until that one ends or closes its pipe."""

import os
import signal
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import UUID

from datacube_config.archives import use_archives
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.found_items import FoundItem, UnreadItem, read_text
from flows.steps.scenes.frames import read_frame, write_frame
from flows.steps.scenes.normalise import SceneDocument
from flows.steps.scenes.rare_collection import rare_collection
from flows.steps.scenes.read_scenes import TOGETHER, NotTaken, Reading, read_scenes

READY = "ready"
FACTS = tuple(each.name for each in fields(SceneDocument) if each.name != "id")
NOT_TAKEN = fields(NotTaken)


def main() -> None:
    """Answer each batch of items on stdin with what they are on stdout; nothing else may be written there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests, files = sys.stdin.buffer, ArchiveFiles()
    own: str | None = read_frame(requests)
    use_archives(Path(own) if own else None)
    write_frame(answers, READY)
    with rare_collection():
        while True:
            try:
                archive, items = read_frame(requests)
            except EOFError:
                return
            some = (items[at : at + TOGETHER] for at in range(0, len(items), TOGETHER))
            readings = (read_scenes([_found(item, files) for item in few], archive) for few in some)
            write_frame(answers, [_sent(each) for few in readings for each in few])


def asked(found: UnreadItem) -> tuple[Any, ...]:
    """What a worker needs of an item."""
    place = found.place
    return found.raw.text, found.id, found.alternate, place.location, place.folder, place.root, place.hosts


def _found(item: tuple[Any, ...], files: ArchiveFiles) -> FoundItem:
    text, name, alternate, location, folder, root, hosts = item
    document, cause = read_text(text, alternate)
    return FoundItem(name, ItemPlace(location, folder, root, files.files_in, hosts), document, cause)


def _sent(reading: Reading) -> tuple[Any, ...]:
    if isinstance(reading, NotTaken):
        return reading.reason, reading.is_part
    return (reading.id.bytes, *(getattr(reading, name) for name in FACTS))


def told(answer: tuple[Any, ...]) -> Reading:
    """What a worker says of an item."""
    if len(answer) == len(NOT_TAKEN):
        return NotTaken(*answer)
    return SceneDocument(UUID(bytes=answer[0]), *answer[1:])
