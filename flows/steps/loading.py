"""Load a tile once, by files: decode in threads straight into the integer block, and account for every observation."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.manifest import AssetRead, ReadManifest
from flows.steps.mirror_locations import read_nearest
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
    refine,
    unbalanced,
)
from products.scene import Scene
from products.sensors import SENSORS
from products.spec import FeaturesRecipe, SourceSpec

ATTEMPTS = 2


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

    def source(self, scene: Scene) -> SourceSpec:
        return next(source for source in self.recipe.sources if source.collection == scene.collection)


def in_written_order(scenes: Iterable[Scene]) -> list[Scene]:
    """Scenes pass by pass, and within a pass by sensing time and item: the first with data gives the pixel."""
    passes: dict[str, list[Scene]] = {}
    for scene in sorted(scenes, key=lambda scene: (scene.acquired, scene.item_id, scene.id)):
        passes.setdefault(scene.pass_id, []).append(scene)
    return [scene for members in passes.values() for scene in members]


def load_observations(
    recipe: FeaturesRecipe, scenes: Iterable[Scene], geobox: GeoBox, threads: int, access: RasterAccess
) -> Loaded:
    """The scenes on the pixels of `geobox`, masked, one observation a pass; failed assets are in the manifest and their pixels unread."""
    job = _Job(recipe, geobox, recipe.halo_px, access)
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
    return Loaded(_observations(recipe, ordered, block, causes), manifest)


def _observations(
    recipe: FeaturesRecipe, scenes: Sequence[Scene], block: NDArray[np.uint16], causes: NDArray[np.uint8]
) -> Observations:
    accounts = np.zeros((len(ACCOUNT_NAMES), *causes.shape[1:]), np.uint16)
    count_causes(causes, accounts)
    if wrong := unbalanced(accounts):
        raise UnbalancedAccounts(
            f"{wrong} pixels have observations without a fate; nothing is published, please report it"
        )
    gain, bias = reflectance_terms(scenes, recipe.used_bands, recipe.harmonise)
    return Observations(recipe.used_bands, block, causes, gain, bias, accounts)


def _load_mask(job: _Job, wide: GeoBox, scene: Scene, causes: NDArray[np.uint8]) -> AssetRead:
    """Causes by the mask band over the tile and its halo, into causes (y, x); unread where the mask cannot be read."""
    sensor = SENSORS[scene.sensor]
    values = np.empty(causes.shape, np.uint16)
    asset, read = _attempt(job, scene, sensor.mask, lambda: _read(job, scene, sensor.mask, wide, "nearest", values))
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
    """Read the bands of every scene with a clear pixel into the block; refine its causes, or mark it unread."""
    needed = [masks[s].outcome == "read" and bool((causes[s] == Cause.USED).any()) for s in range(len(scenes))]
    saturation = {
        s: np.empty(causes.shape[1:], np.uint16)
        for s, scene in enumerate(scenes)
        if needed[s] and _saturation_band(scene)
    }
    unneeded = [
        AssetRead(scene.id, scene.item_id, band, "unneeded") for scene in scenes for band in job.recipe.used_bands
    ]
    n_bands = len(job.recipe.used_bands)

    def finish(s: int, reads: Sequence[Future[AssetRead]]) -> list[AssetRead]:
        assets = [read.result() for read in reads]
        if any(asset.outcome == "failed" for asset in assets):
            causes[s][causes[s] == Cause.USED] = Cause.UNREAD
        else:
            refine(causes[s], block[:, s], saturation.get(s, np.empty((0, 0), np.uint16)))
        return assets

    finished: dict[int, Future[list[AssetRead]]] = {}
    for s, scene in enumerate(scenes):
        if needed[s]:
            targets = _targets(job, scene, block[:, s], saturation.get(s))
            reads = [pool.submit(_load_band, job, scene, band, target) for band, target in targets]
            # Behind its reads in the queue, so that it never waits for one that has not begun.
            finished[s] = pool.submit(finish, s, reads)
    return [
        finished[s].result() if s in finished else unneeded[s * n_bands : (s + 1) * n_bands] for s in range(len(scenes))
    ]


def _targets(
    job: _Job, scene: Scene, layers: NDArray[np.uint16], saturation: NDArray[np.uint16] | None
) -> list[tuple[str, NDArray[np.uint16]]]:
    targets = [
        (file_band(band, scene.sensor, job.recipe.harmonise), layers[b]) for b, band in enumerate(job.recipe.used_bands)
    ]
    name = _saturation_band(scene)
    return targets + ([(name, saturation)] if name and saturation is not None else [])


def _saturation_band(scene: Scene) -> str | None:
    name = SENSORS[scene.sensor].saturation
    return name if name in scene.bands else None


def _load_band(job: _Job, scene: Scene, band: str, out: NDArray[np.uint16]) -> AssetRead:
    method = "nearest" if band == _saturation_band(scene) else job.source(scene).resampling_method
    return _attempt(job, scene, band, lambda: _read(job, scene, band, job.geobox, method, out))[0]


def _read(job: _Job, scene: Scene, band: str, geobox: GeoBox, method: str, out: NDArray[np.uint16]) -> BandRead:
    if band not in scene.bands:
        raise UnreadBand(f"the indexed scene {scene.item_id} has no band {band}")
    with job.access.env():
        return read_nearest(scene.bands[band], geobox, method, out)


def _attempt(job: _Job, scene: Scene, band: str, read: Callable[[], BandRead]) -> tuple[AssetRead, BandRead | None]:
    """Try to read twice; a failure becomes an entry of the manifest."""
    cause = ""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            done = read()
        except UnreadBand as error:
            cause = str(error)
            continue
        return AssetRead(scene.id, scene.item_id, band, "read", attempt, done.decoded_bytes, note=done.note), done
    return AssetRead(scene.id, scene.item_id, band, "failed", ATTEMPTS, cause=cause), None


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
