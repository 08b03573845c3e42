"""The commands `simulate`, `ingest`, `scenes` and `quarantine`."""

from typing import Any, Literal

import click

from flows.cli_mirror import mirror_options, mirror_words
from flows.console import as_json_option, emit, progress_on_stderr


@click.command()
@as_json_option
@click.argument("directory")
@click.option("--area", default="demo", show_default=True, help="A name, a path, or west,south,east,north.")
@click.option("--period", default="2020", show_default=True, help="Such as 2020 or 2020-01-01/2020-06-30.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same pixels.")
@click.option("--size-px", default=160, show_default=True, help="Side of the landscape in 30 m pixels.")
@click.option("--faults", type=click.Choice(["none", "usual", "harsh"]), default="none", show_default=True)
@click.option("--max-scenes-per-platform", "limit", default=10, show_default=True, help="Passes; 0: all of them.")
def simulate(
    as_json: bool,
    directory: str,
    area: str,
    period: str,
    seed: int,
    size_px: int,
    faults: Literal["none", "usual", "harsh"],
    limit: int,
) -> None:
    """Write an archive with known truth into DIRECTORY: Landsat and Sentinel-2 COGs, STAC items, truth/.

    Example: neocube simulate var/demo/archive --seed 1 --faults usual
    """
    from flows.steps.areas import find_area
    from flows.steps.simulation.archive import Simulation, local_directory, write_archive
    from products.period import parse_period

    simulation = Simulation(find_area(area), parse_period(period), seed, size_px, faults, limit or None)
    document = write_archive(local_directory(directory), simulation)
    lines = [f"{document['items']} items in {directory}, truth in {document['truth']}"]
    lines += [f"fault: {fault['kind']} in {fault['item_id']}" for fault in document["faults"]]
    emit(document, as_json, lambda _: "\n".join(lines))


@click.command()
@as_json_option
@click.argument("archive")
@click.option("--collection", "collections", multiple=True, help="Only this collection, by the archive's name or ours.")
@click.option("--area", help="Only scenes that meet this area: a name, a path, or west,south,east,north.")
@click.option("--period", help="Only scenes of this period, such as 2020 or 2020-01-01/2020-06-30.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, write nothing.")
@click.option("--as", "as_source", metavar="NAME", help="ARCHIVE is a path of rasters of this source of sources.yaml.")
@click.option("--full", is_flag=True, help="List everything, not only what changed since the last listing.")
@mirror_options
def ingest(
    as_json: bool,
    archive: str,
    collections: tuple[str, ...],
    area: str | None,
    period: str | None,
    dry_run: bool,
    as_source: str | None,
    full: bool,
    mirror: dict[str, Any] | None,
) -> None:
    """Index the scenes of ARCHIVE: a known name, a STAC API, or a catalogue, item collection or folder of items.

    With --as: the label, elevation or other rasters at the path ARCHIVE.

    With --mirror: then copy their files, or what is not there yet, to a folder or bucket.

    Example: neocube ingest var/demo/archive
    """
    from flows.failed_work import reported
    from flows.prefect_api import has_prefect_api

    if has_prefect_api():
        from flows.ingest import ingest as ingest_flow

        report = reported(lambda: ingest_flow(archive, collections, area, period, dry_run, as_source, mirror, full))
    else:
        from flows.ingest_here import take_in

        with progress_on_stderr(f"ingesting {archive}") as tell:
            taken = take_in(
                archive,
                collections,
                area,
                period,
                dry_run,
                lambda n: tell(f"{n.found} items, {n.added} added"),
                as_source,
                full,
            )
            report = taken.document()
            if mirror and not dry_run:
                from flows.mirror_archive import mirror_archive

                report["mirror"] = mirror_archive(
                    archive, mirror, collections, area, period, lambda n: tell(f"{n.files} files, {n.copied} copied")
                )
    is_incomplete = bool(report["quarantined"] or report["stopped"] or report.get("mirror", {}).get("failed"))
    emit(report, as_json, _ingested, failed=is_incomplete)


@click.command()
@as_json_option
@click.option("--product", help="Only this source product.")
@click.option("--area", help="Only scenes that meet this area: a name, a path, or west,south,east,north.")
@click.option("--period", help="Only scenes of this period, such as 2020.")
def scenes(as_json: bool, product: str | None, area: str | None, period: str | None) -> None:
    """List the indexed scenes, archived ones with the reason.

    Example: neocube scenes --product sentinel2_msi_l2a --period 2020
    """
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from flows.steps.areas import find_area
    from flows.steps.index.scene_index import list_scenes
    from products.period import parse_period

    bounds, span = find_area(area) if area else None, parse_period(period) if period else None
    with open_index(get_settings()) as index:
        rows = list_scenes(index, product, bounds, span)
    lines = [f"{each['datetime']}  {each['item_id']}  {each['status']}" for each in rows]
    asked = "".join(f" {how} {what}" for how, what in (("of", product), ("over", area), ("in", period)) if what)
    emit(rows, as_json, lambda _: "\n".join(lines) or f"no scene{asked} is indexed")


@click.command()
@as_json_option
@click.option("--retry", is_flag=True, help="Try every item again first.")
def quarantine(as_json: bool, retry: bool) -> None:
    """List the items that could not be taken, and why. With --retry, exit code 1 if some still cannot.

    Example: neocube quarantine --retry
    """
    from datacube_config.connection import open_index
    from datacube_config.settings import get_settings
    from datacube_config.sources import source_table
    from flows.steps.ingesting.ingest_archive import retry_quarantine
    from flows.steps.ingesting.ingest_rasters import retry_rasters
    from flows.steps.ingesting.quarantine import listed
    from flows.steps.loading.raster_access import raster_access
    from flows.steps.storage import s3_options

    settings = get_settings()
    sources = source_table(settings.home)
    with open_index(settings) as index:
        refused = 0
        if retry:
            report = retry_quarantine(
                index,
                s3_options=s3_options(settings),
                access=raster_access(settings),
                radiometric_check=settings.radiometric_check,
                rasters=sources.names,
            )
            again = [
                report,
                *retry_rasters(index, sources, s3_options=s3_options(settings), access=raster_access(settings)),
            ]
            tried, refused = sum(each.found for each in again), sum(each.quarantined.total for each in again)
            click.echo(f"{tried} tried, {tried - refused} passed", err=True)
        rows = listed(index)
    words = (f"{each['since']}  {each['id']}  {each['cause']}" for each in rows)
    emit(rows, as_json, lambda _: "\n".join(words) or "nothing is in quarantine", failed=refused > 0)


def _ingested(report: dict[str, Any]) -> str:
    names = ("found", "added", "replaced", "superseded", "revised", "unchanged")
    counts = ", ".join(f"{report[name]} {name}" for name in names)
    told = [f"quarantined {each['id']}: {each['cause']}" for each in report["quarantined"]]
    told += [f"gone {name}: the archive no longer has it" for name in report["gone"]]
    told += [f"stopped {each['collection']}: {each['cause']}" for each in report["stopped"]]
    told += ["went on where the run before was cut off"] if report["resumed"] else []
    told += [mirror_words(report["mirror"])] if "mirror" in report else []
    told += [f"and more {name}: {report['counts'][name]} in all" for name in report["truncated"]]
    return "\n".join([f"{counts}, {report['counts']['quarantined']} quarantined in {report['seconds']:.1f} s", *told])
