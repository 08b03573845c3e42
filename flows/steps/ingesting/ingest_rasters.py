"""Declared rasters into the index: each is added, known already, or goes to quarantine with its cause."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datacube.index.abstract import DatasetTuple
from datacube.model import Dataset
from datacube.utils.changes import allow_any
from odc.geo.crs import CRS
from odc.geo.geom import Geometry

from datacube_config.connection import Index
from datacube_config.sources import FolderSource, RasterSource, SourceTable
from flows.steps.archives.archive_files import ArchiveFiles, as_uri
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.in_batches import in_batches
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.items import FoundItem, check_stated, in_its_words
from flows.steps.index.advisory_locks import alone
from flows.steps.index.index_setup import add_product
from flows.steps.ingesting.ingest_report import IngestReport
from flows.steps.ingesting.quarantine import keep, kept_archives, kept_items, release
from flows.steps.ingesting.raster_files import RasterFiles, RefusedFile, find_rasters, matching_files
from flows.steps.ingesting.raster_products import (
    METADATA_TYPE,
    RasterDocument,
    folder_document,
    product_definition,
    raster_document,
    raster_extent,
    raster_id,
)
from flows.steps.loading.dataset_location import dataset_location
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.storage import path_of
from products.area import Area
from products.covered_ground import covered_ground
from products.errors import RequestError
from products.formula import near
from products.period import Period

BATCH_RASTERS = 200
LOCK = "neocube rasters"
MOVED = {("measurements",): allow_any}
BENT = {("extent",): allow_any}
Progress = Callable[[IngestReport], None]
Found = RasterFiles | RefusedFile


def ingest_rasters(
    index: Index,
    name: str,
    path: str,
    table: SourceTable,
    *,
    area: Area | None = None,
    period: Period | None = None,
    dry_run: bool = False,
    s3_options: Mapping[str, Any] | None = None,
    access: RasterAccess | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Index the files at a path as a source of sources.yaml; safe to repeat. RequestError for an unknown name, no path or nothing there."""
    started = time.monotonic()
    check_stated(path, f"expected the path or URL of files of {name}")
    files = ArchiveFiles(s3_options)
    location = path.rstrip("/") if "://" in path else str(Path(path).resolve())
    source = table.rasters.get(name) or table.folders.get(name)
    if source is None:
        raise RequestError(f"unknown source {name!r}{near(name, table.names)}; or add it to sources.yaml")
    _declare(index, name, source, dry_run)
    report = IngestReport(name, dry_run)
    work = _Work(index, name, location, files, access or RasterAccess(), report)
    with in_its_words():
        if isinstance(source, FolderSource):
            work.take_folder(source)
        else:
            found = (each for each in find_rasters(source, location, files) if _in_period(each, period))
            for batch in in_batches(found, BATCH_RASTERS):
                work.take(source, batch, area)
                report.seconds = round(time.monotonic() - started, 3)
                if progress:
                    progress(report)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def retry_rasters(
    index: Index,
    table: SourceTable,
    *,
    s3_options: Mapping[str, Any] | None = None,
    access: RasterAccess | None = None,
) -> list[IngestReport]:
    """Take in again the folders from which rasters are in quarantine; what is no longer there leaves it."""
    files, reports = ArchiveFiles(s3_options), []
    for name in (archive for archive in kept_archives(index) if archive in table.names):
        kept = [(found.id, found.place.root) for found in kept_items(index, files, name, only_due=False)]
        with in_its_words():
            release(index, name, [("", path) for path, _ in kept if not files.exists(path)])
            roots = dict.fromkeys(root for path, root in kept if files.exists(path))
        reports += [ingest_rasters(index, name, root, table, s3_options=s3_options, access=access) for root in roots]
    return reports


class _Work:
    """One ingest of one source: where it writes, and what it did so far."""

    def __init__(
        self, index: Index, name: str, location: str, files: ArchiveFiles, access: RasterAccess, report: IngestReport
    ) -> None:
        self.index, self.name, self.location = index, name, location
        self.files, self.access, self.report = files, access, report

    def take(self, source: RasterSource, batch: list[Found], area: Area | None) -> None:
        """Index a batch, keep what was refused. A raster known at the same place is not opened again."""
        refused = [(each.path, each.cause) for each in batch if isinstance(each, RefusedFile)]
        groups = [each for each in batch if isinstance(each, RasterFiles)]
        known = self._known([raster_id(self.name, group.facts.key) for group in groups])
        made, passed = [], []
        for group in groups:
            here = known.get(str(raster_id(self.name, group.facts.key)))
            if here is not None and dataset_location(here) == as_uri(group.first):
                self._bend(here)
                self.report.unchanged += 1
                passed.append(group.first)
                continue
            try:
                document = raster_document(self.name, source, group, self.access)
            except ItemRefused as refusal:
                refused.append((group.first, str(refusal)))
                continue
            passed.append(group.first)
            if area is None or _meets(document, area):
                made.append(document)
            else:
                self.report.found -= 1
        self.report.found += len(batch)
        refused += self._write(made)
        self._settle(passed, refused)

    def take_folder(self, source: FolderSource) -> None:
        """Register a folder by its presence."""
        n_files = len(matching_files(source, self.location, self.files))
        document = folder_document(self.name, source, self.location, n_files)
        self.report.found += 1
        self._settle([self.location], self._write([document]))

    def _write(self, documents: list[RasterDocument]) -> list[tuple[str, str]]:
        """Add what is new, note the new place of what has moved; (path, cause) of what is still known elsewhere."""
        if self.report.dry_run:
            return self._decide(documents)
        with alone(self.index, LOCK):
            return self._decide(documents)

    def _decide(self, documents: list[RasterDocument]) -> list[tuple[str, str]]:
        known = self._known([document.id for document in documents])
        fresh, refused = [], []
        for document in documents:
            here = known.get(str(document.id))
            if here is None:
                fresh.append(document)
            elif dataset_location(here) == document.location:
                self.report.unchanged += 1
            elif self.files.exists(path_of(dataset_location(here))):
                cause = f"known already, at {dataset_location(here)}: give this one another version, or remove one"
                refused.append((path_of(document.location), cause))
            elif _same_grid(here, document):
                self.report.replaced += 1
                if not self.report.dry_run:
                    self._move(here, document)
            else:
                cause = f"known from {dataset_location(here)} with another grid: give this one another version"
                refused.append((path_of(document.location), cause))
        self.report.added += len(fresh)
        if fresh and not self.report.dry_run:
            with self.index.dc.index.transaction():
                self.index.dc.index.datasets.bulk_add(list(self._tuples(fresh)))
        return refused

    def _tuples(self, documents: Iterable[RasterDocument]) -> Iterator[DatasetTuple]:
        product = self.index.dc.index.products.get_by_name(self.name)
        lineage: dict[str, Any] = {} if self.index.driver == "postgis" else {"source_datasets": {}}
        for document in documents:
            yield DatasetTuple(product, {**document.document, "lineage": lineage}, document.location)

    def _move(self, here: Dataset, document: RasterDocument) -> None:
        """Put the new place of a known raster into its row."""
        stored = {**here.metadata_doc, "measurements": document.document["measurements"]}
        self.index.dc.index.datasets.update(Dataset(here.product, stored, uri=document.location), MOVED)

    def _bend(self, here: Dataset) -> None:
        """Have the bounds of a known raster follow its edges, where its row has those of its corners."""
        stored = {**here.metadata_doc, "extent": raster_extent(here.metadata_doc)}
        if stored["extent"] != here.metadata_doc["extent"] and not self.report.dry_run:
            self.index.dc.index.datasets.update(Dataset(here.product, stored, uri=dataset_location(here)), BENT)

    def _known(self, ids: list[Any]) -> dict[str, Dataset]:
        found = self.index.dc.index.datasets.bulk_get(ids) if ids else []
        return {str(each.id): each for each in found}

    def _settle(self, passed: list[str], refused: list[tuple[str, str]]) -> None:
        """Quarantine what was refused, under its path, and release what passed."""
        self.report.quarantined += [{"id": path, "cause": cause} for path, cause in refused]
        if self.report.dry_run:
            return
        again = {path for path, _ in refused}
        release(self.index, self.name, [("", path) for path in passed if path not in again])
        keep(self.index, self.name, [(self._item(path), cause) for path, cause in refused])

    def _item(self, path: str) -> FoundItem:
        place = ItemPlace(as_uri(path), path.rpartition("/")[0], self.location, self.files.files_in)
        return FoundItem(path, place, None)


def _declare(index: Index, name: str, source: RasterSource | FolderSource, dry_run: bool) -> None:
    if index.dc.index.metadata_types.get_by_name(METADATA_TYPE) is None:
        raise RequestError(f"the index does not know the metadata type {METADATA_TYPE}: run `neocube init`")
    if not dry_run:
        add_product(index.dc, product_definition(name, source))


def _same_grid(here: Dataset, document: RasterDocument) -> bool:
    stored = here.metadata_doc
    return bool(stored["grids"] == document.document["grids"] and stored["crs"] == document.document["crs"])


def _meets(document: RasterDocument, area: Area) -> bool:
    shape = Geometry(document.document["geometry"], CRS(document.document["crs"]))
    return area.meets(covered_ground(shape).geom)


def _in_period(each: Found, period: Period | None) -> bool:
    if period is None or isinstance(each, RefusedFile):
        return True
    return bool(each.facts.period.start < period.end and period.start < each.facts.period.end)
