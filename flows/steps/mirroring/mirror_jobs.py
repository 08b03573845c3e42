"""One file of a scene at a mirror: what is there is checked, what lacks is copied."""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from odc.geo.geom import Geometry
from sqlalchemy import Row

from flows.steps.archives.packed_files import is_packed_folder
from flows.steps.archives.source_bytes import CopyFailed, FileAccess
from flows.steps.loading.clips import holds_window, window_over
from flows.steps.loading.mirror_locations import clip_from
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.mirroring.file_copy import Copied, copy_file, file_digest
from flows.steps.mirroring.file_recode import CLIPPED, STAGED, recode_file, window_to_copy
from flows.steps.scenes.normalise import GRANULE
from products.area import Area
from products.errors import RequestError
from products.registry import scene_recipe
from products.scene import Clip, Scene
from products.sensors import SENSORS

ATTEMPTS = 3
AS_IT_IS = "source"


@dataclass(frozen=True, slots=True)
class MirrorOrder:
    """What to have where: `root` is a path or s3:// URL; all bands if none are named; whole files unless there is `ground` to clip to.

    The bands that say what is clear come with any band. `stage`: in a codec that decodes fast; `verify`: read again
    what is there and compare its checksum.
    """

    root: str
    bands: tuple[str, ...] = ()
    ground: Geometry | None = None
    stage: bool = False
    verify: bool = False


def mirror_order(
    root: str, bands: str = "", *, area: Area | None = None, clip: bool = False, clip_for: str | None = None,
    stage: bool = False, verify: bool = False,
) -> MirrorOrder:  # fmt: skip
    """The order that a command's words make; RequestError if they make none. `clip_for` names a recipe whose tiles over the area are kept."""
    if (clip or clip_for) and area is None:
        raise RequestError("a clip needs an area: give one with --area, or leave --clip and --clip-for out")
    ground = area.geometry if clip and area is not None else None
    if clip_for and area is not None:
        recipe = scene_recipe(clip_for)
        grid = recipe.grid.pixel_grid(area.geometry)
        ground = grid.mosaic(grid.tiles(area.geometry)).pad(recipe.reach_px or 1).extent
    return MirrorOrder(_root(root), _bands(bands), ground, stage, verify)


@dataclass(frozen=True, slots=True)
class CopyContext:
    """What copying needs beside the order: files, how rasters are opened, and the word to stop."""

    files: FileAccess
    access: RasterAccess
    stop: threading.Event


@dataclass(frozen=True, slots=True)
class MirrorJob:
    """One source file of a scene, the bands in it, and the row of what the mirror has of it."""

    scene: Scene
    bands: tuple[str, ...]
    kept: Row[Any] | None

    @property
    def href(self) -> str:
        """The source."""
        return self.scene.granule_metadata[0] if self.is_metadata else self.scene.bands[self.bands[0]].href

    @property
    def is_metadata(self) -> bool:
        """Whether the file is no raster but the metadata of the granule."""
        return self.bands == (GRANULE,)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: `state` is kept, copied or outside (of the ground); `damage` says what was wrong with the copy that was there."""

    state: str
    copied: Copied | None = None
    clip: Clip | None = None
    encoding: str = AS_IT_IS
    damage: str = ""


def jobs_of(
    scene: Scene, order: MirrorOrder, rows: Mapping[tuple[UUID, str], Sequence[Row[Any]]]
) -> Iterator[MirrorJob]:
    """Each source file of a scene that holds a wanted band, once, and the metadata of its granule, unless that lies in a tar or zip file."""
    sensor = SENSORS[scene.sensor]
    wanted = (
        {*order.bands, sensor.mask, sensor.saturation, sensor.cloud_probability} if order.bands else set(scene.bands)
    )
    by_href: dict[str, list[str]] = {}
    for band, file in scene.bands.items():
        by_href.setdefault(file.href, []).append(band)
    for bands in by_href.values():
        if wanted.intersection(bands):
            yield MirrorJob(scene, tuple(bands), next(iter(rows.get((scene.id, bands[0]), ())), None))
    if scene.granule_metadata and not is_packed_folder(scene.granule_metadata[0]):
        yield MirrorJob(scene, (GRANULE,), next(iter(rows.get((scene.id, GRANULE), ())), None))


def have_file(job: MirrorJob, order: MirrorOrder, context: CopyContext) -> Outcome:
    """Keep what the mirror has, or copy it; a source that fails is tried again unless that is of no use. CopyFailed, StorageUnavailable."""
    damage = _damage(job.kept, order, context) if job.kept is not None else ""
    if job.kept is not None and not damage and (job.is_metadata or _is_enough(job.kept, order)):
        return Outcome("kept")
    for attempt in range(1, ATTEMPTS):
        try:
            return _copied(job, damage, order, context)
        except CopyFailed as failure:
            if failure.is_final or context.stop.wait(max(2**attempt, failure.wait_s)):
                raise
    return _copied(job, damage, order, context)


def _damage(kept: Row[Any], order: MirrorOrder, context: CopyContext) -> str:
    """What is wrong with a copy, by its size, or by its checksum where that is asked for; nothing if it is right."""
    try:
        if order.verify:
            found: tuple[int, str] = file_digest(kept.href, context.files, context.stop)
            right = (kept.size_bytes, kept.sha256)
        else:
            found, right = (context.files.size_of(kept.href), ""), (kept.size_bytes, "")
    except FileNotFoundError:
        return f"{kept.href} is gone"
    except (CopyFailed, OSError) as error:
        return f"{kept.href} cannot be read: {error}"
    if found[0] != right[0]:
        return f"{kept.href} has {found[0]} bytes, {right[0]} were copied"
    return "" if found == right else f"{kept.href} has another sha256 than was copied"


def _is_enough(kept: Row[Any], order: MirrorOrder) -> bool:
    """Whether a copy serves an order: a whole one serves any ground, a staged one also who did not ask for it."""
    clip = clip_from(kept.clip)
    if order.stage and kept.encoding != STAGED:
        return False
    return clip is None or (order.ground is not None and holds_window(clip, window_over(order.ground, clip)))


def _copied(job: MirrorJob, damage: str, order: MirrorOrder, context: CopyContext) -> Outcome:
    """A copy that serves the order and all that the one before it served."""
    stem = f"{order.root}/{job.scene.product}/{job.scene.acquired:%Y}/{job.scene.id}/{job.bands[0]}"
    if job.is_metadata:
        return Outcome(
            "copied", copy_file(job.href, stem + _suffix(job.href), context.files, context.stop), damage=damage
        )
    kept = clip_from(job.kept.clip) if job.kept is not None else None
    ground = None if job.kept is not None and kept is None else order.ground
    is_staged = order.stage or (job.kept is not None and job.kept.encoding == STAGED)
    is_packed = is_packed_folder(job.href)
    asked = None
    if ground is not None or is_staged or is_packed:
        asked = window_to_copy(job.href, ground, kept, context.access)
        if asked is None:
            return Outcome("outside", damage=damage)
    if asked is None or (asked.is_whole and not is_staged and not is_packed):
        return Outcome(
            "copied", copy_file(job.href, stem + _suffix(job.href), context.files, context.stop), damage=damage
        )
    encoding = STAGED if is_staged else CLIPPED
    part = "" if asked.is_whole else "-r{}c{}h{}w{}".format(*asked.window)
    target = f"{stem}{part}-{encoding}.tif"
    made = recode_file(job.href, target, encoding, asked.window, context.access, context.files, context.stop)
    return Outcome("copied", made.copied, made.clip, encoding, damage)


def _suffix(href: str) -> str:
    """The ending of a file's name, .tif where there is none."""
    found = re.search(r"\.[A-Za-z0-9]{1,5}$", href.partition("?")[0])
    return found[0].lower() if found else ".tif"


def _root(text: str) -> str:
    """A mirror by its absolute path or its s3:// URL; RequestError for anything else."""
    if text.startswith("s3://") and urlsplit(text).netloc:
        return text.rstrip("/")
    if "://" in text:
        raise RequestError(f"expected a folder or s3://BUCKET/PREFIX to mirror to, got {text!r}")
    return str(Path(text).expanduser().absolute())


def _bands(text: str) -> tuple[str, ...]:
    """Band names between commas; RequestError for one that no sensor has."""
    bands = tuple(band.strip() for band in text.split(",") if band.strip())
    known = {
        band for s in SENSORS.values() for band in (*s.reflectance, s.mask, s.saturation, s.cloud_probability) if band
    }
    if unknown := [band for band in bands if band not in known]:
        raise RequestError(f"unknown band {unknown[0]!r}: expected some of {', '.join(sorted(known))}")
    return bands
