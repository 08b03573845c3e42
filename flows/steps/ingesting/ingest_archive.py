"""An archive into the index, from where the run before left off: what it lists is taken, what it lost is noted."""

import time
from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, Literal

from datacube_config.archives import collection_aliases
from datacube_config.connection import Index
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.host_buckets import HostBuckets
from flows.steps.archives.in_batches import in_batches
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.items import FoundItem, StacApi, Wanted, acknowledge, archive_location, reread, stac_api
from flows.steps.archives.polite_requests import ApiUnavailable, Patience, open_client
from flows.steps.archives.rate_limit import bucket_of
from flows.steps.archives.site_files import SiteFiles
from flows.steps.archives.stac_api import Provider
from flows.steps.ingesting.batches_ahead import Inside, begun, begun_ahead
from flows.steps.ingesting.harvest import Batch, HarvestKey, area_key, locked_cursor, period_key
from flows.steps.ingesting.harvest_files import file_batches, unchanged_items
from flows.steps.ingesting.harvest_pages import ApiHarvest, api_batches
from flows.steps.ingesting.ingest_report import IngestReport, Progress
from flows.steps.ingesting.item_keys import item_key
from flows.steps.ingesting.known_items import touch_known
from flows.steps.ingesting.quarantine import kept_archives, kept_items, release
from flows.steps.ingesting.removed_items import note_removed
from flows.steps.ingesting.take_items import Take, take_items, take_prepared
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.scenes.footprint import lonlat_footprint
from flows.steps.scenes.item_facts import sensing_time
from flows.steps.scenes.rare_collection import rare_collection
from flows.steps.scenes.scene_pool import ScenePool
from products.antimeridian import Box
from products.area import Area
from products.covered_ground import asked_box
from products.period import Period

RETRY_ITEMS = 200


@rare_collection()
def ingest_archive(
    index: Index,
    archive: str,
    *,
    collections: Sequence[str] = (),
    area: Area | None = None,
    period: Period | None = None,
    dry_run: bool = False,
    full: bool = False,
    s3_options: Mapping[str, Any] | None = None,
    access: RasterAccess | None = None,
    radiometric_check: Literal["auto", "off"] = "auto",
    patience: Patience | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> IngestReport:
    """Index what an archive holds; safe to repeat and to interrupt. RequestError if there is no such archive.

    `full`: list everything, also where the last listing allows to ask for what changed since. `workers`: at most so many
    processes read the items of a large archive of files beside this one; None: one for each core but the first.
    """
    started, name, buckets = time.monotonic(), archive_location(archive), HostBuckets(None if dry_run else index.engine)
    files = ArchiveFiles(s3_options, SiteFiles(buckets, patience or Patience()))
    report = IngestReport(name, dry_run)
    take = Take(index, name, report, files, access or RasterAccess(), radiometric_check, pool=ScenePool(workers))
    wanted = Wanted(
        tuple(collections),
        asked_box(area.geometry.boundingbox.bbox) if area else None,
        period.interval if period else None,
    )
    api = stac_api(archive, wanted, files)
    if not dry_run:
        _retry(take, only_due=True)
        take.begin_listing()

    def inside(found: FoundItem) -> bool:
        return _in_scope(found, wanted.collections, area, period)

    if api is not None:
        batches = _of_api(take, api, wanted, (area, period), patience or Patience(), full)
    else:
        batches = _of_files(take, archive, wanted, (area, period), full, inside)
    with take.pool, closing(batches):
        for batch in _whole(batches) if dry_run else batches:
            _settle(take, batch if batch.prepared else begun(take, batch, inside))
            report.seconds = round(time.monotonic() - started, 3)
            if progress:
                progress(report)
    report.workers_lost += take.pool.lost
    report.seconds = round(time.monotonic() - started, 3)
    return report


def retry_quarantine(
    index: Index,
    *,
    s3_options: Mapping[str, Any] | None = None,
    access: RasterAccess | None = None,
    radiometric_check: Literal["auto", "off"] = "auto",
    rasters: Container[str] = (),
) -> IngestReport:
    """Try everything in quarantine but `rasters` again, from the stored documents; what could not be read is read again."""
    started, report = time.monotonic(), IngestReport("quarantine")
    files = ArchiveFiles(s3_options, SiteFiles(HostBuckets(index.engine)))
    for archive in (archive for archive in kept_archives(index) if archive not in rasters):
        _retry(Take(index, archive, report, files, access or RasterAccess(), radiometric_check), only_due=False)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _retry(take: Take, *, only_due: bool) -> None:
    """Take what is in quarantine of an archive; with `only_due`, what may have healed since it was tried last."""
    kept = kept_items(take.index, take.files, take.archive, only_due=only_due)
    for some in in_batches(kept, RETRY_ITEMS):
        again: dict[tuple[str, str], list[FoundItem]] = {
            item_key(found): [found] if found.document else reread(found, take.files) for found in some
        }
        take_items(take, [each for found in again.values() for each in found])
        lost = [key for key, found in again.items() if key not in set(map(item_key, found))]
        release(take.index, take.archive, lost)


def _settle(take: Take, batch: Batch) -> None:
    """Take what is asked for of a batch, note that the rest is still there, and let the archive forget its messages."""
    report = take.report
    if batch.prepared is None:
        raise ValueError("expected a batch whose items are being read")
    taken = take_prepared(take, batch.prepared)
    batch.n_new, batch.n_scenes, batch.n_repeated = taken.n_new, taken.n_scenes, taken.n_repeated
    if not report.dry_run:
        asked = {id(found) for found in batch.inside}
        touch_known(take.index.engine, take.archive, [each for each in batch.items if id(each) not in asked], take.run)
        report.gone += note_removed(take.index, take.archive, batch.items)
        acknowledge(batch.items)
    report.pages += batch.n_pages
    report.resumed |= batch.is_resumed
    report.gone += batch.gone
    report.found += batch.n_unread
    report.unchanged += batch.n_unread


def _of_api(
    take: Take,
    api: StacApi,
    wanted: Wanted,
    limits: tuple[Area | None, Period | None],
    patience: Patience,
    full: bool,
) -> Generator[Batch]:
    """The pages of each wanted collection of an API; a collection that the API does not let end is noted."""
    area, period = limits
    dry_run, engine = take.report.dry_run, take.index.engine
    with open_client(patience) as client:
        provider = Provider(client, bucket_of(api.url, api.requests_per_second, None if dry_run else engine), patience)
        names = api.collections or (() if wanted.collections else ("",))
        for collection, (ground, bounds) in product(names, _grounds(area)):
            harvest = ApiHarvest(api, collection, replace(wanted, bounds=bounds), period, take.files, provider)
            key = HarvestKey(take.archive, collection, ground, period_key(period))
            try:
                with locked_cursor(engine, key, dry_run=dry_run) as cursor:
                    yield from api_batches(harvest, cursor, forced=full)
            except ApiUnavailable as error:
                if not take.report.found:
                    raise
                take.report.stopped.append({"collection": collection, "cause": str(error)})


def _grounds(area: Area | None) -> list[tuple[str, Box | None]]:
    """The name under which each box of an area is listed, and what to ask for: without the belt round the world between two at the antimeridian."""
    boxes = area.boxes if area else ()
    if len(boxes) < 2:
        return [(area_key(area), asked_box(boxes[0]) if boxes else None)]
    return [(f"{area_key(area)} {side}", asked_box(box)) for side, box in zip(("east", "west"), boxes, strict=True)]


def _of_files(
    take: Take, archive: str, wanted: Wanted, limits: tuple[Area | None, Period | None], full: bool, inside: Inside
) -> Generator[Batch]:
    """The items of an archive that is listed whole each time."""
    area, period = limits
    key = HarvestKey(take.archive, ",".join(sorted(wanted.collections)), area_key(area), period_key(period))
    with locked_cursor(take.index.engine, key, dry_run=take.report.dry_run) as cursor:
        count = None if full else unchanged_items(cursor)
        if count is not None:
            cursor.touch()
            yield Batch([], n_unread=count)
        else:
            begin = iter if take.report.dry_run else partial(begun_ahead, take, inside=inside)
            try:
                yield from file_batches(archive, wanted, period, take.files, cursor, begin)
            except ApiUnavailable as error:
                if not take.report.found:
                    raise
                take.report.stopped.append({"collection": key.collection, "cause": str(error)})


def _whole(batches: Iterable[Batch]) -> Iterator[Batch]:
    """All batches as one: a trial run writes nothing, so that only all items together tell which renditions would win."""
    whole = Batch([])
    for batch in batches:
        whole.items += batch.items
        whole.n_pages += batch.n_pages
        whole.since = batch.since
    yield whole


def _in_scope(found: FoundItem, collections: Sequence[str], area: Area | None, period: Period | None) -> bool:
    """Whether an item is asked for; one that does not say is, so that its fault comes to light."""
    if found.is_removed:
        return False
    if collections and isinstance(named := found.collection, str) and not _collection_matches(named, collections):
        return False
    if (area is None and period is None) or (item := found.document) is None:
        return True
    try:
        if period and not period.contains(sensing_time(item["properties"])):
            return False
        return area is None or area.meets_scene(lonlat_footprint(item))
    except (ItemRefused, KeyError, TypeError, AttributeError):
        return True


def _collection_matches(named: str, collections: Sequence[str]) -> bool:
    """Whether a catalogue's collection is one of those asked for, by its own name or ours."""
    if named in collections:
        return True
    return collection_aliases().get(named) in collections
