"""Mirror the scenes of an archive: files to a folder or bucket nearer to who reads them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from flows.run_logs import logged_run
from flows.steps.archives.host_buckets import HostBuckets
from flows.steps.archives.items import archive_location
from flows.steps.archives.source_bytes import FileAccess
from flows.steps.areas import find_area
from flows.steps.loading.raster_access import raster_access
from flows.steps.mirroring.mirror_jobs import MirrorOrder, mirror_order
from flows.steps.mirroring.mirroring import MirrorReport, mirror_scenes, scenes_to_mirror
from flows.steps.storage import s3_options
from products.period import parse_period

Wish = Mapping[str, Any]


def order_of(wish: Wish, area: str | None) -> MirrorOrder:
    """The order that the options of `ingest` make: `root`, and any of `bands`, `clip`, `clip_for`, `stage`, `verify`; RequestError."""
    return mirror_order(**wish, area=find_area(area) if area else None)


@logged_run("mirror")
def mirror_archive(
    archive: str,
    wish: Wish,
    collections: Sequence[str] = (),
    area: str | None = None,
    period: str | None = None,
    progress: Callable[[MirrorReport], None] | None = None,
) -> dict[str, Any]:
    """Have the files of the indexed scenes of an archive at a mirror; the report as JSON has it."""
    settings, order = get_settings(), order_of(wish, area)
    ground, span = find_area(area) if area else None, parse_period(period) if period else None
    access = raster_access(settings)
    with open_index(settings) as index:
        files = FileAccess(s3_options(settings), access.signing, HostBuckets(index.engine))
        scenes = scenes_to_mirror(index, archive_location(archive), collections, ground, span)
        return mirror_scenes(index, scenes, order, files, access, progress).document()
