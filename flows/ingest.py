"""The flow `ingest`: the scenes of an archive into the index, what cannot be taken into quarantine."""

from collections.abc import Sequence
from typing import Any

from prefect import flow

from flows.failed_work import end_failed
from flows.index_retry import outlasting
from flows.ingest_here import take_in
from flows.mirror_archive import mirror_archive
from flows.run_artifacts import leave_table, logged_flow, progress_bar
from flows.run_events import announce_scenes
from flows.steps.ingesting.ingest_report import IngestReport


@flow(name="ingest", flow_run_name="ingest-{archive}")
@logged_flow
@outlasting
def ingest(
    archive: str,
    collections: Sequence[str] = (),
    area: str | None = None,
    period: str | None = None,
    dry_run: bool = False,
    as_source: str | None = None,
    mirror: dict[str, Any] | None = None,
    full: bool = False,
) -> dict[str, Any]:
    """Index the scenes of an archive, or rasters as a source of sources.yaml, and report what was found, added, replaced, unchanged and quarantined.

    WorkFailed where a listing stopped or a file could not be mirrored. What is in quarantine is work for later, and no failure of the run.
    """
    move = progress_bar("ingest-progress", f"{archive}: 0 items")
    report = take_in(
        archive,
        collections,
        area,
        period,
        dry_run,
        lambda so_far: move(0.0, f"{archive}: {so_far.found} items, {so_far.added} added"),
        as_source,
        full,
    )
    move(1.0, f"{archive}: {report.found} items, {report.added} added")
    leave_table("ingest", _table(report), f"Ingest of {report.archive}")
    document = report.document()
    announce_scenes(report.archive, report.added + report.replaced)
    if mirror is not None and not dry_run:
        document["mirror"] = mirror_archive(archive, mirror, collections, area, period)
    end_failed(document, _causes(document))
    return document


def _causes(document: dict[str, Any]) -> list[str]:
    stopped = [f"{each['collection'] or 'the listing'} stopped: {each['cause']}" for each in document["stopped"]]
    failed = document.get("mirror", {}).get("failed", [])
    return stopped + [f"not mirrored {each['item_id']} {each['band']}: {each['cause']}" for each in failed]


def _table(report: IngestReport) -> list[dict[str, Any]]:
    counts = ("found", "added", "replaced", "superseded", "revised", "unchanged", "seconds")
    rows = [{"what": name, "value": str(getattr(report, name))} for name in counts]
    rows += [{"what": f"stopped {each['collection']}", "value": each["cause"]} for each in report.stopped]
    rows += [{"what": f"gone {name}", "value": "the archive no longer has it"} for name in report.gone]
    return rows + [{"what": f"quarantined {each['id']}", "value": each["cause"]} for each in report.quarantined]
