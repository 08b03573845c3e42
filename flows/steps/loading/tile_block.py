"""Load a tile once, by files: decode in threads straight into the integer block, and account for every observation."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.loading.manifest import AssetRead, ReadManifest
from flows.steps.loading.masking import mark_persistent_clouds, settle_passes
from flows.steps.loading.model_masks import agreement_of, room_for_agreement
from flows.steps.loading.nadir import adjust_to_nadir
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.read_attempts import Failures, attempt_read
from flows.steps.loading.read_job import ReadJob
from flows.steps.loading.tile_masks import load_mask
from flows.steps.loading.wanted_pixels import WantedPixels
from products.features import Observations, reflectance_terms
from products.kept_memory import kept_empty
from products.pixel.causes import ACCOUNT_NAMES, NOT_EXPECTED, Cause
from products.pixel.clear import (
    count_causes,
    note_extremes,
    note_saturation,
    refine,
    unbalanced,
)
from products.pixel.observe import WITHOUT_DATA
from products.pixel.rows import in_row_tasks
from products.scene import BandFile, Scene, reading_threads
from products.scene_recipe import SceneRecipe
from products.sensors import SENSORS
from products.source_spec import file_band
from products.window_features import without_margin


class UnbalancedAccounts(RuntimeError):
    """Observations are missing from the accounts: a fault of ours, nothing is published."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The observations of a tile and the manifest of the read."""

    seen: Observations
    manifest: ReadManifest


def in_written_order(scenes: Iterable[Scene]) -> list[Scene]:
    """Scenes pass by pass, and within a pass by sensing time and item: the first with data gives the pixel."""
    passes: dict[str, list[Scene]] = {}
    for scene in sorted(scenes, key=lambda scene: (scene.acquired, scene.item_id, scene.id)):
        passes.setdefault(scene.pass_id, []).append(scene)
    return [scene for members in passes.values() for scene in members]


def load_observations(
    recipe: SceneRecipe, scenes: Iterable[Scene], geobox: GeoBox, threads: int, access: RasterAccess,
    failed: Failures | None = None, shifts: Mapping[UUID, tuple[float, float]] | None = None,
) -> Loaded:  # fmt: skip
    """The scenes on the pixels of `geobox`, masked, one observation a pass; failed assets are in the manifest and their pixels unread.

    Assets (scene, band) that failed already are not read. `shifts`: what a scene shows lies so many rows too far down and columns too far right.
    """
    job = ReadJob(recipe, geobox, access, failed or {}, shifts or {})
    ordered = in_written_order(scenes)
    wide = geobox.pad(recipe.halo_px) if recipe.halo_px else geobox
    wide_causes = kept_empty((len(ordered), *wide.shape), np.uint8)
    agreements = room_for_agreement(recipe, wide_causes.shape)
    block = kept_empty((len(recipe.used_bands), len(ordered), *geobox.shape), np.uint16)
    with ThreadPoolExecutor(reading_threads(ordered, threads, access.remote_threads)) as pool:
        masks = list(
            pool.map(
                lambda s: load_mask(job, wide, ordered[s], wide_causes[s], agreements[s : s + 1]), range(len(ordered))
            )
        )
        mark_persistent_clouds(recipe, ordered, wide_causes)
        causes = np.ascontiguousarray(without_margin(wide_causes, recipe.halo_px))
        bands = _load_bands(job, pool, ordered, masks, causes, block)
        angles = adjust_to_nadir(job, pool, ordered, causes, block)
        settle_passes(recipe, pool, ordered, wide_causes, causes)
    manifest = ReadManifest(tuple(asset for s in range(len(ordered)) for asset in (masks[s], *bands[s], *angles[s])))
    agreement = agreement_of(without_margin(agreements, recipe.halo_px), causes)
    return Loaded(replace(_observations(recipe, ordered, block, causes, threads), agreement=agreement), manifest)


def _observations(
    recipe: SceneRecipe, scenes: Sequence[Scene], block: NDArray[np.uint16], causes: NDArray[np.uint8], threads: int
) -> Observations:
    accounts = kept_empty((len(ACCOUNT_NAMES), *causes.shape[1:]), np.uint16)

    def count_rows(first: int, last: int) -> int:
        accounts[:, first:last] = 0
        count_causes(causes[:, first:last], accounts[:, first:last])
        return unbalanced(accounts[:, first:last])

    if wrong := sum(in_row_tasks(count_rows, causes.shape[1], threads)):
        raise UnbalancedAccounts(
            f"{wrong} pixels have observations without a fate; nothing is published, please report it"
        )
    gain, bias = reflectance_terms(scenes, recipe.used_bands, recipe.harmonise, recipe.brdf)
    return Observations(tuple(scenes), recipe.used_bands, block, causes, gain, bias, accounts)


def _load_bands(
    job: ReadJob,
    pool: ThreadPoolExecutor,
    scenes: Sequence[Scene],
    masks: Sequence[AssetRead],
    causes: NDArray[np.uint8],
    block: NDArray[np.uint16],
) -> list[list[AssetRead]]:
    """Read the bands of every scene with a pixel to read into the block; refine its causes, or mark it unread."""

    def finish(s: int, extremes: _Extremes, reads: Sequence[Future[AssetRead]]) -> list[AssetRead]:
        assets = [read.result() for read in reads]
        if any(asset.outcome == "failed" for asset in assets):
            lost = to_read[causes[s]] if job.recipe.keeps_masked else causes[s] == Cause.USED
            causes[s][lost] = Cause.UNREAD
        elif extremes.noted is not None:
            refine(causes[s], extremes.noted)
        return assets

    to_read = _causes_to_read(job.recipe)
    finished: dict[int, Future[list[AssetRead]]] = {}
    for s, scene in enumerate(scenes):
        if masks[s].outcome == "read" and (wanted := WantedPixels.of(causes[s], to_read)):
            extremes = _Extremes()
            reads = [
                pool.submit(_load_band, job, scene, *target, extremes, wanted)
                for target in _targets(job, scene, block[:, s])
            ]
            # Behind its reads in the queue, so that it never waits for one that has not begun.
            finished[s] = pool.submit(finish, s, extremes, reads)
    bands = job.recipe.used_bands
    return [
        finished[s].result()
        if s in finished
        else [AssetRead(scene.id, scene.item_id, band, "unneeded") for band in bands]
        for s, scene in enumerate(scenes)
    ]


def _causes_to_read(recipe: SceneRecipe) -> NDArray[np.bool_]:
    """bool (256,): the causes of pixels whose bands are wanted: clear or dilated, or, of a recipe that keeps masked pixels, all with data."""
    every = np.arange(256)
    return (
        ~np.isin(every, (*WITHOUT_DATA, NOT_EXPECTED))
        if recipe.keeps_masked
        else np.isin(every, (Cause.USED, Cause.DILATED))
    )


class _Extremes:
    """Where any band of one scene has no data or is saturated, (y, x) as `note_extremes` writes it, noted while each band is still in the cache."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.noted: NDArray[np.uint8] | None = None

    def note(self, shape: tuple[int, ...], note: Callable[[NDArray[np.uint8]], None]) -> None:
        with self._lock:
            if self.noted is None:
                self.noted = np.zeros(shape, np.uint8)
            note(self.noted)


def _targets(job: ReadJob, scene: Scene, layers: NDArray[np.uint16]) -> list[tuple[str, NDArray[np.uint16] | None]]:
    """The bands to read of a scene and where to: None for the radiometric saturation band, which is only noted. Bands that its sensor lacks are left out."""
    has = {
        band
        for sensor in job.recipe.source_of(scene.collection).sensors
        for band in sensor.reflectance
        if sensor.name == scene.sensor
    }
    bands = [
        (b, file_band(band, scene.sensor, job.recipe.harmonise))
        for b, band in enumerate(job.recipe.used_bands)
        if band in has
    ]
    targets: list[tuple[str, NDArray[np.uint16] | None]] = [(band, layers[b]) for b, band in bands]
    saturation = SENSORS[scene.sensor].saturation
    return [*targets, *([(saturation, None)] if saturation in scene.bands and saturation else [])]


def _load_band(
    job: ReadJob, scene: Scene, band: str, layer: NDArray[np.uint16] | None, extremes: _Extremes, wanted: WantedPixels
) -> AssetRead:
    is_bits = layer is None
    out = np.empty(job.geobox.shape, np.uint16) if layer is None else layer
    method = "nearest" if is_bits else job.recipe.source_of(scene.collection).resampling_of(band)
    asset, read = attempt_read(scene, band, job.failed, lambda: job.read(scene, band, job.geobox, method, out, wanted))
    if read is not None:
        lowest, highest = _valid_numbers(job.recipe.source_of(scene.collection).clear.valid_range, scene.bands[band])
        sensor = SENSORS[scene.sensor]
        saturated = sensor.saturated_bits(job.recipe.used_bands)
        extremes.note(
            out.shape,
            lambda noted: (
                note_saturation(out, saturated, sensor.lost_bits, noted)
                if is_bits
                else note_extremes(out, lowest, highest, scene.bands[band].saturated, noted)
            ),
        )
    return asset


def _valid_numbers(valid_range: tuple[float, float] | None, file: BandFile) -> tuple[int, int]:
    """The lowest and highest DN whose reflectance lies in a range; all where there is none."""
    if valid_range is None:
        return 0, 65535
    low, high = ((edge - file.offset) / file.scale for edge in valid_range)
    return max(0, math.ceil(round(low, 6))), min(65535, math.floor(round(high, 6)))
