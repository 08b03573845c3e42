"""Items that could not be taken: kept with their cause and their document, and retried."""

import logging
from collections.abc import Iterable, Iterator, Sequence
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
from flows.steps.ingesting.item_keys import item_key, key_text

PAUSES = (timedelta(hours=1), timedelta(hours=4), timedelta(days=1), timedelta(days=3), timedelta(days=7))
HEALING = ("missing asset", "incomplete asset", "unreadable")
KEPT_PER_QUERY = 200
_log = logging.getLogger(__name__)
# What could not be read states no collection: it is what passes under its name, whatever that one's collection is.
_RELEASE = text(
    "delete from neocube.quarantine q using json_to_recordset(cast(:keys as json)) as passed (collection text, item_id text) "
    "where q.archive = :archive and q.item_id = passed.item_id and q.collection in (passed.collection, '')"
)


# What has no id was once known by the last part of its path alone.
_FORMER = text(
    "delete from neocube.quarantine q using json_to_recordset(cast(:named as json)) as named (former text, location text) "
    "where q.archive = :archive and q.collection = '' and q.item_id = named.former and q.document ->> 'location' = named.location"
)


def keep(index: Index, archive: str, refused: Sequence[tuple[FoundItem, str]]) -> None:
    """Put items into quarantine, or note that they failed again, with the new cause."""
    rows = {item_key(found): _row(archive, found, cause) for found, cause in refused}
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
        if former := [_former(found) for found, _ in refused if found.document is None and "/" in found.id]:
            connection.execute(_FORMER, {"archive": archive, "named": orjson.dumps(former).decode()})
    for row in rows.values():
        _log.warning("item quarantined", extra={"archive": archive, "item": row["item_id"], "cause": row["cause"]})


def _pause() -> ColumnElement[timedelta]:
    """The pause before the next try, by the tries so far."""
    steps = [(quarantine.c.attempts + 1 <= number, pause) for number, pause in enumerate(PAUSES[:-1], 1)]
    return case(*steps, else_=PAUSES[-1])


def may_heal(cause: str) -> bool:
    """Whether what a cause says is wrong may come right by itself, as files that arrive late do."""
    return any(sign in cause for sign in HEALING)


def release(index: Index, archive: str, keys: Iterable[tuple[str, str]]) -> None:
    """Take items that passed, by collection (empty where they state none) and id, out of quarantine."""
    passed = [{"collection": key_text(collection), "item_id": key_text(name)} for collection, name in keys]
    if passed:
        with index.engine.begin() as connection:
            connection.execute(_RELEASE, {"archive": archive, "keys": orjson.dumps(passed).decode()})


def listed(index: Index) -> list[dict[str, Any]]:
    """What is in quarantine: item id, archive, collection, cause, since when, and how often it was tried."""
    with index.engine.connect() as connection:
        rows = connection.execute(select(quarantine).order_by(quarantine.c.since, quarantine.c.item_id)).all()
    return [
        {
            "id": row.item_id,
            "archive": row.archive,
            "collection": row.collection or None,
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
    table, after = quarantine.c, ("", "")
    due = [table.retry_at <= func.now()] if only_due else []
    while True:
        further = func.row(table.item_id, table.collection) > func.row(*after)
        query = select(quarantine).where(table.archive == archive, further, *due)
        with index.engine.connect() as connection:
            rows = connection.execute(query.order_by(table.item_id, table.collection).limit(KEPT_PER_QUERY)).all()
        for row in rows:
            stored = row.document
            place = ItemPlace(
                stored["location"], stored["folder"], stored["root"], files.files_in, tuple(stored["hosts"])
            )
            cause = None if stored["item"] else row.cause
            yield FoundItem(row.item_id, place, stored["item"], cause, kept_collection=row.collection or None)
        if not rows:
            return
        after = rows[-1].item_id, rows[-1].collection


def _row(archive: str, found: FoundItem, cause: str) -> dict[str, Any]:
    place = found.place
    stored = {
        "item": found.document,
        "location": place.location,
        "folder": place.folder,
        "root": place.root,
        "hosts": list(place.hosts),
    }
    collection, name = item_key(found)
    return {
        "id": uuid5(NAMESPACE_URL, f"{archive} {collection} {name}"),
        "archive": archive,
        "collection": collection,
        "item_id": name,
        "cause": _clean(cause),
        "document": _storable(stored),
        "retry_at": datetime.now(UTC) + PAUSES[0] if may_heal(cause) else None,
    }


def _former(found: FoundItem) -> dict[str, str]:
    return {"former": key_text(found.id.rpartition("/")[2]), "location": _clean(found.place.location)}


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
