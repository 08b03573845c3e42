"""The store against the index: cells and models without a row, rows without files, cubes without a pointer, lost scene files."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, text

from datacube_config.connection import Index
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.asset_sizes import MISSING, Size, asked_sizes, listed_sizes, local_sizes
from flows.steps.index.catalogue import scene_of
from flows.steps.index.index_rows import dataset_rows
from flows.steps.loading.dataset_location import dataset_location
from flows.steps.storage import Storage, path_of
from flows.steps.storage_listing import is_whole_snapshot, numbered, snapshots
from flows.steps.upkeep.archive_listing import copy_rows
from flows.steps.upkeep.unindexed import unfinished_models
from products.template import CELL_KIND

StorageMode = Literal["all", "sample", "off"]
SAMPLE_SCENES = 50
SCENES_AT_ONCE = 50
SITES = ("http://", "https://")

WITHOUT_ROW = """
select s.kind, s.product, s.id, s.path from stored s
where not exists (select from {rows} r where r.id = s.id) order by s.kind, s.product, s.id
"""
WITHOUT_FILES = """
select r.id, r.product, coalesce(r.facts ->> 'odc:product_family', 'features') as family, r.facts ->> 'neocube:tile' as tile,
    r.facts ->> 'neocube:period' as period
from {rows} r where r.kind = :kind and r.archived is null and not exists (select from stored s where s.id = r.id)
order by r.product, r.id
"""


def stored_orphans(connection: Connection, index: Index, storage: Storage) -> Iterator[dict[str, Any]]:
    """Cells, models and cubes in the store without a row, rows without files in the store, and models without a card that the index never knows."""
    connection.execute(text("create temporary table stored (kind text, product text, id uuid, path text)"))
    copy_rows(connection, "stored", chain(_stored(storage, "cells"), _stored(storage, "models")))
    rows = dataset_rows(index)
    for row in connection.execute(text(WITHOUT_ROW.format(rows=rows))).mappings():
        yield {**row, "kind": f"{row['kind']} without row", "why": f"{row['path']} has no row in the index"}
    yield from _without_files(connection, index, storage, rows)
    yield from unfinished_models(storage)
    yield from _cubes(connection, storage)


def _without_files(connection: Connection, index: Index, storage: Storage, rows: str) -> Iterator[dict[str, Any]]:
    """Rows that have no files, neither in the store nor where they say: a store of before."""
    found = list(connection.execute(text(WITHOUT_FILES.format(rows=rows)), {"kind": CELL_KIND}).mappings())
    for first in range(0, len(found), SCENES_AT_ONCE):
        some = found[first : first + SCENES_AT_ONCE]
        places = {
            each.id: path_of(dataset_location(each))
            for each in index.dc.index.datasets.bulk_get([r["id"] for r in some])
        }
        for row in some:
            place = places[row["id"]]
            if not (storage.is_of_kind(place) and storage.exists(place)):
                yield {
                    "kind": "row without files",
                    **row,
                    "why": f"not in the store {storage.root}, and not at {place}",
                }


def lost_files(
    connection: Connection, index: Index, files: ArchiveFiles, archives: list[str], mode: StorageMode
) -> Iterator[dict[str, Any]]:
    """Active scenes that `archives` list, or that are from them, whose files are not where their rows say; a sample of 50, spread evenly, or all."""
    if mode == "off":
        return
    listed = "exists (select from listing l where l.scene = i.id)"
    chosen = f"select id, archive from indexed i where active and (archive = any(:archives) or {listed}) order by md5(id::text)"
    limit = f" limit {SAMPLE_SCENES}" if mode == "sample" else ""
    streamed = text(chosen + limit).execution_options(stream_results=True, yield_per=SCENES_AT_ONCE)
    with connection.execute(streamed, {"archives": archives}) as found:
        for some in found.partitions():
            owners = {row.id: row.archive for row in some}
            scenes = [scene_of(dataset) for dataset in index.dc.index.datasets.bulk_get(list(owners))]
            hrefs = {scene.id: [path_of(band.href) for band in scene.bands.values()] for scene in scenes}
            sizes = _sizes({href for each in hrefs.values() for href in _looked_at(each, mode)}, files)
            for scene in scenes:
                lost = [href for href in hrefs[scene.id] if sizes.get(href) == MISSING]
                if lost:
                    named = {
                        "id": scene.id,
                        "item_id": scene.item_id,
                        "product": scene.product,
                        "archive": owners[scene.id],
                    }
                    why = f"{len(lost)} of {len(hrefs[scene.id])} files are gone, the first: {lost[0]}"
                    yield {"kind": "scene without files", **named, "why": why}


def _looked_at(hrefs: list[str], mode: StorageMode) -> list[str]:
    """All files of a scene; in a sample only the first of those that a provider must be asked for one by one."""
    asked = [href for href in hrefs if href.startswith(SITES)]
    return hrefs if mode == "all" else [href for href in hrefs if href not in asked[1:]]


def _sizes(hrefs: set[str], files: ArchiveFiles) -> dict[str, Size]:
    """The size of each file, MISSING where there is none; sites are asked in the turn that all workers share."""
    sizes = local_sizes(href for href in hrefs if "://" not in href)
    sizes |= listed_sizes((href for href in hrefs if href.startswith("s3://")), files)
    return sizes | asked_sizes([href for href in hrefs if href.startswith(SITES)], files)


def _stored(storage: Storage, kind: str) -> Iterator[tuple[str, str, UUID, str]]:
    """What lies under <root>/<kind>/<product>/<uuid>."""
    for product, number in numbered(storage, kind):
        yield kind.removesuffix("s"), product, number, storage.path(kind, product, str(number))


def _cubes(connection: Connection, storage: Storage) -> Iterator[dict[str, Any]]:
    """Snapshots that no pointer names, and pointers to snapshots that are not whole."""
    query = text("select product, version, area, crs, snapshot_url from neocube.cube_pointer order by 1, 2, 3, 4")
    pointers = [(path_of(row["snapshot_url"]), row) for row in connection.execute(query).mappings()]
    pointed = {path for path, _ in pointers}
    for path in snapshots(storage):
        if path not in pointed:
            why = "no product, area and CRS points to this snapshot"
            yield {"kind": "cube without pointer", "path": path, "why": why}
    whole = {path for path in pointed if is_whole_snapshot(storage, path)}
    for path, row in pointers:
        if path not in whole:
            what = {name: row[name] for name in ("product", "version", "area", "crs")}
            why = "the snapshot is not whole in the store"
            yield {"kind": "pointer without cube", **what, "path": path, "why": why}
