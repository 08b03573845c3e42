"""Ingest an archive: its scenes into the index, what cannot be taken into quarantine; without Prefect."""

from collections.abc import Callable, Sequence

from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from datacube_config.sources import source_table
from flows.run_logs import logged_run
from flows.steps.areas import find_area
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.ingesting.ingest_rasters import ingest_rasters
from flows.steps.ingesting.ingest_report import IngestReport
from flows.steps.loading.raster_access import raster_access
from flows.steps.storage import s3_options
from products.errors import RequestError
from products.period import parse_period


@logged_run("ingest")
def take_in(
    archive: str,
    collections: Sequence[str] = (),
    area: str | None = None,
    period: str | None = None,
    dry_run: bool = False,
    progress: Callable[[IngestReport], None] | None = None,
    as_source: str | None = None,
    full: bool = False,
) -> IngestReport:
    """Index the scenes of an archive, or the rasters at a path as a source of sources.yaml; `progress` is told the counts so far."""
    settings = get_settings()
    ground, span = find_area(area) if area else None, parse_period(period) if period else None
    if as_source and collections:
        raise RequestError("--as takes no --collection: the name of the source says what the files are")
    with open_index(settings) as index:
        if as_source:
            return ingest_rasters(
                index,
                as_source,
                archive,
                source_table(settings.home),
                area=ground,
                period=span,
                dry_run=dry_run,
                s3_options=s3_options(settings),
                access=raster_access(settings),
                progress=progress,
            )
        return ingest_archive(
            index,
            archive,
            collections=collections,
            area=ground,
            period=span,
            dry_run=dry_run,
            full=full,
            s3_options=s3_options(settings),
            access=raster_access(settings),
            radiometric_check=settings.radiometric_check,
            progress=progress,
        )
