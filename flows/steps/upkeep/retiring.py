"""Retiring what an operator selects: previewed, applied in one transaction with its reasons, undone as long as nothing replaced it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from datacube_config.connection import Index
from flows.steps.index.index_rows import archive_selected, dataset_rows, restore_selected
from flows.steps.index.scene_index import LOCK, POLICY
from flows.steps.scenes.datastrip import same_slice
from flows.steps.scenes.rendition_policy import Candidate
from flows.steps.storage import Storage
from flows.steps.unindexed_models import UnindexedModel, unindexed_models
from flows.steps.upkeep.retire_selection import Selection, select_datasets
from flows.steps.upkeep.unindexed import select_models, selected_models
from products.errors import RequestError

OPERATOR = "operator"

GROUPS = """
select product, family as kind, count(*) as count, (array_agg(label order by label))[1:5] as examples
from {table} group by 1, 2 order by 2, 1
"""
POINTERS = """
select p.product, p.version, p.area, p.crs, p.snapshot_url, p.cell_ids, p.updated, c.retired, c.stale from neocube.cube_pointer p,
lateral (select count(s.id) as retired, count(d.id) as stale from unnest(p.cell_ids) cell
    left join selected s on s.id = cell left join dependent d on d.id = cell) c
where c.retired + c.stale > 0 order by 1, 2, 3, 4
"""
# Renditions that the policy archived, each beside the selected scene of its acquisition.
STAND_INS = """
select s.id as selected, coalesce(a.facts ->> 'neocube:slice', '') as selected_slice, r.id, r.product,
    r.facts ->> 'neocube:acquisition' as acquisition, r.facts ->> 'neocube:rendition' as rendition,
    r.facts ->> 'neocube:archive' as archive, coalesce(r.facts ->> 'neocube:slice', '') as slice
from selected s join {rows} a on a.id = s.id
join {rows} r on r.product = a.product and r.facts ->> 'neocube:acquisition' = a.facts ->> 'neocube:acquisition'
where r.archived is not null and (
    select w.by from neocube.archive_reason w where w.dataset_id = r.id order by w.at desc limit 1) = :policy
order by s.id, r.id
"""
KEEP = """
insert into neocube.retirement (id, selection, dataset_ids, promoted_ids, pointers)
select :id, cast(:selection as jsonb), (select coalesce(array_agg(id), '{}') from selected), :promoted, cast(:pointers as jsonb)
"""


def preview_retirement(index: Index, storage: Storage, selection: Selection) -> dict[str, Any]:
    """What retiring would do, counted from the index and from the models in the store that it does not know; nothing is changed."""
    with index.engine.connect() as connection:
        _select(connection, index, storage, selection)
        plan = _plan(connection, index, selection)
        connection.rollback()
    return plan


def apply_retirement(index: Index, storage: Storage, selection: Selection) -> tuple[UUID, dict[str, Any]]:
    """Archive what is selected, with the reason, and close the cubes that hold it; the retirement's id and what was done."""
    number = uuid4()
    with retiring(index) as connection:
        models = _select(connection, index, storage, selection)
        plan = _plan(connection, index, selection)
        if not any(group["count"] for group in plan["retired"]):
            raise RequestError("nothing active is selected: nothing was retired")
        archive_selected(connection, index, "selected")
        _give_reasons(connection, "selected", selection.reason, OPERATOR)
        pointers = [row for row in _pointers(connection) if row["retired"]]
        for row in pointers:
            _close(connection, row)
        promoted = [UUID(each["id"]) for each in plan["promoted"]]
        _restore(connection, index, promoted)
        connection.execute(
            text(KEEP),
            {
                "id": number,
                "selection": json.dumps(asdict(selection)),
                "promoted": promoted,
                "pointers": json.dumps([_pointer_document(row) for row in pointers]),
            },
        )
    for model in models:
        model.retire(number, selection.reason)
    return number, plan


def list_retirements(index: Index) -> list[dict[str, Any]]:
    """Every retirement, newest first: what was asked, how many datasets, and what became of it."""
    query = """
        select id, selection, cardinality(dataset_ids) as datasets, applied_at, restored_at, swept_at
        from neocube.retirement order by applied_at desc, id
    """
    with index.engine.connect() as connection:
        rows = connection.execute(text(query)).mappings().all()
    asked = {row["id"]: {name: value for name, value in row["selection"].items() if value} for row in rows}
    return [{**row, "id": str(row["id"]), "selection": asked[row["id"]]} for row in rows]


def find_retirement(connection: Connection, number: str) -> Mapping[str, Any]:
    """A retirement, locked for this transaction; RequestError if there is none."""
    query = text("select * from neocube.retirement where id::text = :id for update")
    found = connection.execute(query, {"id": number}).mappings().one_or_none()
    if found is None:
        raise RequestError(f"no retirement {number!r}: expected an id that `neocube retire --list` shows")
    return dict(found)


@contextmanager
def retiring(index: Index) -> Iterator[Connection]:
    """One transaction, in which no ingest chooses among scenes."""
    with index.engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(hashtext(:lock))"), {"lock": LOCK})
        yield connection


def _select(connection: Connection, index: Index, storage: Storage, selection: Selection) -> list[UnindexedModel]:
    """Fill `selected` and `dependent`; the selected models that the index does not know."""
    names = {model.name for model in unindexed_models(storage)} if selection.product else set()
    select_datasets(connection, index, selection, names)
    models = selected_models(storage, selection)
    select_models(connection, models)
    return models


def _plan(connection: Connection, index: Index, selection: Selection) -> dict[str, Any]:
    groups = {table: _groups(connection, table) for table in ("selected", "dependent")}
    cubes = [
        {name: row[name] for name in ("product", "version", "area", "crs", "snapshot_url", "retired", "stale")}
        for row in _pointers(connection)
    ]
    promoted = _stand_ins(connection, index) if selection.renditions else []
    return {
        "selection": {name: value for name, value in asdict(selection).items() if value},
        "retired": groups["selected"],
        "dependent": groups["dependent"],
        "counts": {
            "scenes": _count(groups["selected"], "scene"),
            "cells": sum(
                group["count"] for group in groups["selected"] if group["kind"] not in ("scene", "model", "map")
            ),
            "models": _count(groups["selected"], "model"),
            "maps": _count(groups["selected"], "map"),
            "dependent_cells": sum(
                g["count"] for g in groups["dependent"] if g["kind"] not in ("scene", "model", "map")
            ),
            "dependent_models": _count(groups["dependent"], "model"),
            "dependent_maps": _count(groups["dependent"], "map"),
            "cubes_closed": sum(cube["retired"] > 0 for cube in cubes),
            "cubes_stale": sum(cube["retired"] == 0 for cube in cubes),
        },
        "cubes": cubes,
        "promoted": promoted,
    }


def _groups(connection: Connection, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(GROUPS.format(table=table))).mappings()]


def _count(groups: list[dict[str, Any]], kind: str) -> int:
    return sum(group["count"] for group in groups if group["kind"] == kind)


def _pointers(connection: Connection) -> list[dict[str, Any]]:
    """The cubes that hold something selected or dependent, and how many cells of each."""
    return [dict(row) for row in connection.execute(text(POINTERS)).mappings()]


def _stand_ins(connection: Connection, index: Index) -> list[dict[str, Any]]:
    """Of each acquisition that loses its rendition, the best of those that the policy had put below it."""
    best: dict[UUID, Candidate] = {}
    named: dict[UUID, dict[str, Any]] = {}
    statement = text(STAND_INS.format(rows=dataset_rows(index)))
    for row in connection.execute(statement, {"policy": POLICY}).mappings():
        each = Candidate(row["id"], row["rendition"], row["archive"], row["slice"])
        if not same_slice(row["selected_slice"], each.slice):
            continue
        named[each.id] = {"id": str(each.id), **{name: row[name] for name in ("product", "acquisition", "rendition")}}
        if row["selected"] not in best or each.rank > best[row["selected"]].rank:
            best[row["selected"]] = each
    return [named[number] for number in dict.fromkeys(each.id for each in best.values())]


def _close(connection: Connection, pointer: Mapping[str, Any]) -> None:
    where = "product = :product and version = :version and area = :area and crs = :crs"
    connection.execute(text(f"delete from neocube.cube_pointer where {where}"), dict(pointer))


def _pointer_document(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in ("product", "version", "area", "crs", "snapshot_url")}
    return kept | {"cell_ids": [str(cell) for cell in row["cell_ids"]], "updated": row["updated"].isoformat()}


def _give_reasons(connection: Connection, table: str, reason: str, by: str) -> None:
    statement = f"insert into neocube.archive_reason (dataset_id, reason, by) select id, :reason, :by from {table}"
    connection.execute(text(statement), {"reason": reason, "by": by})


def _restore(connection: Connection, index: Index, ids: list[UUID]) -> None:
    connection.execute(text("create temporary table restored (id uuid primary key) on commit drop"))
    if ids:
        connection.execute(text("insert into restored select unnest(cast(:ids as uuid[]))"), {"ids": ids})
        restore_selected(connection, index, "restored")
