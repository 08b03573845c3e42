"""Copies of the scenes of an archive at a mirror, and what became of them."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from typing import Any

from datacube.model import Dataset, Range
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from datacube_config.archives import collection_aliases
from datacube_config.connection import Index
from datacube_config.schema import known_item, mirror_file
from flows.steps.archives.in_batches import in_batches
from flows.steps.archives.source_bytes import CopyFailed, FileAccess
from flows.steps.index.catalogue import scene_of
from flows.steps.index.scene_lookup import find_datasets
from flows.steps.loading.mirror_locations import recorded_copies
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.mirroring.mirror_jobs import CopyContext, MirrorJob, MirrorOrder, Outcome, have_file, jobs_of
from products.area import Area
from products.period import Period
from products.scene import Scene
from products.sensors import SENSORS

SCENES_AT_ONCE = 100
LOOKED_UP_AT_ONCE = 1000
COPIES_AT_ONCE = 8


@dataclass(slots=True)
class MirrorReport:
    """What became of the files of a mirror. files = copied + kept + outside + failed; `damaged` were there, but wrong."""

    mirror: str
    files: int = 0
    copied: int = 0
    kept: int = 0
    outside: int = 0
    copied_bytes: int = 0
    damaged: list[dict[str, str]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)


def mirror_scenes(
    index: Index,
    scenes: Iterable[Scene],
    order: MirrorOrder,
    files: FileAccess,
    access: RasterAccess,
    progress: Callable[[MirrorReport], None] | None = None,
) -> MirrorReport:
    """Have the files of some scenes at a mirror. Safe to repeat and to kill; StorageUnavailable if the mirror gives out."""
    started, report = time.monotonic(), MirrorReport(order.root)
    context = CopyContext(files, access, threading.Event())
    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        try:
            for batch in in_batches(scenes, SCENES_AT_ONCE):
                rows = recorded_copies(index, [scene.id for scene in batch], order.root)
                jobs = [job for scene in batch for job in jobs_of(scene, order, rows)]
                doing = {pool.submit(have_file, job, order, context): job for job in jobs}
                for done in as_completed(doing):
                    _settle(index, report, doing[done], done, files)
                    report.seconds = round(time.monotonic() - started, 3)
                    if progress:
                        progress(report)
        finally:
            context.stop.set()
            pool.shutdown(cancel_futures=True)
    return report


def scenes_to_mirror(
    index: Index, archive: str, collections: Sequence[str], area: Area | None, period: Period | None
) -> Iterator[Scene]:
    """The active scenes of an archive, of some collections (by its names or ours), ground and time; also those that were taken from another before."""
    wanted = {collection_aliases().get(name, name) for name in collections}
    for sensor in SENSORS.values():
        if wanted and sensor.collection not in wanted:
            continue
        for dataset in _held(index, archive, _datasets(index, sensor.product, area, period)):
            scene = scene_of(dataset)
            is_inside = area is None or area.meets(scene.ground.geom)
            if is_inside and (period is None or period.contains(scene.acquired)):
                yield scene


def _held(index: Index, archive: str, datasets: Iterable[Dataset]) -> Iterator[Dataset]:
    """Those of some datasets that were taken from an archive, or that an item of it was found to be."""
    for some in in_batches(datasets, LOOKED_UP_AT_ONCE):
        others = [each.id for each in some if each.metadata_doc["properties"]["neocube:archive"] != archive]
        is_there = (known_item.c.archive == archive) & known_item.c.gone_at.is_(None)
        asked = select(known_item.c.dataset_id).where(is_there, known_item.c.dataset_id.in_(others))
        with index.engine.connect() as connection:
            elsewhere = set(others) - set(connection.scalars(asked) if others else ())
        yield from (each for each in some if each.id not in elsewhere)


def _datasets(index: Index, product: str, area: Area | None, period: Period | None) -> Iterable[Dataset]:
    """The active datasets of a product that may lie in an area and a period; without an area as they come, however many."""
    if area is not None:
        return find_datasets(index, [product], period, area.geometry)
    query: dict[str, Any] = {"time": Range(period.start, period.end)} if period else {}
    found: Iterable[Dataset] = index.dc.index.datasets.search(product=product, **query)
    return found


def _settle(index: Index, report: MirrorReport, job: MirrorJob, done: "Future[Outcome]", files: FileAccess) -> None:
    """Record what became of a file: the row is the commit, then the copy that it replaces goes."""
    report.files += 1
    names = {"item_id": job.scene.item_id, "band": ",".join(job.bands)}
    try:
        outcome = done.result()
    except CopyFailed as failure:
        report.failed.append({**names, "cause": str(failure)})
        return
    if outcome.damage:
        report.damaged.append({**names, "cause": outcome.damage})
    if outcome.copied is None:
        report.kept += outcome.state == "kept"
        report.outside += outcome.state == "outside"
        return
    _record(index, job, outcome, report.mirror)
    if job.kept is not None and job.kept.href != outcome.copied.href:
        files.remove(job.kept.href)
    report.copied += 1
    report.copied_bytes += outcome.copied.moved_bytes


def _record(index: Index, job: MirrorJob, outcome: Outcome, mirror: str) -> None:
    assert outcome.copied is not None
    values = {
        "href": outcome.copied.href,
        "sha256": outcome.copied.sha256,
        "size_bytes": outcome.copied.size_bytes,
        "clip": asdict(outcome.clip) if outcome.clip else None,
        "encoding": outcome.encoding,
    }
    rows = [{"dataset_id": job.scene.id, "band": band, "mirror": mirror, **values} for band in job.bands]
    statement = insert(mirror_file)
    again = statement.on_conflict_do_update(
        index_elements=["dataset_id", "band", "mirror"], set_={name: statement.excluded[name] for name in values}
    )
    with index.engine.begin() as connection:
        connection.execute(again, rows)
