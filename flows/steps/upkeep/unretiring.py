"""Undoing a retirement: what nothing replaced since becomes active again, the rest is told with the cause."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from datacube_config.connection import Index
from flows.steps.index.advisory_locks import writer_of
from flows.steps.index.index_rows import archive_selected, dataset_rows, restore_selected
from flows.steps.index.scene_index import POLICY
from flows.steps.scenes.datastrip import same_slice
from flows.steps.storage import Storage, path_of
from flows.steps.storage_listing import is_whole_snapshot
from flows.steps.upkeep.retiring import find_retirement, retiring
from flows.steps.upkeep.unindexed import restore_models
from flows.steps.upkeep.whole_files import without_files
from products.errors import RequestError

TABLES = """
create temporary table wanted (id uuid primary key, why text) on commit drop;
create temporary table promoted (id uuid primary key) on commit drop
"""
# Why a dataset is not restored; null where it is. Another rendition, cell or model may have taken its place.
VERDICTS = """
insert into wanted select w.id, case
    when r.id is null then 'its row was purged by the sweep: build it again'
    when r.archived is null then 'it is active already'
    when w.id = any(cast(:lost as uuid[])) then 'its files were swept: build it again'
    when last.reason is not null then 'archived again since: ' || last.reason
    end
from unnest(cast(:ids as uuid[])) as w (id) left join {rows} r on r.id = w.id
left join lateral (
    select a.reason from neocube.archive_reason a where a.dataset_id = w.id and a.at > :applied_at order by a.at desc limit 1
) last on true
"""
# What is active in the place of a dataset: of its acquisition, or of its product version, tile and period.
RIVALS = """
select w.id, coalesce(r.facts ->> 'neocube:slice', '') as slice, o.id as rival,
    coalesce(o.facts ->> 'neocube:slice', '') as rival_slice
from wanted w join {rows} r on r.id = w.id join {rows} o on o.product = r.product and o.archived is null and case
    when r.kind <> 'neocube_cell' then o.facts ->> 'neocube:acquisition' = r.facts ->> 'neocube:acquisition'
    else o.facts ->> 'neocube:product_version' = r.facts ->> 'neocube:product_version'
        and o.facts ->> 'neocube:tile' is not distinct from r.facts ->> 'neocube:tile'
        and o.facts ->> 'neocube:period' is not distinct from r.facts ->> 'neocube:period' end
where w.why is null and not exists (select from promoted p where p.id = o.id)
"""
# A stand-in goes back only where the rendition it stands in for comes back.
STEP_DOWN = """
delete from promoted p using {rows} r where r.id = p.id and not exists (
    select from wanted w join {rows} o on o.id = w.id where w.why is null and o.product = r.product
    and o.facts ->> 'neocube:acquisition' = r.facts ->> 'neocube:acquisition')
"""
NAMED = """
select w.id::text as id, coalesce(r.facts ->> 'neocube:item_id', r.metadata ->> 'label', w.id::text) as label, r.product, w.why
from wanted w left join {rows} r on r.id = w.id where (w.why is null) = :restored order by 3, 2
"""
REOPEN = """
insert into neocube.cube_pointer (product, version, area, crs, snapshot_url, cell_ids, updated)
select :product, :version, :area, :crs, :snapshot_url, cast(:cell_ids as uuid[]), cast(:updated as timestamptz)
where not exists (
    select from unnest(cast(:cell_ids as uuid[])) cell
    where not exists (select from {rows} r where r.id = cell and r.archived is null))
on conflict do nothing returning 1
"""


def undo_retirement(index: Index, storage: Storage, number: str) -> dict[str, Any]:
    """Restore what a retirement archived: `restored`, `kept` with the cause, `cubes` opened again or left closed.

    It waits for a sweep that runs. Where nothing comes back the retirement stays as it was, and can be swept.
    """
    with index.engine.connect() as connection:
        asked = find_retirement(connection, number)
        connection.rollback()
    with writer_of(index, asked["id"]):
        return _undone(index, storage, number, without_files(index, storage, asked["dataset_ids"]))


def _undone(index: Index, storage: Storage, number: str, lost: Sequence[UUID]) -> dict[str, Any]:
    rows = dataset_rows(index)
    with retiring(index) as connection:
        found = find_retirement(connection, number)
        if found["restored_at"] is not None:
            raise RequestError(f"the retirement {number} was undone at {found['restored_at'].isoformat()} already")
        _judge(connection, rows, found, lost)
        restored, kept = restore_models(connection, storage, found)
        restored += _named(connection, rows, restored=True)
        kept += _named(connection, rows, restored=False)
        connection.execute(text("delete from wanted where why is not null"))
        archive_selected(connection, index, "promoted")
        reason = f"superseded by what the undoing of retirement {number} restored"
        connection.execute(
            text("insert into neocube.archive_reason (dataset_id, reason, by) select id, :reason, :by from promoted"),
            {"reason": reason, "by": POLICY},
        )
        restore_selected(connection, index, "wanted")
        cubes = [_reopened(connection, storage, rows, pointer) for pointer in found["pointers"]]
        if restored or any(cube["opened"] for cube in cubes):
            connection.execute(
                text("update neocube.retirement set restored_at = now() where id = :id"), {"id": found["id"]}
            )
    return {"id": str(found["id"]), "restored": restored, "kept": kept, "cubes": cubes}


def _judge(connection: Connection, rows: str, found: Mapping[str, Any], lost: Sequence[UUID]) -> None:
    """Fill `wanted` with verdicts, those of `lost` files among them, and `promoted` with the stand-ins that step down."""
    connection.execute(text(TABLES))
    stand_ins = {"ids": found["promoted_ids"]}
    connection.execute(text("insert into promoted select unnest(cast(:ids as uuid[]))"), stand_ins)
    values = {
        "ids": found["dataset_ids"],
        "applied_at": found["applied_at"],
        "lost": list(lost),
    }
    connection.execute(text(VERDICTS.format(rows=rows)), values)
    replaced = [
        {"id": row["id"], "why": f"replaced since by {row['rival']}"}
        for row in connection.execute(text(RIVALS.format(rows=rows))).mappings()
        if same_slice(row["slice"], row["rival_slice"])
    ]
    if replaced:
        connection.execute(text("update wanted set why = :why where id = :id"), replaced)
    connection.execute(text(STEP_DOWN.format(rows=rows)))


def _named(connection: Connection, rows: str, *, restored: bool) -> list[dict[str, Any]]:
    found = connection.execute(text(NAMED.format(rows=rows)), {"restored": restored}).mappings()
    return [{name: value for name, value in row.items() if name != "why" or value} for row in found]


def _reopened(connection: Connection, storage: Storage, rows: str, pointer: Mapping[str, Any]) -> dict[str, Any]:
    """Point to a snapshot again, unless it was swept, another cube took its place or some of its cells are not active."""
    is_there = is_whole_snapshot(storage, path_of(pointer["snapshot_url"]))
    done = connection.scalar(text(REOPEN.format(rows=rows)), dict(pointer)) if is_there else None
    told = {name: pointer[name] for name in ("product", "version", "area", "crs", "snapshot_url")}
    return told | {"opened": done is not None}
