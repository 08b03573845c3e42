"""Load a tile once, by files: decode in threads straight into the integer block, and account for every observation."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.manifest import AssetRead, ReadManifest
from flows.steps.mirror_locations import read_nearest
from flows.steps.read_attempts import Failures, attempt_read
from flows.steps.reading import BandRead, RasterAccess, UnreadBand, covered_by
from products.features import Observations, file_band, reflectance_terms
from products.pixel.causes import ACCOUNT_NAMES, NOT_EXPECTED, Cause
from products.pixel.clear import (
    cause_table,
    count_causes,
    disk,
    grow,
    keep_one_scene,
    look_up,
    mark_grown,
    note_extremes,
    note_saturation,
    refine,
    unbalanced,
)
from products.pixel.rows import in_row_tasks
from products.scene import Scene
from products.sensors import SENSORS
from products.source_spec import SourceSpec
from products.spec import FeaturesRecipe


class UnbalancedAccounts(RuntimeError):
    """Observations are missing from the accounts: a fault of ours, nothing is published."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The observations of a tile and the manifest of the read."""

    seen: Observations
    manifest: ReadManifest


@dataclass(frozen=True, slots=True)
class _Job:
    recipe: FeaturesRecipe
    geobox: GeoBox
    halo_px: int
    access: RasterAccess
    failed: Failures

    def source(self, scene: Scene) -> SourceSpec:
        return next(source for source in self.recipe.sources if source.collection == scene.collection)


def in_written_order(scenes: Iterable[Scene]) -> list[Scene]:
    """Scenes pass by pass, and within a pass by sensing time and item: the first with data gives the pixel."""
    passes: dict[str, list[Scene]] = {}
    for scene in sorted(scenes, key=lambda scene: (scene.acquired, scene.item_id, scene.id)):
        passes.setdefault(scene.pass_id, []).append(scene)
    return [scene for members in passes.values() for scene in members]


def load_observations(
    recipe: FeaturesRecipe, scenes: Iterable[Scene], geobox: GeoBox, threads: int, access: RasterAccess,
    failed: Failures | None = None,
) -> Loaded:  # fmt: skip
    """The scenes on the pixels of `geobox`, masked, one observation a pass; failed assets are in the manifest and their pixels unread.

    Assets (scene, band) that failed already are not read.
    """
    job = _Job(recipe, geobox, recipe.halo_px, access, failed or {})
    ordered = in_written_order(scenes)
    wide = geobox.pad(job.halo_px) if job.halo_px else geobox
    wide_causes = np.empty((len(ordered), *wide.shape), np.uint8)
    block = np.empty((len(recipe.used_bands), len(ordered), *geobox.shape), np.uint16)
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        masks = list(pool.map(lambda s: _load_mask(job, wide, ordered[s], wide_causes[s]), range(len(ordered))))
        inner = _inner(wide_causes, job.halo_px)
        causes = np.ascontiguousarray(inner)
        bands = _load_bands(job, pool, ordered, masks, causes, block)
        _settle_passes(job, pool, ordered, wide_causes, causes)
    manifest = ReadManifest(tuple(asset for s in range(len(ordered)) for asset in (masks[s], *bands[s])))
    return Loaded(_observations(recipe, ordered, block, causes, threads), manifest)


def _observations(
    recipe: FeaturesRecipe, scenes: Sequence[Scene], block: NDArray[np.uint16], causes: NDArray[np.uint8], threads: int
) -> Observations:
    accounts = np.zeros((len(ACCOUNT_NAMES), *causes.shape[1:]), np.uint16)

    def count_rows(first: int, last: int) -> int:
        count_causes(causes[:, first:last], accounts[:, first:last])
        return unbalanced(accounts[:, first:last])

    if wrong := sum(in_row_tasks(count_rows, causes.shape[1], threads)):
        raise UnbalancedAccounts(
            f"{wrong} pixels have observations without a fate; nothing is published, please report it"
        )
    gain, bias = reflectance_terms(scenes, recipe.used_bands, recipe.harmonise)
    return Observations(tuple(scenes), recipe.used_bands, block, causes, gain, bias, accounts)


def _load_mask(job: _Job, wide: GeoBox, scene: Scene, causes: NDArray[np.uint8]) -> AssetRead:
    """Causes by the mask band over the tile and its halo, into causes (y, x); unread where the mask cannot be read."""
    sensor = SENSORS[scene.sensor]
    values = np.empty(causes.shape, np.uint16)
    asset, read = attempt_read(
        scene, sensor.mask, job.failed, lambda: _read(job, scene, sensor.mask, wide, "nearest", values)
    )
    if read is None:
        causes[...] = np.where(_footprint(scene, wide), np.uint8(Cause.UNREAD), np.uint8(NOT_EXPECTED))
        return asset
    source = job.source(scene)
    keep = source.clear.keep
    look_up(source.product.mask.table(keep) if source.product else cause_table(sensor.mask, keep), values, causes)
    if read.covered is not None:
        causes[~read.covered] = NOT_EXPECTED
    return asset


def _load_bands(
    job: _Job,
    pool: ThreadPoolExecutor,
    scenes: Sequence[Scene],
    masks: Sequence[AssetRead],
    causes: NDArray[np.uint8],
    block: NDArray[np.uint16],
) -> list[list[AssetRead]]:
    """Read the bands of every scene with a clear or dilated pixel into the block; refine its causes, or mark it unread."""
    needed = [
        masks[s].outcome == "read" and bool(((causes[s] == Cause.USED) | (causes[s] == Cause.DILATED)).any())
        for s in range(len(scenes))
    ]

    def finish(s: int, extremes: _Extremes, reads: Sequence[Future[AssetRead]]) -> list[AssetRead]:
        assets = [read.result() for read in reads]
        if any(asset.outcome == "failed" for asset in assets):
            causes[s][causes[s] == Cause.USED] = Cause.UNREAD
        elif extremes.noted is not None:
            refine(causes[s], extremes.noted)
        return assets

    finished: dict[int, Future[list[AssetRead]]] = {}
    for s, scene in enumerate(scenes):
        if needed[s]:
            extremes = _Extremes()
            reads = [
                pool.submit(_load_band, job, scene, *target, extremes) for target in _targets(job, scene, block[:, s])
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


class _Extremes:
    """Where any band of one scene has no data or is saturated, (y, x) as `note_extremes` writes it, noted while each band is still in the cache."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.noted: NDArray[np.uint8] | None = None

    def note(self, kernel: Callable[[NDArray[np.uint16], NDArray[np.uint8]], None], band: NDArray[np.uint16]) -> None:
        with self._lock:
            if self.noted is None:
                self.noted = np.zeros(band.shape, np.uint8)
            kernel(band, self.noted)


def _targets(job: _Job, scene: Scene, layers: NDArray[np.uint16]) -> list[tuple[str, NDArray[np.uint16] | None]]:
    """The bands to read of a scene and where to: None for the radiometric saturation band, which is only noted. Bands that its sensor lacks are left out."""
    has = {band for sensor in job.source(scene).sensors for band in sensor.reflectance if sensor.name == scene.sensor}
    bands = [
        (b, file_band(band, scene.sensor, job.recipe.harmonise))
        for b, band in enumerate(job.recipe.used_bands)
        if band in has
    ]
    targets: list[tuple[str, NDArray[np.uint16] | None]] = [(band, layers[b]) for b, band in bands]
    saturation = SENSORS[scene.sensor].saturation
    return [*targets, *([(saturation, None)] if saturation in scene.bands and saturation else [])]


def _load_band(job: _Job, scene: Scene, band: str, layer: NDArray[np.uint16] | None, extremes: _Extremes) -> AssetRead:
    is_bits = layer is None
    out = np.empty(job.geobox.shape, np.uint16) if layer is None else layer
    method = "nearest" if is_bits else job.source(scene).resampling_method
    asset, read = attempt_read(scene, band, job.failed, lambda: _read(job, scene, band, job.geobox, method, out))
    if read is not None:
        extremes.note(note_saturation if is_bits else note_extremes, out)
    return asset


def _read(job: _Job, scene: Scene, band: str, geobox: GeoBox, method: str, out: NDArray[np.uint16]) -> BandRead:
    if band not in scene.bands:
        raise UnreadBand(f"the indexed scene {scene.item_id} has no band {band}")
    with job.access.env():
        return read_nearest(scene.bands[band], geobox, method, out)


def _settle_passes(
    job: _Job,
    pool: ThreadPoolExecutor,
    scenes: Sequence[Scene],
    wide_causes: NDArray[np.uint8],
    causes: NDArray[np.uint8],
) -> None:
    """One observation per pixel and pass, clouds and shadows grown over it, in place."""

    def settle(members: list[int]) -> None:
        part = slice(members[0], members[-1] + 1)
        radius = job.source(scenes[members[0]]).clear.dilate_px
        if len(members) > 1:
            keep_one_scene(wide_causes[part])
            keep_one_scene(causes[part])
        grown = grow(wide_causes[part], disk(radius), job.halo_px) if radius else None
        if grown is not None:
            mark_grown(causes[part], grown)

    by_pass = groupby(range(len(scenes)), key=lambda s: scenes[s].pass_id)
    for done in [pool.submit(settle, list(members)) for _, members in by_pass]:
        done.result()


def _inner(wide: NDArray[np.uint8], halo: int) -> NDArray[np.uint8]:
    return wide[:, halo : wide.shape[1] - halo, halo : wide.shape[2] - halo]


def _footprint(scene: Scene, geobox: GeoBox) -> NDArray[np.bool_]:
    return covered_by(scene.footprint.to_crs(geobox.crs), geobox)
