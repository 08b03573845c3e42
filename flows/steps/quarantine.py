"""Items that could not be taken: kept with their cause and their document, and retried."""

import json
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from datacube_config.connection import Index
from datacube_config.schema import quarantine
from flows.steps.archive_files import ArchiveFiles
from flows.steps.asset_hrefs import ItemPlace
from flows.steps.items import FoundItem


def keep(index: Index, archive: str, refused: Iterable[tuple[FoundItem, str]]) -> None:
    """Put items into quarantine, or note that they failed again, with the new cause."""
    rows = {found.id: _row(archive, found, cause) for found, cause in refused}
    if not rows:
        return
    add = insert(quarantine)
    again = add.on_conflict_do_update(
        constraint="quarantine_item",
        set_={
            "cause": add.excluded.cause,
            "document": add.excluded.document,
            "last_tried": func.now(),
            "attempts": quarantine.c.attempts + 1,
        },
    )
    with index.engine.begin() as connection:
        connection.execute(again, list(rows.values()))


def release(index: Index, archive: str, item_ids: Iterable[str]) -> None:
    """Take items that passed out of quarantine."""
    passed = [_clean(name) for name in item_ids]
    if passed:
        with index.engine.begin() as connection:
            here = (quarantine.c.archive == archive, quarantine.c.item_id.in_(passed))
            connection.execute(delete(quarantine).where(*here))


def listed(index: Index) -> list[dict[str, Any]]:
    """What is in quarantine: item id, archive, cause, since when, and how often it was tried."""
    with index.engine.connect() as connection:
        rows = connection.execute(select(quarantine).order_by(quarantine.c.since, quarantine.c.item_id)).all()
    return [
        {
            "id": row.item_id,
            "archive": row.archive,
            "cause": row.cause,
            "since": row.since.isoformat(),
            "attempts": row.attempts,
        }
        for row in rows
    ]


def kept_items(index: Index, files: ArchiveFiles) -> Iterator[tuple[str, FoundItem]]:
    """(archive, item) of everything in quarantine, as it was stored."""
    with index.engine.connect() as connection:
        rows = connection.execute(select(quarantine).order_by(quarantine.c.archive, quarantine.c.item_id)).all()
    for row in rows:
        stored = row.document
        place = ItemPlace(stored["location"], stored["folder"], stored["root"], files.files_in, tuple(stored["hosts"]))
        yield row.archive, FoundItem(row.item_id, place, stored["item"], None if stored["item"] else row.cause)


def _row(archive: str, found: FoundItem, cause: str) -> dict[str, Any]:
    place = found.place
    stored = {
        "item": found.document,
        "location": place.location,
        "folder": place.folder,
        "root": place.root,
        "hosts": list(place.hosts),
    }
    collection = found.document.get("collection") if found.document else None
    name = _clean(found.id)
    return {
        "id": uuid5(NAMESPACE_URL, f"{archive} {name}"),
        "archive": archive,
        "collection": _clean(collection) if isinstance(collection, str) else None,
        "item_id": name,
        "cause": _clean(cause),
        "document": _storable(stored),
    }


def _clean(text: str) -> str:
    """Text without the NUL that PostgreSQL cannot hold."""
    return text.replace("\x00", "")


def _storable(document: dict[str, Any]) -> Any:  # noqa: ANN401
    """The document as PostgreSQL's JSON can hold it: without NUL, NaN and infinities."""
    return json.loads(json.dumps(document, default=str).replace("\\u0000", ""), parse_constant=lambda _: None)
