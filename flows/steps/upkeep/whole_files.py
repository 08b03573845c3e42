"""Which rows of the index still have their files: of a cell, map, model or training set one file is written last and swept first."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from sqlalchemy import text

from datacube_config.connection import Index
from flows.steps.cubes.cells import cell_path
from flows.steps.index.index_rows import dataset_rows
from flows.steps.storage import Storage
from products.template import CELL_KIND

ASKED_AT_ONCE = 16
OF_NO_CELL = {"model": ("models", "card.json"), "samples": ("samples", "samples.json")}
FAMILY = "coalesce(r.facts ->> 'odc:product_family', 'cell')"
# Maps before the models that made them, models before what they learned from: a row goes once nothing is derived from it.
ORDER = "case family when 'map' then 0 when 'model' then 1 when 'samples' then 2 else 3 end"
ARCHIVED = f"""
select * from (
    select r.id, r.product, {FAMILY} as family, r.facts ->> 'neocube:product_version' as version
    from unnest(cast(:ids as uuid[])) as w (id) join {{rows}} r on r.id = w.id where r.archived is not null and r.kind = :kind
) found order by {ORDER}, product, id
"""


def whole_file(storage: Storage, family: str, product: str, number: UUID) -> str:
    """The file of a row's folder that says that the folder is whole."""
    if family in OF_NO_CELL:
        kind, name = OF_NO_CELL[family]
        return storage.path(kind, product, str(number), name)
    return f"{cell_path(storage, product, number)}/zarr.json"


def remove_files(storage: Storage, family: str, product: str, number: UUID) -> None:
    """Delete the folder of a row: first what says that it is whole."""
    whole = whole_file(storage, family, product, number)
    storage.remove(whole)
    storage.remove(whole.rpartition("/")[0])


def archived_rows(index: Index, ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """The `id`, `product`, `family` and `version` of those that are archived, in the order in which rows can go."""
    query = text(ARCHIVED.format(rows=dataset_rows(index)))
    with index.engine.connect() as connection:
        return [dict(row) for row in connection.execute(query, {"ids": list(ids), "kind": CELL_KIND}).mappings()]


def without_files(index: Index, storage: Storage, ids: Sequence[UUID]) -> list[UUID]:
    """Those archived ones whose files are not whole in the store; StorageUnavailable if that is not there."""
    if not (rows := archived_rows(index, ids)):
        return []
    storage.check_readable()
    files = [whole_file(storage, row["family"], row["product"], row["id"]) for row in rows]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        has_files = list(pool.map(storage.exists, files))
    return [row["id"] for row, is_whole in zip(rows, has_files, strict=True) if not is_whole]
