"""Items that an archive says it took away: tombstones of what was known of them, and an end of what was in quarantine."""

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from sqlalchemy import select, text

from datacube_config.connection import Index
from datacube_config.schema import known_item, quarantine
from flows.steps.archives.found_items import FoundItem
from flows.steps.ingesting.gone_items import mark_gone
from flows.steps.ingesting.item_keys import key_text
from flows.steps.ingesting.quarantine import release


def note_removed(index: Index, archive: str, items: Iterable[FoundItem]) -> tuple[str, ...]:
    """Note that removed items are gone, and return their ids; what was never known leaves nothing."""
    locations = list(dict.fromkeys(found.place.location for found in items if found.is_removed))
    if not locations:
        return ()
    kept = select(quarantine.c.collection, quarantine.c.item_id).where(quarantine.c.archive == archive)
    with index.engine.connect() as connection:
        now = connection.scalar(text("select clock_timestamp()"))
        refused = connection.execute(kept.where(quarantine.c.document["location"].astext.in_(locations))).all()
    known = _known_at(index, archive, locations)
    for owner, keys in known.items():
        mark_gone(index.engine, owner, keys, now)
    release(index, archive, [(row.collection, row.item_id) for row in refused])
    return tuple(dict.fromkeys(item_id for keys in known.values() for _, item_id in keys))


def _known_at(index: Index, archive: str, locations: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """(collection, item id) of the known items at some locations, by archive: those of the scenes there, and those of the files' names."""
    find = index.dc.index.datasets.get_datasets_for_location
    datasets = [each for location in locations for each in find(location, mode="exact")]
    owners = {archive, *(str(each.metadata_doc["properties"].get("neocube:archive")) for each in datasets)}
    table = known_item.c
    is_there = table.dataset_id.in_([each.id for each in datasets])
    stems = [key_text(PurePosixPath(location).stem) for location in locations]
    is_named = (table.archive == archive) & table.item_id.in_(stems)
    query = select(table.archive, table.collection, table.item_id).where(
        table.archive.in_(owners), is_there | is_named, table.gone_at.is_(None)
    )
    found: dict[str, list[tuple[str, str]]] = {}
    with index.engine.connect() as connection:
        for row in connection.execute(query):
            found.setdefault(row.archive, []).append((row.collection, row.item_id))
    return found
