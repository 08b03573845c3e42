"""Sweeping a retirement: the files of its cells, models, cubes and maps go, and the rows that nothing else is made of."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import text

from datacube_config.connection import Index
from datacube_config.errors import StorageUnavailable
from flows.steps.index.advisory_locks import writer_of
from flows.steps.index.index_rows import dataset_rows, lineage_rows
from flows.steps.storage import Storage, path_of
from flows.steps.storage_listing import cells_of_snapshot, children, snapshots
from flows.steps.upkeep.unindexed import models_of
from flows.steps.upkeep.whole_files import OF_NO_CELL, archived_rows, remove_files, whole_file
from products.errors import RequestError
from products.identity import NAMESPACE

COLLECTION = "collection.json"
IS_SOURCE = "select 1 from {lineage} e join {rows} r on r.id = e.derived where e.source = :id limit 1"


def to_sweep(index: Index, ids: Sequence[str], older_than_days: float | None, now: datetime) -> list[Mapping[str, Any]]:
    """The retirements asked for by id, or applied longer ago, that are neither undone nor swept; RequestError for an id that is."""
    query = "select * from neocube.retirement order by applied_at, id"
    with index.engine.connect() as connection:
        every = {str(row["id"]): dict(row) for row in connection.execute(text(query)).mappings()}
    for number in ids:
        if number not in every:
            raise RequestError(f"no retirement {number!r}: expected an id that `neocube retire --list` shows")
        if every[number]["restored_at"] is not None:
            raise RequestError(f"the retirement {number} was undone: there is nothing to sweep")
    before = None if older_than_days is None else now - timedelta(days=older_than_days)
    return [
        row
        for number, row in every.items()
        if row["restored_at"] is None
        and row["swept_at"] is None
        and (number in ids or (before is not None and row["applied_at"] < before))
    ]


def preview_sweep(index: Index, storage: Storage, retirement: Mapping[str, Any]) -> dict[str, Any]:
    """What sweeping a retirement would delete; StorageUnavailable if the store is not there."""
    found = archived_rows(index, retirement["dataset_ids"])
    _check_store(index, storage, retirement, found)
    ids = {each["id"] for each in found}
    return {
        "id": str(retirement["id"]),
        "rows": len(found),
        "cubes": list(_cubes(index, storage, found, ids)),
        "maps": [folder for folder, _ in _maps(storage, found, ids)],
        "unindexed": [model.folder for model in models_of(storage, retirement)],
    }


def sweep(index: Index, storage: Storage, retirement: Mapping[str, Any]) -> dict[str, Any]:
    """Delete the files and purge the rows; safe to repeat and to kill. What became active again since is left; scenes keep their rows.

    StorageUnavailable, and nothing is changed, if the store is not there.
    """
    with writer_of(index, retirement["id"]):  # an undoing asks which files are there
        return _swept(index, storage, retirement)


def _swept(index: Index, storage: Storage, retirement: Mapping[str, Any]) -> dict[str, Any]:
    found = archived_rows(index, retirement["dataset_ids"])
    _check_store(index, storage, retirement, found)
    _note_begun(index, retirement)
    ids = {each["id"] for each in found}
    maps, cubes = list(_maps(storage, found, ids)), list(_cubes(index, storage, found, ids))
    for folder, item in maps:
        storage.remove(f"{folder}/{COLLECTION}")  # first: it says that the files of a map are whole
        storage.remove_folder(folder, last=item)
    for path in cubes:
        with writer_of(index, uuid5(NAMESPACE, path)):
            storage.remove(path.removesuffix(".zarr") + ".complete")
            storage.remove_folder(path, last=f"{path}/zarr.json")
    swept = [_sweep_row(index, storage, each) for each in found]
    unindexed = models_of(storage, retirement)
    for model in unindexed:
        model.remove()
    _noted(index, retirement)
    return {
        "id": str(retirement["id"]),
        "rows": len(found),
        "purged": swept.count("purged"),
        "kept_rows": swept.count("kept"),
        "active_again": swept.count("active"),
        "cubes": cubes,
        "maps": [folder for folder, _ in maps],
        "unindexed": [model.folder for model in unindexed],
    }


def _check_store(
    index: Index, storage: Storage, retirement: Mapping[str, Any], found: Sequence[Mapping[str, Any]]
) -> None:
    """StorageUnavailable where the store cannot be read, or has no folder of any product of the rows and no sweep of them began."""
    if not found and all(index.dc.index.datasets.bulk_has(retirement["dataset_ids"])):
        return  # scenes, which leave nothing in the store
    storage.check_readable()
    if not found or retirement["sweep_began_at"] is not None:
        return
    files = {each["product"]: whole_file(storage, each["family"], each["product"], each["id"]) for each in found}
    if not any(storage.exists(file.rsplit("/", 2)[0]) for file in files.values()):
        raise StorageUnavailable(
            f"the store {storage.root} holds nothing of {', '.join(sorted(files))}, of which {len(found)} rows are to be swept: "
            "see that it is mounted, and that NEOCUBE_STORE_URL is the store in which they were built"
        )


def _note_begun(index: Index, retirement: Mapping[str, Any]) -> None:
    """Note that files go from now on: a sweep that was killed may find none left."""
    begun = "update neocube.retirement set sweep_began_at = coalesce(sweep_began_at, now()) where id = :id"
    with index.engine.begin() as connection:
        connection.execute(text(begun), {"id": retirement["id"]})


def _noted(index: Index, retirement: Mapping[str, Any]) -> None:
    """Note that a retirement is swept; the cubes that it closed stay in its row, as the next build over them asks what they held."""
    done = "update neocube.retirement set swept_at = now() where id = :id"
    with index.engine.begin() as connection:
        connection.execute(text(done), {"id": retirement["id"]})


def _sweep_row(index: Index, storage: Storage, each: Mapping[str, Any]) -> str:
    """`purged`, `kept` where something in the index is made of it, or `active` where it came back meanwhile."""
    number: UUID = each["id"]
    with writer_of(index, number):
        row = index.dc.index.datasets.get(number)
        if row is None or not row.is_archived:
            return "purged" if row is None else "active"
        remove_files(storage, each["family"], each["product"], number)
        query = IS_SOURCE.format(lineage=lineage_rows(index), rows=dataset_rows(index))
        with index.engine.connect() as connection:
            is_source = connection.scalar(text(query), {"id": number}) is not None
        if is_source:
            return "kept"
        index.dc.index.datasets.purge([number])
        return "purged"


def _cubes(index: Index, storage: Storage, found: Sequence[Mapping[str, Any]], ids: set[UUID]) -> Iterator[str]:
    """The snapshots that hold swept cells and that no pointer names."""
    with index.engine.connect() as connection:
        urls = connection.execute(text("select snapshot_url from neocube.cube_pointer")).scalars().all()
    current = {path_of(url) for url in urls}
    folders = sorted({f"{each['product']}-v{each['version']}" for each in found if each["family"] not in OF_NO_CELL})
    for path in snapshots(storage, folders):
        if path not in current and cells_of_snapshot(storage, path) & ids:
            yield path


def _maps(storage: Storage, found: Sequence[Mapping[str, Any]], ids: set[UUID]) -> Iterator[tuple[str, str]]:
    """The folders of map files that were made of swept cells, each with an item that says so."""
    for product in sorted({each["product"] for each in found if each["family"] == "map"}):
        for area in children(storage, "maps", product):
            for crs in children(storage, "maps", product, area):
                for name in children(storage, "maps", product, area, crs):
                    place = ("maps", product, area, crs, name)
                    item = next((item for item, cells in _map_items(storage, place) if cells & ids), None)
                    if item is not None:
                        yield storage.path(*place), item


def _map_items(storage: Storage, place: tuple[str, ...]) -> Iterator[tuple[str, set[UUID]]]:
    """Each item of a map, and the cells that it was made of."""
    for period in children(storage, *place):
        item = storage.path(*place, period, "item.json")
        if period != COLLECTION and storage.exists(item):
            yield item, {UUID(cell) for cell in json.loads(storage.read_bytes(item))["properties"]["neocube:cells"]}
