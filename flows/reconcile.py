"""Compare an archive with a second one, the index and the storage, and raise where thresholds are passed."""

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from datacube_config.connection import open_index
from datacube_config.settings import Settings, get_settings
from flows.run_artifacts import leave_picture, leave_table, logged_flow
from flows.run_logs import logged_run
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.host_buckets import HostBuckets
from flows.steps.archives.items import archive_location
from flows.steps.archives.site_files import SiteFiles
from flows.steps.areas import find_area
from flows.steps.pictures.reconcile import reconcile_picture
from flows.steps.service.metrics import metrics_path, write_metrics
from flows.steps.storage import open_storage, s3_options
from flows.steps.upkeep.archive_listing import Scope, compared_tables, index_listing, list_archive
from flows.steps.upkeep.reconcile_report import Limits, alarms_of, gauges_of, totals_of
from flows.steps.upkeep.reconciling import between_archives, compare, forget_moved, forget_purged, freshness
from flows.steps.upkeep.storage_check import StorageMode, lost_files, stored_orphans
from products.errors import RequestError
from products.period import parse_period

Progress = Callable[[str], None]


class ReconcileAlarm(RuntimeError):
    """A threshold is passed; the message says which, by how much."""


@logged_run("reconcile")
def compare_archive(
    archive: str,
    against: str | None = None,
    collections: Sequence[str] = (),
    area: str | None = None,
    period: str | None = None,
    storage: StorageMode = "sample",
    max_missing: float | None = None,
    max_age_days: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The report: findings with counts, freshness, alarms, and where its picture and metrics lie."""
    started, settings = time.monotonic(), get_settings()
    scope = Scope(tuple(collections), find_area(area) if area else None, parse_period(period) if period else None)
    limits = Limits(max_missing, max_age_days)
    names = [archive_location(name) for name in (archive, against) if name is not None]
    if len(set(names)) < len(names):
        raise RequestError(f"--against: expected another archive than {archive}, got the same")
    tell = progress or (lambda words: None)
    with open_index(settings) as index, compared_tables(index) as connection:
        n_skipped, files = 0, ArchiveFiles(s3_options(settings), SiteFiles(HostBuckets(index.engine)))
        for name in names:
            n_skipped += list_archive(connection, name, name, scope, files, partial(_tell_count, tell, name))
        tell("comparing")
        index_listing(connection, index, scope)
        findings = compare(connection, index, names, scope)
        if storage != "off":
            tell("looking into the store")
            findings.add("orphans", stored_orphans(connection, index, open_storage(settings)))
            findings.add("orphans", lost_files(connection, index, files, names, storage))
        fresh = freshness(connection)
        between = between_archives(connection, names)
        n_forgotten = forget_purged(index, names) + forget_moved(index, names, findings.rows["orphans"])
    totals = totals_of(fresh)
    report = {
        "archive": names[0],
        "against": names[1] if against else None,
        "collections": totals,
        "counts": findings.counts,
        **findings.rows,
        "truncated": [name for name, rows in findings.rows.items() if len(rows) < findings.counts[name]],
        "between": between,
        "freshness": fresh,
        "not_scenes": n_skipped,
        "forgotten": n_forgotten,
        "storage": storage,
        "alarms": alarms_of(totals, limits, datetime.now(UTC)),
    }
    return report | _left(settings, report) | {"seconds": round(time.monotonic() - started, 3)}


def _left(settings: Settings, report: dict[str, Any]) -> dict[str, str]:
    """Write the picture and the metrics; where they lie."""
    name = hashlib.sha256(report["archive"].encode()).hexdigest()[:8]
    picture = settings.home / "reconcile" / f"{name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    partial = picture.with_suffix(".partial")
    partial.write_bytes(reconcile_picture(report["freshness"], f"{report['archive']}: acquisitions indexed"))
    partial.replace(picture)
    metrics = metrics_path(settings.home, "reconcile")
    write_metrics(metrics, gauges_of(report, datetime.now(UTC)), ("archive", report["archive"]))
    return {"picture": str(picture), "metrics": str(metrics)}


@flow(name="reconcile", flow_run_name="reconcile-{archive}")
@logged_flow
def reconcile(
    archive: str,
    against: str | None = None,
    collections: Sequence[str] = (),
    area: str | None = None,
    period: str | None = None,
    storage: StorageMode = "sample",
    max_missing: float | None = None,
    max_age_days: float | None = None,
) -> dict[str, Any]:
    """Compare an archive with the index and the storage; ReconcileAlarm, after the report is left, where a threshold is passed."""
    report = compare_archive(archive, against, collections, area, period, storage, max_missing, max_age_days)
    leave_table(
        "reconcile-freshness", report["freshness"] or [{"collection": "nothing is listed"}], f"{archive}: freshness"
    )
    rows = [{"what": name, "count": count} for name, count in report["counts"].items()]
    leave_table("reconcile", rows, f"{archive}: what differs")
    leave_picture("reconcile-coverage", Path(report["picture"]).read_bytes(), f"{archive}: share indexed")
    if report["alarms"]:
        raise ReconcileAlarm("; ".join(report["alarms"]))
    return report


def _tell_count(tell: Callable[[str], None], archive: str, n_items: int) -> None:
    tell(f"{n_items} items of {archive}")
