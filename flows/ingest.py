"""Ingest an archive: its scenes into the index, what cannot be taken into quarantine."""

from collections.abc import Callable, Sequence
from typing import Any

from prefect import flow

from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from flows.run_artifacts import leave_table
from flows.steps.areas import find_area
from flows.steps.ingest_archive import IngestReport, ingest_archive
from flows.steps.storage import s3_options
from products.period import parse_period


def take_in(
    archive: str,
    collections: Sequence[str] = (),
    area: str | None = None,
    period: str | None = None,
    dry_run: bool = False,
    progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Index the scenes of an archive; `progress` is told the counts so far."""
    settings = get_settings()
    ground, span = find_area(area) if area else None, parse_period(period) if period else None
    with open_index(settings) as index:
        return ingest_archive(
            index,
            archive,
            collections=collections,
            area=ground,
            period=span,
            dry_run=dry_run,
            s3_options=s3_options(settings),
            progress=progress,
        )


@flow(name="ingest", flow_run_name="ingest-{archive}")
def ingest(
    archive: str,
    collections: Sequence[str] = (),
    area: str | None = None,
    period: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Index the scenes of an archive and report what was found, added, replaced, unchanged and quarantined."""
    report = take_in(archive, collections, area, period, dry_run)
    leave_table("ingest", _table(report), f"Ingest of {report.archive}")
    return report.document()


def _table(report: IngestReport) -> list[dict[str, Any]]:
    counts = ("found", "added", "replaced", "superseded", "unchanged", "seconds")
    rows = [{"what": name, "value": str(getattr(report, name))} for name in counts]
    return rows + [{"what": f"quarantined {each['id']}", "value": each["cause"]} for each in report.quarantined]
