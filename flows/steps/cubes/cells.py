"""Publishing a cell: the store first, read back, then the dataset row, which is the commit."""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any
from uuid import UUID

from datacube.model import Dataset
from odc.geo.geobox import GeoBox

from datacube_config.connection import Index
from datacube_config.errors import StorageLost
from flows.steps.cubes.cell_store import (
    Arrays,
    DigestMismatch,
    arrays_digest,
    stored_digest,
    verify_cell,
    verify_written,
    with_overviews,
    write_metadata,
    write_shards,
)
from flows.steps.index.advisory_locks import chooser_of, writer_of
from flows.steps.index.catalogue import PublishedCell, cells_at
from flows.steps.index.derived_rows import CONTENT_DIGEST, publish_derived
from flows.steps.index.scene_index import record_reasons
from flows.steps.storage import Storage
from products.grid import PixelGrid
from products.identity import KERNEL_VERSIONS, CellKey
from products.template import CellTemplate
from products.window.overviews import level_sides

QUALITY, CODE, TIDES = "neocube:quality", "neocube:code", "neocube:tides"
SECONDS, THREADS = "neocube:seconds", "neocube:threads"
EO3 = "https://schemas.opendatacube.org/dataset"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Spent:
    """When the work on a cell began, of the clock time.monotonic, the threads that it has, and the seconds of its stages so far."""

    begun: float
    threads: int = 1
    stages: Mapping[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, float]:
        """The stages and `total` until now."""
        seconds = {**self.stages, "total": time.monotonic() - self.begun}
        return {name: round(value, 3) for name, value in seconds.items()}


@dataclass(frozen=True, slots=True)
class CellDraft:
    """A cell ready to publish. `lineage` maps a classifier to dataset ids; `properties` join those that every cell has."""

    id: UUID
    key: CellKey
    template: CellTemplate
    grid: PixelGrid
    recipe_digest: str
    lineage: Mapping[str, Sequence[UUID]]
    properties: Mapping[str, Any] = field(default_factory=dict)
    spent: Spent | None = None

    @property
    def geobox(self) -> GeoBox:
        """The pixels of the cell."""
        return self.grid.geobox(self.key.tile)


def cell_path(storage: Storage, product: str, cell: UUID) -> str:
    """Where the Zarr group of a cell lies."""
    return storage.path("cells", product, str(cell))


def files_lost(cell: PublishedCell) -> StorageLost:
    """What to raise for a published cell whose files are not where its row says."""
    return StorageLost(
        f"the files of the cell {cell.tile} {cell.period}, {cell.id}, are not at {cell.path}: bring them back, "
        f"or retire it (`neocube retire --product {cell.product} --period {cell.period}`) and build again"
    )


def publish_cell(index: Index, storage: Storage, draft: CellDraft, arrays: Arrays, threads: int = 1) -> bool:
    """Write a cell of the arrays of its tile and make it the active one of its tile and period; False if it was that already.

    One that was published before and still lies whole in the store is not written again: another device gives the same cell to its tolerance, not to the bit.
    """
    with writer_of(index, draft.id):
        row = index.dc.index.datasets.get(draft.id)
        if row is not None and not row.is_archived:
            return False
        path = cell_path(storage, draft.key.product, draft.id)
        digest = _whole_digest(storage, path, draft, threads) if row is not None else None
        if digest is None:
            stored = with_overviews(draft.template, arrays, threads)
            digest = _write(storage, path, draft, stored, threads)
        _commit(index, storage, draft, digest, row)
    seconds = draft.spent.document() if draft.spent else {}
    _log.info(
        "cell published",
        extra={"cell": str(draft.id), "product": draft.key.product, "label": draft.key.label, "seconds": seconds},
    )
    return True


def restore_cell(index: Index, storage: Storage, draft: CellDraft, threads: int = 1) -> bool:
    """Make a cell that was published before the active one of its tile and period again.

    False, and nothing changes, unless its files are whole and those of its row.
    """
    with writer_of(index, draft.id):
        row = index.dc.index.datasets.get(draft.id)
        if row is None or not row.is_archived:
            return False
        digest = _whole_digest(storage, cell_path(storage, draft.key.product, draft.id), draft, threads)
        if digest is None or digest != row.metadata_doc["properties"][CONTENT_DIGEST]:
            return False
        _commit(index, storage, draft, digest, row)
    _log.info("cell restored", extra={"cell": str(draft.id), "product": draft.key.product, "label": draft.key.label})
    return True


def retire_cell(index: Index, cell: UUID, reason: str) -> None:
    """Archive a cell that lost what made it."""
    index.dc.index.datasets.archive([cell])
    record_reasons(index, {cell: reason}, "build")


def _whole_digest(storage: Storage, path: str, draft: CellDraft, threads: int) -> str | None:
    """The digest of the cell that lies at a path; None where there is none, or files of it are lost or damaged."""
    with storage.reaching(path, f"the cell {draft.key.label}"):
        if not storage.exists(f"{path}/zarr.json"):
            return None
        try:
            digest = stored_digest(storage, path)
            verify_cell(storage, path, draft.template, draft.grid.tile_px, digest, threads)
        except (DigestMismatch, FileNotFoundError) as error:
            _log.warning("cell damaged, to be made anew", extra={"cell": str(draft.id), "cause": str(error)})
            return None
    return digest


def _write(storage: Storage, path: str, draft: CellDraft, stored: Arrays, threads: int) -> str:
    """Write a cell, read it back and have it on the disk; returns the digest of its arrays, which is made meanwhile."""
    with ThreadPoolExecutor(2) as beside, storage.writing(path, f"the cell {draft.key.label}"):
        digest = beside.submit(arrays_digest, stored, threads)
        write_shards(storage, path, draft.template, stored, threads)
        check = beside.submit(verify_written, storage, path, draft.template, stored, threads)
        attributes = _attributes(draft, digest.result())
        write_metadata(storage, path, draft.template, draft.key, draft.geobox, attributes)
        storage.flush(path)
        check.result()
    return digest.result()


def _commit(index: Index, storage: Storage, draft: CellDraft, digest: str, row: Dataset | None) -> None:
    """In one transaction archive what the cell replaces and add it, or restore its row; of several builds at once, one after the other."""
    key = draft.key
    with chooser_of(index, f"{key.product}/{key.version}/{key.label}"):
        active = cells_at(index, key.product, key.version, key.tile.label, key.period)
        replaced = [cell.id for cell in active if cell.id != draft.id]
        with index.dc.index.transaction():
            if replaced:
                index.dc.index.datasets.archive(replaced)
            location = storage.url(cell_path(storage, key.product, draft.id)) + "/zarr.json"
            publish_derived(index, row, location, digest, lambda: cell_document(draft, digest))
        record_reasons(index, dict.fromkeys(replaced, f"replaced by {draft.id}"), "build")


def cell_document(draft: CellDraft, digest: str) -> dict[str, Any]:
    """The EO3 document of a cell. The row ends one microsecond early, so that a year does not touch the next."""
    geobox, key = draft.geobox, draft.key
    end = key.period.end - timedelta(microseconds=1)
    return {
        "$schema": EO3,
        "id": str(draft.id),
        "label": key.label,
        "product": {"name": key.product},
        "crs": str(geobox.crs),
        "geometry": geobox.extent.json,
        "grids": {"default": {"shape": list(geobox.shape), "transform": list(geobox.affine)}},
        "properties": {
            "datetime": key.period.start.isoformat(),
            "dtr:start_datetime": key.period.start.isoformat(),
            "dtr:end_datetime": end.isoformat(),
            "odc:processing_datetime": datetime.now(UTC).isoformat(),
            "odc:file_format": "zarr",
            "odc:region_code": key.tile.label,
            "neocube:product_version": key.version,
            "neocube:tile": key.tile.label,
            "neocube:period": key.period.label,
            "neocube:digest": draft.recipe_digest,
            CONTENT_DIGEST: digest,
            "neocube:overviews": len(level_sides(draft.grid.tile_px)),
            CODE: {"version": version("neocube"), "kernels": dict(KERNEL_VERSIONS)},
            **({SECONDS: draft.spent.document(), THREADS: draft.spent.threads} if draft.spent else {}),
            **draft.properties,
        },
        "measurements": {
            name: {"path": array, "layer": str(layer + 1)}
            for name, (array, layer) in draft.template.measurements.items()
        },
        "accessories": {},
        "lineage": {classifier: [str(source) for source in ids] for classifier, ids in draft.lineage.items() if ids},
    }


def _attributes(draft: CellDraft, digest: str) -> dict[str, Any]:
    return {
        "Conventions": "CF-1.11",
        "title": draft.template.title or draft.template.product,
        "neocube:product": draft.key.product,
        "neocube:version": draft.key.version,
        "neocube:cell": str(draft.id),
        "neocube:tile": draft.key.tile.label,
        "neocube:period": draft.key.period.label,
        "neocube:recipe_digest": draft.recipe_digest,
        CONTENT_DIGEST: digest,
        **{name: draft.properties[name] for name in (QUALITY,) if name in draft.properties},
    }
