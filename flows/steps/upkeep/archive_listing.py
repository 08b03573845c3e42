"""What archives hold and what the index holds of it, in temporary tables: nothing grows in memory with the archive."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shapely.geometry import box
from sqlalchemy import Connection, text

from datacube_config.archives import collection_aliases
from datacube_config.connection import Index
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.in_batches import in_batches
from flows.steps.archives.item_refused import ItemRefused, NotAScene
from flows.steps.archives.items import FoundItem, Wanted
from flows.steps.archives.listed_items import listed_items
from flows.steps.index.index_rows import SCENE_KIND, dataset_rows
from flows.steps.scenes.datastrip import same_slice
from flows.steps.scenes.footprint import lonlat_footprint
from flows.steps.scenes.item_facts import sensing_time
from flows.steps.scenes.landsat_identity import refuse_temperature
from flows.steps.scenes.normalise import scene_id
from flows.steps.scenes.scene_identity import identify
from products.area import Area
from products.covered_ground import asked_box
from products.period import Period
from products.sensors import SENSORS

ROWS_PER_COPY = 2000
EDGE = timedelta(days=1)  # catalogues differ in the sensing time of one acquisition by up to a pass

# An item without identity is a case of its own: its acquisition is its name. `stated`: the collection that the item names, empty where it names none.
LISTING = """
create temporary table listing (
    archive text not null, item_id text not null, collection text not null, product text not null,
    acquisition text not null, rendition text not null, slice text not null, scene uuid, acquired timestamptz, cause text,
    stated text not null, part smallint not null default 0)
"""
INDEXED = """
create temporary table indexed as
select r.id, r.product, r.facts ->> 'neocube:acquisition' as acquisition, r.facts ->> 'neocube:rendition' as rendition,
    coalesce(r.facts ->> 'neocube:slice', '') as slice, 0::smallint as part, r.facts ->> 'neocube:item_id' as item_id, r.facts ->> 'neocube:archive' as archive,
    r.facts ->> 'neocube:collection' as collection, (r.facts ->> 'datetime')::timestamptz as acquired,
    r.archived is null as active, (r.metadata #>> '{{extent,lon,begin}}')::float8 as west,
    (r.metadata #>> '{{extent,lon,end}}')::float8 as east, (r.metadata #>> '{{extent,lat,begin}}')::float8 as south,
    (r.metadata #>> '{{extent,lat,end}}')::float8 as north
from {rows} r
where r.kind = :kind and (cast(:start as timestamptz) is null
    or (r.facts ->> 'datetime')::timestamptz between :start and :end)
    and r.facts ->> 'neocube:collection' = any(:collections)
"""
# `part` numbers the slices of an acquisition that two stations received apart; almost always there is one.
SLICED = """
select product, acquisition, array_agg(distinct slice order by slice) as slices from (
    select product, acquisition, slice from listing where slice <> ''
    union select product, acquisition, slice from indexed where slice <> '') marked
group by product, acquisition having count(*) > 1
"""
KEY = "product, acquisition, part"
COPIED = "archive, item_id, collection, product, acquisition, rendition, slice, scene, acquired, cause, stated"


@dataclass(frozen=True, slots=True)
class Scope:
    """What of the archives is compared: our collections or the archives' names for them, an area, a period."""

    collections: tuple[str, ...] = ()
    area: Area | None = None
    period: Period | None = None

    @property
    def ours(self) -> tuple[str, ...]:
        """Our names of the collections."""
        aliases = collection_aliases()
        known = tuple(dict.fromkeys(sensor.collection for sensor in SENSORS.values()))
        return tuple(dict.fromkeys(aliases.get(name, name) for name in self.collections)) or known


@contextmanager
def compared_tables(index: Index) -> Iterator[Connection]:
    """A connection with the empty table `listing`; its temporary tables go at the end."""
    with index.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(LISTING))
        try:
            yield connection
        finally:
            connection.rollback()
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text("discard temporary"))


def list_archive(
    connection: Connection,
    archive: str,
    location: str,
    scope: Scope,
    files: ArchiveFiles,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Add an archive's items in scope to `listing`, under the name `location`; returns how many items are no scenes."""
    bounds = asked_box(scope.area.geometry.boundingbox.bbox) if scope.area else None
    wanted = Wanted(scope.collections, bounds, scope.period.interval if scope.period else None)
    n_listed = n_skipped = 0
    for found in in_batches(listed_items(connection.engine, archive, wanted, files), ROWS_PER_COPY):
        rows = [row for item in found if (row := _row(item, location, scope)) is not None]
        copy_rows(connection, f"listing ({COPIED})", [row for row in rows if row])
        n_skipped += sum(not row for row in rows)
        n_listed += len(found)
        if progress:
            progress(n_listed)
    return n_skipped


def index_listing(connection: Connection, index: Index, scope: Scope) -> None:
    """Once everything is listed: the table `indexed` of the scenes in scope, and what joins need."""
    period = scope.period
    span = {"start": period.start - EDGE if period else None, "end": period.end + EDGE if period else None}
    statement = text(INDEXED.format(rows=dataset_rows(index)))
    connection.execute(statement, {"kind": SCENE_KIND, "collections": list(scope.ours), **span})
    connection.execute(text("analyze listing, indexed"))
    connection.commit()
    connection.execution_options(isolation_level="REPEATABLE READ")  # streaming wants a transaction
    _number_parts(connection)
    for table, columns in (("listing", "scene"), ("listing", KEY), ("indexed", "id"), ("indexed", KEY)):
        connection.execute(text(f"create index on {table} ({columns})"))
    connection.execute(text("analyze listing, indexed"))


def _number_parts(connection: Connection) -> None:
    """Give the slices of an acquisition that are not the same numbers from 0."""
    streamed = text(SLICED).execution_options(stream_results=True, yield_per=ROWS_PER_COPY)
    with connection.execute(streamed) as found:
        for product, acquisition, slices in found:
            firsts: list[str] = []
            for each in slices:
                part = next((n for n, first in enumerate(firsts) if same_slice(first, each)), len(firsts))
                if part == len(firsts):
                    firsts.append(each)
                if part:
                    _set_part(connection, {"product": product, "acquisition": acquisition, "slice": each, "part": part})


def _set_part(connection: Connection, values: dict[str, object]) -> None:
    for table in ("listing", "indexed"):
        where = "product = :product and acquisition = :acquisition and slice = :slice"
        connection.execute(text(f"update {table} set part = :part where {where}"), values)


def copy_rows(connection: Connection, table: str, rows: Iterable[Sequence[object]]) -> None:
    """Append rows to a table with COPY."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"copy {table} from stdin") as copy:
        for row in rows:
            copy.write_row(row)


def _row(found: FoundItem, location: str, scope: Scope) -> tuple[object, ...] | None:
    """A row of `listing`; empty for what is no scene, None for what is out of scope."""
    item = found.document
    name = _clean(found.id)
    stated = _clean(found.collection) if isinstance(found.collection, str) else ""
    if item is None:
        cause = _clean(found.cause or "unreadable item")
        return location, name, "", "", f"item {name}", "", "", None, None, cause, stated
    try:
        refuse_temperature(item)
        identity = identify(item)
    except NotAScene:
        return ()
    except ItemRefused as refusal:
        return _unidentified(item, location, name, stated, str(refusal), scope)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return _unidentified(
            item, location, name, stated, f"unexpected content: {type(error).__name__}: {error}", scope
        )
    if not _is_in_scope(item, identity.acquired, identity.sensor.collection, scope):
        return None
    product = identity.sensor.product
    number: UUID = scene_id(product, identity.acquisition, identity.rendition)
    return (
        location, name, identity.sensor.collection, product, identity.acquisition, identity.rendition,
        identity.slice, number, identity.acquired, None, stated,
    )  # fmt: skip


def _unidentified(
    item: dict[str, Any], location: str, name: str, stated: str, cause: str, scope: Scope
) -> tuple[object, ...] | None:
    properties = item.get("properties")
    try:
        acquired = sensing_time(properties) if isinstance(properties, dict) else None
    except (ItemRefused, TypeError, ValueError):
        acquired = None
    collection = collection_aliases().get(stated, stated)
    if acquired is not None and not _is_in_scope(item, acquired, collection, scope):
        return None
    return location, name, collection, "", f"item {name}", "", "", None, acquired, _clean(cause), stated


def _is_in_scope(item: dict[str, Any], acquired: datetime, collection: str, scope: Scope) -> bool:
    """Whether an item is asked for; one whose place cannot be told is."""
    if scope.collections and collection not in scope.ours and item.get("collection") not in scope.collections:
        return False
    if scope.period and not scope.period.contains(acquired):
        return False
    if scope.area is None:
        return True
    try:
        return scope.area.meets_scene(lonlat_footprint(item))
    except (ItemRefused, KeyError, TypeError, ValueError):
        return True


def is_inside(row: Mapping[str, Any], scope: Scope) -> bool:
    """Whether a row of `indexed` lies in the period and, by its box, in the area."""
    if scope.period and not scope.period.contains(row["acquired"]):
        return False
    return scope.area is None or scope.area.meets(box(row["west"], row["south"], row["east"], row["north"]))


def _clean(words: str) -> str:
    """Text without the NUL that PostgreSQL cannot hold."""
    return words.replace("\x00", "")
