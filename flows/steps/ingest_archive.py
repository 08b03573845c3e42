"""An archive into the index: every item becomes a scene, is known already, or goes to quarantine with its cause."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import shapely

from datacube_config.archives import collection_aliases
from datacube_config.connection import Index
from flows.steps.archive_files import ArchiveFiles
from flows.steps.footprint import lonlat_footprint, read_file_grid
from flows.steps.item_refused import ItemRefused, NotAScene
from flows.steps.items import FoundItem, Wanted, archive_location, read_items, reread
from flows.steps.normalise import SceneDocument, normalise
from flows.steps.quarantine import keep, kept_items, release
from flows.steps.scene_identity import sensing_time
from flows.steps.scene_index import take_scenes
from products.area import Area
from products.period import Period

BATCH_ITEMS = 500


@dataclass(slots=True)
class IngestReport:
    """What an ingest did. found = added + replaced + superseded + unchanged + skipped + quarantined.

    `replaced`: added, and a lower rendition archived; `superseded`: added and archived at once, below another;
    `skipped`: items that are part of another item's scene.
    """

    archive: str
    dry_run: bool = False
    found: int = 0
    added: int = 0
    replaced: int = 0
    superseded: int = 0
    unchanged: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    quarantined: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)


Progress = Callable[[IngestReport], None]


def ingest_archive(
    index: Index,
    archive: str,
    *,
    collections: Sequence[str] = (),
    area: Area | None = None,
    period: Period | None = None,
    dry_run: bool = False,
    s3_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Index what an archive holds; safe to repeat and to interrupt. RequestError if there is no such archive."""
    started = time.monotonic()
    files = ArchiveFiles(s3_options)
    name = archive_location(archive)
    report = IngestReport(name, dry_run)
    wanted = Wanted(tuple(collections), area.geometry.boundingbox.bbox if area else None, _interval(period))
    items = (
        found for found in read_items(archive, wanted, files) if _in_scope(found, wanted.collections, area, period)
    )
    # A trial run writes nothing, so that only one batch of all can tell which renditions would win.
    for batch in _batches(items, None if dry_run else BATCH_ITEMS):
        _take(index, name, batch, report)
        report.seconds = round(time.monotonic() - started, 3)
        if progress:
            progress(report)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def retry_quarantine(index: Index, *, s3_options: Mapping[str, Any] | None = None) -> IngestReport:
    """Try everything in quarantine again, from the stored documents; what could not be read is read again."""
    started = time.monotonic()
    files = ArchiveFiles(s3_options)
    report = IngestReport("quarantine")
    by_archive: dict[str, list[FoundItem]] = {}
    for archive, found in kept_items(index, files):
        again = [found] if found.document else reread(found, files)
        by_archive.setdefault(archive, []).extend(again)
        if found.id not in {each.id for each in again}:
            release(index, archive, [found.id])
    for archive, items in by_archive.items():
        _take(index, archive, items, report)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _take(index: Index, archive: str, batch: Sequence[FoundItem], report: IngestReport) -> None:
    """Normalise a batch, index it, keep what was refused."""
    scenes: list[SceneDocument] = []
    passed: list[str] = []
    refused: list[tuple[FoundItem, str]] = []
    for found in batch:
        try:
            scenes.append(_scene(found, archive))
            passed.append(found.id)
        except NotAScene as note:
            report.skipped.append({"id": found.id, "note": str(note)})
            passed.append(found.id)
        except ItemRefused as refusal:
            refused.append((found, str(refusal)))
    decision = take_scenes(index, scenes, dry_run=report.dry_run)
    if not report.dry_run:
        again = {found.id for found, _ in refused}
        release(index, archive, [name for name in passed if name not in again])
        keep(index, archive, refused)
    report.found += len(batch)
    report.added += len(decision.added)
    report.replaced += len(decision.replaced)
    report.superseded += len(decision.superseded)
    report.unchanged += decision.unchanged
    report.quarantined += [{"id": found.id, "cause": cause} for found, cause in refused]


def _scene(found: FoundItem, archive: str) -> SceneDocument:
    """The scene of an item; ItemRefused for whatever is wrong with it."""
    if found.document is None:
        raise ItemRefused(found.cause or "unreadable item")
    try:
        return normalise(found.document, found.place, archive, read_file_grid)
    except (ItemRefused, NotAScene):
        raise
    except Exception as error:  # the boundary: what one untrusted document provokes must not stop its page
        raise ItemRefused(f"unexpected content: {type(error).__name__}: {error}") from error


def _in_scope(found: FoundItem, collections: Sequence[str], area: Area | None, period: Period | None) -> bool:
    """Whether an item is asked for; one that does not say is, so that its fault comes to light."""
    item = found.document
    if item is None:
        return True
    named = item.get("collection")
    if collections and isinstance(named, str) and not _collection_matches(named, collections):
        return False
    try:
        if period and not period.contains(sensing_time(item["properties"])):
            return False
        return area is None or bool(_meets(lonlat_footprint(item), area))
    except (ItemRefused, KeyError, TypeError, AttributeError):
        return True


def _collection_matches(named: str, collections: Sequence[str]) -> bool:
    """Whether a catalogue's collection is one of those asked for, by its own name or ours."""
    if named in collections:
        return True
    return collection_aliases().get(named) in collections


def _meets(footprint: shapely.geometry.base.BaseGeometry, area: Area) -> bool:
    """Whether a footprint meets an area, also one that reaches beyond 180 degrees."""
    western = shapely.transform(footprint, lambda xy: xy - [360, 0])
    return bool(footprint.intersects(area.geometry.geom) or western.intersects(area.geometry.geom))


def _interval(period: Period | None) -> str | None:
    return f"{period.start:%Y-%m-%dT%H:%M:%SZ}/{period.end:%Y-%m-%dT%H:%M:%SZ}" if period else None


def _batches(items: Iterable[FoundItem], size: int | None) -> Iterator[list[FoundItem]]:
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch
