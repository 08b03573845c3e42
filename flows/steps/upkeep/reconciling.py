"""An archive against a second one, the index and the storage: what is missing, orphaned, double, stale or gone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from datacube_config.connection import Index
from flows.steps.index.index_rows import dataset_rows, lineage_rows
from flows.steps.index.revised_scenes import lost_marks
from flows.steps.scenes.rendition_policy import Rank, rendition_difference, rendition_rank
from flows.steps.upkeep.archive_listing import Scope, is_inside
from flows.steps.upkeep.contradicted_scenes import contradicted_scenes
from products.template import CELL_KIND

MOST_ROWS = 10_000
FETCHED_ROWS = 1000
FINDINGS = ("missing", "quarantined", "orphans", "duplicates", "stale", "contradicted", "gone")
# An item of `listing` is in quarantine under its collection, or under none if it could not be read then.
KEPT = "q.archive = l.archive and q.item_id = l.item_id and q.collection in (l.stated, '')"

# Each acquisition that an archive has is in exactly one state.
EXPECTED = f"""
create temporary table expected as
select distinct on (product, acquisition, part) listed.*, case
    when is_active then 'indexed' when is_known then 'retired' when cause is not null then 'quarantined' else 'missing'
    end as state
from (
    select l.collection, l.product, l.acquisition, l.part, l.rendition, l.item_id, l.acquired, l.cause as refused,
        i.is_active, i.acquisition is not null as is_known,
        max(q.cause) over same as cause, array_agg(l.archive) over same as archives
    from listing l
    left join (select product, acquisition, part, bool_or(active) as is_active from indexed group by 1, 2, 3) i
        using (product, acquisition, part)
    left join neocube.quarantine q on {KEPT}
    window same as (partition by l.product, l.acquisition, l.part)
) listed
order by product, acquisition, part, rendition desc
"""
FRESHNESS = """
select collection, coalesce(to_char(acquired at time zone 'utc', 'YYYY-MM'), 'undated') as month, count(*) as expected,
    count(*) filter (where state = 'indexed') as indexed, count(*) filter (where state = 'retired') as retired,
    count(*) filter (where state = 'quarantined') as quarantined, count(*) filter (where state = 'missing') as missing,
    max(acquired) as newest, max(acquired) filter (where state = 'indexed') as newest_indexed
from expected group by 1, 2 order by 1, 2
"""
MISSING = """
select item_id, collection, product, acquisition, rendition, acquired as datetime, refused as cause,
    (select array_agg(distinct a) from unnest(archives) a) as archives
from expected where state = 'missing' order by collection, acquired, item_id
"""
QUARANTINED = f"""
select q.item_id, q.archive, q.collection, q.cause, min(l.acquired) as datetime
from listing l join neocube.quarantine q on {KEPT}
group by 1, 2, 3, 4 order by 5, 1
"""
# Active scenes of these archives of which no archive has the rendition; `others`: the renditions that it has instead.
UNLISTED = """
select i.*, o.renditions as others, o.items as other_items, o.archives as other_archives from indexed i
left join lateral (
    select array_agg(l.rendition) as renditions, array_agg(l.item_id) as items, array_agg(l.archive) as archives
    from listing l where l.product = i.product and l.acquisition = i.acquisition and l.part = i.part
) o on true
where i.active and i.archive = any(:archives) and not exists (select from listing l where l.scene = i.id)
order by i.acquired, i.id
"""
# Renditions that the index does not know, of acquisitions that it has active.
OTHER_RENDITIONS = f"""
select i.id, i.item_id, i.product, i.acquisition, i.rendition, i.archive, i.acquired,
    array_agg(l.rendition) as others, array_agg(l.item_id) as other_items, array_agg(l.archive) as other_archives
from indexed i join listing l using (product, acquisition, part)
where i.active and l.scene is not null and not exists (select from indexed k where k.id = l.scene)
    and not exists (select from neocube.quarantine q where {KEPT})
group by 1, 2, 3, 4, 5, 6, 7 order by i.acquired, i.id
"""
DUPLICATES = """
select * from (
    select 'scenes of one acquisition' as kind, product || ' ' || acquisition as what, array_agg(id::text order by id) as ids
    from indexed where active group by product, acquisition, part having count(*) > 1
    union all
    select 'scenes of one item', archive || ' ' || item_id, array_agg(id::text order by id)
    from indexed where active group by archive, item_id having count(*) > 1
    union all
    select 'items of one scene', archive || ' ' || scene, array_agg(distinct item_id)
    from listing where scene is not null group by archive, scene having count(distinct item_id) > 1
) found order by 1, 2
"""
STALE_CELLS = """
select r.id, r.product, coalesce(r.facts ->> 'odc:product_family', 'features') as family, r.facts ->> 'neocube:tile' as tile,
    r.facts ->> 'neocube:period' as period, count(*) as archived_sources
from {rows} r join {lineage} e on e.derived = r.id join {rows} s on s.id = e.source and s.archived is not null
where r.kind = :kind and r.archived is null group by 1, 2, 3, 4, 5 order by 2, 5, 4
"""
GONE = """
select k.item_id, k.archive, k.collection, k.gone_at, k.dataset_id, r.id is not null and r.archived is null as active
from neocube.known_item k left join {rows} r on r.id = k.dataset_id
where k.archive = any(:archives) and k.gone_at is not null order by k.gone_at, k.item_id
"""
ONLY_HERE = """
select l.item_id, l.acquisition, l.rendition, l.acquired as datetime from listing l
where l.archive = :here and not exists (
    select from listing o where o.archive = :there and o.product = l.product and o.acquisition = l.acquisition and o.part = l.part)
order by l.acquired, l.item_id
"""
# Rows of scenes that somebody purged: ingest would take its digest for the scene.
FORGET = """
delete from neocube.known_item k where k.archive = any(:archives) and k.dataset_id is not null
and not exists (select from {rows} r where r.id = k.dataset_id) returning k.archive
"""
# What is known of their items is what ingest takes as said that the files are lost.
FORGET_THESE = """
update neocube.known_item k set digest = decode(l.mark, 'hex')
from json_to_recordset(cast(:lost as json)) as l (id uuid, owner text, mark text)
where k.archive = any(:archives) and k.dataset_id = l.id and k.archive <> l.owner and k.gone_at is null
    and k.digest <> decode(l.mark, 'hex')
returning k.archive
"""
# What an ingest is to list whole, from the beginning, when it comes next.
LIST_AGAIN = (
    "update neocube.harvest set signature = null, listed_at = null, next_page = null where archive = any(:archives)"
)


@dataclass(slots=True)
class Findings:
    """Rows by what is wrong with them: all are counted, the first of each kind are kept."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FINDINGS, 0))
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in FINDINGS})

    def add(self, name: str, found: Iterable[Mapping[str, Any]]) -> None:
        """Count the rows and keep what fits."""
        for row in found:
            self.counts[name] += 1
            if len(self.rows[name]) < MOST_ROWS:
                self.rows[name].append(dict(row))


def compare(connection: Connection, index: Index, archives: Sequence[str], scope: Scope) -> Findings:
    """Answer from the tables `listing` and `indexed`; leaves the table `expected`."""
    connection.execute(text(EXPECTED))
    names = {"archives": list(archives)}
    findings = Findings()
    findings.add("missing", _rows(connection, MISSING))
    findings.add("quarantined", _rows(connection, QUARANTINED))
    findings.add("orphans", _orphan_scenes(connection, names, scope))
    findings.add("duplicates", _rows(connection, DUPLICATES))
    findings.add("stale", _stale_scenes(connection))
    stale_cells = STALE_CELLS.format(rows=dataset_rows(index), lineage=lineage_rows(index))
    found = _rows(connection, stale_cells, {"kind": CELL_KIND})
    findings.add(
        "stale", ({"kind": "cell", **row, "why": f"{row['archived_sources']} sources archived"} for row in found)
    )
    findings.add("contradicted", contradicted_scenes(connection, index, archives, scope))
    findings.add("gone", _rows(connection, GONE.format(rows=dataset_rows(index)), names))
    return findings


def forget_purged(index: Index, archives: Sequence[str]) -> int:
    """Let ingest take the items again whose scenes have left the index altogether; how many they are."""
    statement = text(FORGET.format(rows=dataset_rows(index)))
    with index.engine.begin() as connection:
        forgotten = connection.scalars(statement, {"archives": list(archives)}).all()
        connection.execute(text(LIST_AGAIN), {"archives": list(set(forgotten))})
    return len(forgotten)


def forget_moved(index: Index, archives: Sequence[str], orphans: Iterable[Mapping[str, Any]]) -> int:
    """Let ingest take from these archives the scenes again whose files another archive, which they were taken from, has lost."""
    owners: dict[UUID, str] = {row["id"]: row["archive"] for row in orphans if row["kind"] == "scene without files"}
    lost: list[dict[str, Any]] = []
    for first in range(0, len(owners), FETCHED_ROWS):
        marks = lost_marks(index, list(owners)[first : first + FETCHED_ROWS])
        lost += [{"id": number, "owner": owners[number], "mark": mark.hex()} for number, mark in marks.items()]
    with index.engine.begin() as connection:
        values = {"archives": list(archives), "lost": orjson.dumps(lost).decode()}
        forgotten = connection.scalars(text(FORGET_THESE), values).all()
        connection.execute(text(LIST_AGAIN), {"archives": list(set(forgotten))})
    return len(forgotten)


def freshness(connection: Connection) -> list[dict[str, Any]]:
    """Per collection and month: acquisitions expected = indexed + retired + quarantined + missing, and the newest."""
    return list(_rows(connection, FRESHNESS))


def between_archives(connection: Connection, archives: Sequence[str]) -> list[dict[str, Any]]:
    """For each of two archives, the items whose acquisition the other lacks: how many, and the first ones."""
    told = []
    for here, there in zip(archives, reversed(archives), strict=True):
        only = list(_rows(connection, ONLY_HERE, {"here": here, "there": there}, most=MOST_ROWS))
        count = f"select count(*) from ({ONLY_HERE}) o"
        n_only = connection.scalar(text(count), {"here": here, "there": there})
        told.append({"archive": here, "lacking_in": there, "count": n_only, "items": only})
    return told if len(archives) == 2 else []


def _orphan_scenes(connection: Connection, names: dict[str, list[str]], scope: Scope) -> Iterator[dict[str, Any]]:
    """Active scenes that these archives have no more, or have only in a lower rendition."""
    for row in _rows(connection, UNLISTED, names):
        if not is_inside(row, scope):
            continue
        best = _best(row)
        if best and best[0] > rendition_rank(row["rendition"], row["archive"]):
            continue
        why = f"the archive has only {', '.join(row['other_items'])}" if best else "not in the archive"
        yield {"kind": "scene", **_scene(row), "archive": row["archive"], "why": why}


def _stale_scenes(connection: Connection) -> Iterator[dict[str, Any]]:
    """Active scenes of which an archive has a better rendition that the index does not know."""
    for row in _rows(connection, OTHER_RENDITIONS):
        best = _best(row)
        if best and best[0] > rendition_rank(row["rendition"], row["archive"]):
            _, rendition, archive, item = best
            why = rendition_difference(rendition, row["rendition"], archive, row["archive"])
            yield {"kind": "scene", **_scene(row), "better_item": item, "better": rendition, "why": why}


def _best(row: Mapping[str, Any]) -> tuple[Rank, str, str, str] | None:
    """Rank, rendition, archive and item of the highest of the other renditions of a row."""
    others = zip(row["others"] or (), row["other_archives"] or (), row["other_items"] or (), strict=True)
    ranked = ((rendition_rank(rendition, archive), rendition, archive, item) for rendition, archive, item in others)
    return max(ranked, default=None)


def _scene(row: Mapping[str, Any]) -> dict[str, Any]:
    wanted = ("id", "item_id", "product", "acquisition", "rendition")
    return {name: row[name] for name in wanted} | {"datetime": row["acquired"]}


def _rows(
    connection: Connection, statement: str, values: Mapping[str, Any] | None = None, most: int | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a query as they come, never all at once."""
    limited = text(statement if most is None else f"{statement} limit {most}")
    streamed = limited.execution_options(stream_results=True, yield_per=FETCHED_ROWS)
    with connection.execute(streamed, dict(values or {})) as result:
        for row in result.mappings():
            yield dict(row)
