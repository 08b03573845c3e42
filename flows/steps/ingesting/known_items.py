"""What an archive was seen to hold: the digest of each item, the scene it became, when it was last seen."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Engine, text

from flows.steps.archives.found_items import FoundItem, UnreadItem
from flows.steps.ingesting.item_keys import UNREADABLE, earlier_digests, item_digest, item_key

OTHER = "another item of this id in this archive is taken: give that at {} an id of its own, or remove one"

# What is lost with a server that crashes is seen again by the next run; what is committed after it for good takes it along.
_SOON = text("set local synchronous_commit = off")
_REMEMBER = """
insert into neocube.known_item (archive, collection, item_id, digest, dataset_id, note, acquired, bounds, seen_by)
select :archive, collection, item_id, decode(digest, 'hex'), dataset_id, note, acquired, bounds, :run
from json_to_recordset(cast(:rows as json)) as seen (
    collection text, item_id text, digest text, dataset_id uuid, note text, acquired timestamptz, bounds float8[]
)
on conflict (archive, collection, item_id) do update set
    digest = excluded.digest, dataset_id = excluded.dataset_id, note = excluded.note, acquired = excluded.acquired,
    bounds = excluded.bounds, seen_by = excluded.seen_by, last_seen = now(), gone_at = null
"""
# One text for all keys: arrays of texts are written element by element, in Python.
_ASKED = "json_to_recordset(cast(:keys as json)) as asked (collection text, item_id text)"

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class FreshItem:
    """An item to be taken, with what it will be known by; `is_known`: it was seen before, saying something else."""

    found: FoundItem
    collection: str
    item_id: str
    digest: bytes
    is_known: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by in its archive."""
        return self.collection, self.item_id

    @property
    def is_another(self) -> str:
        """What is told of it where another item of its id is taken."""
        return OTHER.format(self.found.place.location)


@dataclass(slots=True)
class Sifted:
    """A batch: what is to be taken, how many are known and unchanged, (id, note) of known parts of other scenes.

    `others`: to be taken in their order where the item of their id is refused that is taken before them.
    """

    fresh: list[FreshItem] = field(default_factory=list)
    others: list[FreshItem] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class KnownItem:
    """An item as it is to be remembered: without a scene it is part of another (note), or in quarantine."""

    fresh: FreshItem
    dataset_id: UUID | None = None
    note: str | None = None
    acquired: datetime | None = None
    bounds: Bounds | None = None


def sift(
    engine: Engine,
    archive: str,
    batch: Sequence[FoundItem],
    run: UUID,
    *,
    dry_run: bool,
    under_way: Mapping[tuple[str, str], bytes] = MappingProxyType({}),
    since: datetime | None = None,
) -> Sifted:
    """Which items of a batch are new or changed; the others are noted as seen by this run.

    `under_way`: digests of the items of this run that are not remembered yet, by collection and item id. `since`: when the listing
    began, if it comes to everything once: of different items of one id the known one is to be taken, else the first, before the others.
    """
    sifted, seen, new = Sifted(), list[FreshItem](), dict[tuple[str, str, bytes], FreshItem]()
    distinct = _distinct(batch)
    known = _known(engine, archive, distinct)
    distinct = [item if _is_as_known(item, known) else _read_if_suspect(item) for item in distinct]
    others = _others(distinct, known, run, under_way, since) if since else []
    is_other = set(map(id, others))
    for item in (item for item in distinct if id(item) not in is_other):
        key, row = item.key, known.get(item.key)
        before = under_way.get(key)
        if before is not None or row is None or row.digest != item.digest:
            if before != item.digest:
                is_new = before is None and row is None
                new.setdefault((*key, item.digest), item if is_new else replace(item, is_known=True))
        elif row.seen_by != run:
            if _is_refused(row):
                new.setdefault((*key, item.digest), replace(item, is_known=True))
            else:
                seen.append(item)
                if row.dataset_id is None:
                    sifted.skipped.append((item.found.id, row.note))
    sifted.fresh = list(new.values())
    sifted.unchanged = len(seen) - len(sifted.skipped)
    sifted.others = [replace(item, is_known=item.key in known or item.key in under_way) for item in others]
    sifted.repeated = len(batch) - len(seen) - len(sifted.fresh) - len(others)
    if not dry_run:
        _touch(engine, archive, seen, run)
    return sifted


def _others(
    items: Sequence[FreshItem],
    known: Mapping[tuple[str, str], Any],
    run: UUID,
    under_way: Mapping[tuple[str, str], bytes],
    since: datetime,
) -> list[FreshItem]:
    """Those of a listing's items that another item of their id came before in, or is the known one beside them; what was refused is neither."""
    taken = {key: row for key, row in known.items() if not _is_refused(row)}
    came = {key: row.digest for key, row in taken.items() if row.seen_by == run and row.last_seen >= since}
    chosen = {**under_way, **came}
    for item in items:
        if _is_as_known(item, taken):
            chosen.setdefault(item.key, item.digest)
    n_of_key = Counter(item.key for item in items)
    for item in items:
        row = taken.get(item.key)
        if row and n_of_key[item.key] > 1 and item.key not in chosen and row.digest in earlier_digests(item.found):
            chosen[item.key] = item.digest
    return [item for item in items if chosen.setdefault(item.key, item.digest) != item.digest]


def refused_keys(engine: Engine, archive: str, items: Sequence[FreshItem], run: UUID) -> set[tuple[str, str]]:
    """The keys of items of which this run has refused what it came to first."""
    known = _known(engine, archive, items) if items else {}
    return {key for key, row in known.items() if row.seen_by == run and _is_refused(row)}


def _is_refused(row: Any) -> bool:  # noqa: ANN401, a row of `_known`
    """Whether what is known is in quarantine: neither a scene nor a part of one."""
    return row.dataset_id is None and row.note is None


def _is_as_known(item: FreshItem, known: Mapping[tuple[str, str], Any]) -> bool:
    row = known.get(item.key)
    return row is not None and row.digest == item.digest


def remember(engine: Engine, archive: str, items: Iterable[KnownItem], run: UUID) -> None:
    """Keep what items were seen as; the caller has committed their scenes."""
    last = {each.fresh.key: each for each in items}
    if not last:
        return
    # In the order of their keys, so that two runs that meet wait for each other and never deadlock.
    rows = [last[key] for key in sorted(last)]
    values = [
        {
            "collection": each.fresh.collection,
            "item_id": each.fresh.item_id,
            "digest": each.fresh.digest.hex(),
            "dataset_id": each.dataset_id,
            "note": each.note,
            "acquired": each.acquired,
            "bounds": each.bounds,
        }
        for each in rows
    ]
    with engine.begin() as connection:
        written = {"archive": archive, "run": run, "rows": orjson.dumps(values).decode()}
        connection.execute(_SOON)
        connection.execute(text(_REMEMBER), written)


def touch_known(engine: Engine, archive: str, batch: Sequence[FoundItem], run: UUID) -> None:
    """Note as seen the known ones among items that were not asked for, whatever they are now."""
    _touch(engine, archive, [FreshItem(found, *item_key(found), b"") for found in batch], run)


def _distinct(batch: Sequence[FoundItem]) -> list[FreshItem]:
    """The items of a batch without those that come twice the same."""
    found: dict[tuple[str, str, bytes], FreshItem] = {}
    for each in batch:
        item = FreshItem(each, *item_key(each), _digest(each))
        found.setdefault((*item.key, item.digest), item)
    return list(found.values())


def _read_if_suspect(item: FreshItem) -> FreshItem:
    """The item, by the digest of its document without secrets if its text may have any."""
    found = item.found
    if not isinstance(found, UnreadItem) or not found.is_suspect or found.document is None:
        return item
    return replace(item, digest=item_digest(found.document))


def _digest(found: FoundItem) -> bytes:
    """The digest of an item as it came; one whose document was not read yet is not read for it."""
    if isinstance(found, UnreadItem):
        return found.raw.digest
    return UNREADABLE if found.document is None else item_digest(found.document)


def _known(engine: Engine, archive: str, items: Sequence[FreshItem]) -> dict[tuple[str, str], Any]:
    query = text(
        "select k.collection, k.item_id, k.digest, k.dataset_id, k.note, k.seen_by, k.last_seen from neocube.known_item k "
        f"join {_ASKED} using (collection, item_id) where k.archive = :archive"
    )
    with engine.connect() as connection:
        rows = connection.execute(query, {"archive": archive, "keys": _keys(items)})
        return {(row.collection, row.item_id): row for row in rows}


def _touch(engine: Engine, archive: str, items: Sequence[FreshItem], run: UUID) -> None:
    if not items:
        return
    query = text(
        "with mine as materialized (select k.ctid from neocube.known_item k "
        f"join {_ASKED} using (collection, item_id) where k.archive = :archive order by k.collection, k.item_id for update of k) "
        "update neocube.known_item set last_seen = now(), seen_by = :run, gone_at = null "
        "where ctid in (select ctid from mine)"
    )
    with engine.begin() as connection:
        connection.execute(_SOON)
        connection.execute(query, {"archive": archive, "run": run, "keys": _keys(items)})


def _keys(items: Sequence[FreshItem]) -> str:
    return orjson.dumps([{"collection": item.collection, "item_id": item.item_id} for item in items]).decode()
