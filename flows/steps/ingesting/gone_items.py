"""What an archive had and no longer has: tombstones of items, whose scenes stay as they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, func, or_, select, text

from datacube_config.schema import known_item
from flows.steps.ingesting.item_keys import UNREADABLE
from flows.steps.ingesting.known_items import Bounds

GONE_BATCH = 100
_MARK = """
update neocube.known_item set gone_at = now() where archive = :archive and last_seen < :since
and (collection, item_id) in (select * from unnest(cast(:collections as text[]), cast(:ids as text[])))
"""
_RELEASE = """
delete from neocube.quarantine where id in (
    select q.id from neocube.quarantine q join neocube.known_item k using (archive, collection, item_id)
    where archive = :archive and k.gone_at is not null
    and (collection, item_id) in (select * from unnest(cast(:collections as text[]), cast(:ids as text[])))
    order by collection, item_id for update of q)
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a listing was asked for, by which the items it should have had are known."""

    archive: str
    collections: tuple[str, ...] = ()
    bounds: Bounds | None = None
    start: datetime | None = None
    end: datetime | None = None


def unseen(engine: Engine, scope: Scope, since: datetime) -> Iterator[list[tuple[str, str, UUID | None]]]:
    """Batches of (collection, item id, dataset id) that a listing begun at `since` should have had and did not."""
    after = ("", "")
    while True:
        with engine.connect() as connection:
            query = (
                select(known_item.c.collection, known_item.c.item_id, known_item.c.dataset_id)
                .where(*_in_scope(scope), known_item.c.last_seen < since, known_item.c.gone_at.is_(None))
                .where(known_item.c.digest != UNREADABLE)
                .where(func.row(known_item.c.collection, known_item.c.item_id) > func.row(*after))
                .order_by(known_item.c.collection, known_item.c.item_id)
                .limit(GONE_BATCH)
            )
            rows = [(row[0], row[1], row[2]) for row in connection.execute(query)]
        if not rows:
            return
        yield rows
        after = rows[-1][:2]


def mark_gone(engine: Engine, archive: str, keys: Sequence[tuple[str, str]], since: datetime) -> None:
    """Note that the archive no longer has some items, unless somebody has seen them since; they leave the quarantine."""
    asked = {"collections": [key[0] for key in keys], "ids": [key[1] for key in keys]}
    with engine.begin() as connection:
        connection.execute(text(_MARK), {"archive": archive, "since": since, **asked})
        connection.execute(text(_RELEASE), {"archive": archive, **asked})


def has_gone(engine: Engine, archive: str) -> bool:
    """Whether an archive lost something that it had."""
    query = select(known_item.c.item_id).where(known_item.c.archive == archive, known_item.c.gone_at.is_not(None))
    with engine.connect() as connection:
        return connection.execute(query.limit(1)).first() is not None


def _in_scope(scope: Scope) -> list[Any]:
    """Conditions on known items; one whose time or place is not known is in every scope."""
    table, conditions = known_item.c, [known_item.c.archive == scope.archive]
    if scope.collections:
        conditions.append(table.collection.in_(scope.collections))
    if scope.start and scope.end:
        inside = (table.acquired >= scope.start) & (table.acquired < scope.end)
        conditions.append(or_(table.acquired.is_(None), inside))
    if scope.bounds:
        west, south, east, north = scope.bounds
        item_west, item_south, item_east, item_north = (table.bounds[number] for number in range(1, 5))
        across = or_((item_west <= east) & (item_east >= west), (item_west - 360 <= east) & (item_east - 360 >= west))
        conditions.append(or_(table.bounds.is_(None), across & (item_south <= north) & (item_north >= south)))
    return conditions
