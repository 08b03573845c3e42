"""Items that could not be taken: kept with their cause and their document, and retried."""

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson
from sqlalchemy import ColumnElement, Engine, case, func, select, text
from sqlalchemy.dialects.postgresql import insert

from datacube_config.connection import Index
from datacube_config.schema import quarantine
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.items import FoundItem
from flows.steps.ingesting.known_items import key_text

PAUSES = (timedelta(hours=1), timedelta(hours=4), timedelta(days=1), timedelta(days=3), timedelta(days=7))
HEALING = ("missing asset", "incomplete asset", "unreadable")
KEPT_PER_QUERY = 200
_log = logging.getLogger(__name__)
_RELEASE = text(
    "delete from neocube.quarantine where archive = :archive "
    "and item_id in (select json_array_elements_text(cast(:names as json)))"
)


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
            "retry_at": case((add.excluded.retry_at.is_(None), None), else_=func.now() + _pause()),
        },
    )
    # In the order of their keys, so that two runs that meet wait for each other and never deadlock.
    with index.engine.begin() as connection:
        connection.execute(again, [row for _, row in sorted(rows.items())])
    for row in rows.values():
        _log.warning("item quarantined", extra={"archive": archive, "item": row["item_id"], "cause": row["cause"]})


def _pause() -> ColumnElement[timedelta]:
    """The pause before the next try, by the tries so far."""
    steps = [(quarantine.c.attempts + 1 <= number, pause) for number, pause in enumerate(PAUSES[:-1], 1)]
    return case(*steps, else_=PAUSES[-1])


def may_heal(cause: str) -> bool:
    """Whether what a cause says is wrong may come right by itself, as files that arrive late do."""
    return any(sign in cause for sign in HEALING)


def release(index: Index, archive: str, item_ids: Iterable[str]) -> None:
    """Take items that passed out of quarantine."""
    passed = [key_text(name) for name in item_ids]
    if passed:
        with index.engine.begin() as connection:
            connection.execute(_RELEASE, {"archive": archive, "names": orjson.dumps(passed).decode()})


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
            "retry_at": row.retry_at.isoformat() if row.retry_at else None,
        }
        for row in rows
    ]


def has_kept(engine: Engine, archive: str) -> bool:
    """Whether anything of an archive is in quarantine."""
    with engine.connect() as connection:
        return (
            connection.execute(select(quarantine.c.id).where(quarantine.c.archive == archive).limit(1)).first()
            is not None
        )


def kept_archives(index: Index) -> list[str]:
    """The archives that have items in quarantine."""
    with index.engine.connect() as connection:
        return list(
            connection.execute(select(quarantine.c.archive).distinct().order_by(quarantine.c.archive)).scalars()
        )


def kept_items(index: Index, files: ArchiveFiles, archive: str, *, only_due: bool) -> Iterator[FoundItem]:
    """What is in quarantine of an archive, as it was stored; with `only_due`, what is to be tried again by now."""
    table, after = quarantine.c, ""
    due = [table.retry_at <= func.now()] if only_due else []
    while True:
        query = select(quarantine).where(table.archive == archive, table.item_id > after, *due)
        with index.engine.connect() as connection:
            rows = connection.execute(query.order_by(table.item_id).limit(KEPT_PER_QUERY)).all()
        for row in rows:
            stored = row.document
            place = ItemPlace(
                stored["location"], stored["folder"], stored["root"], files.files_in, tuple(stored["hosts"])
            )
            yield FoundItem(row.item_id, place, stored["item"], None if stored["item"] else row.cause)
        if not rows:
            return
        after = rows[-1].item_id


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
    name = key_text(found.id)
    return {
        "id": uuid5(NAMESPACE_URL, f"{archive} {name}"),
        "archive": archive,
        "collection": key_text(collection) if isinstance(collection, str) else None,
        "item_id": name,
        "cause": _clean(cause),
        "document": _storable(stored),
        "retry_at": datetime.now(UTC) + PAUSES[0] if may_heal(cause) else None,
    }


def _storable(value: Any) -> Any:  # noqa: ANN401
    """A document as PostgreSQL's JSON can hold it: without NUL, lone surrogates, NaN and infinities."""
    if isinstance(value, dict):
        return {_clean(str(name)): _storable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if value is None or isinstance(value, int) else _clean(str(value))


def _clean(text: str) -> str:
    """Text without what PostgreSQL cannot hold: NUL and lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
