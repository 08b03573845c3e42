"""The mask of a scene as causes: looked up, opened, told apart, grown, and one observation a pass."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.loading.source_grid import covered_by
from products.antimeridian import in_one_piece
from products.pixel.causes import NOT_EXPECTED, Cause
from products.pixel.clear import (
    cause_table,
    clear_far_from_clouds,
    cloudy,
    keep_one_scene,
    look_up,
    mark_grown,
    mark_likely,
    mark_persistent,
    small_clouds,
)
from products.pixel.model_mask import agreement, decided, without_cloud
from products.scene import Scene
from products.scene_recipe import SceneRecipe
from products.sensors import SENSORS
from products.source_spec import SourceSpec
from products.window.morphology import dilate
from products.window_features import without_margin

Causes = NDArray[np.uint8]
LEAST_FOR_PERSISTENT = 8  # scenes; of fewer, a cloudy season is no false mask
SLC_FAILED = datetime(2003, 5, 31, 21, 42, 35, tzinfo=UTC)  # USGS, Landsat 7 scan-line corrector


def causes_of_mask(
    source: SourceSpec,
    scene: Scene,
    geobox: GeoBox,
    values: NDArray[np.uint16],
    covered: NDArray[np.bool_] | None,
    causes: Causes,
    modelled: Causes | None = None,
    percent: NDArray[np.uint16] | None = None,
) -> Causes | None:
    """Causes (y, x) by the values of the mask band (y, x), which the file covers where `covered`, or everywhere; by a model, if one was asked; and by
    the probability of clouds in percent (y, x), if that was.

    A cloud that is opened away leaves what all this says beside cloud. Returns where (y, x) the two masks agree.
    """
    keep = source.clear.keep
    look_up(_table(source, scene, keep), values, causes)
    if covered is not None:
        causes[~covered] = NOT_EXPECTED
    if scene.sensor == "etm" and scene.acquired >= SLC_FAILED:
        causes[(causes == Cause.NODATA) & _footprint(scene, geobox)] = Cause.SLC_GAP
    agreed = None
    if modelled is not None:
        if "cirrus" in keep:
            modelled = np.where(modelled == Cause.CIRRUS, np.uint8(Cause.USED), modelled)
        agreed = agreement(causes, modelled)
        causes[...] = decided(causes, modelled, source.clear.decide)
    if percent is not None and source.clear.cloud_probability is not None:
        mark_likely(causes, percent, source.clear.cloud_probability)
    _open(source, scene, geobox, values, causes, modelled)
    return agreed


def _open(
    source: SourceSpec,
    scene: Scene,
    geobox: GeoBox,
    values: NDArray[np.uint16],
    causes: Causes,
    modelled: Causes | None,
) -> None:
    """Drop clouds (y, x) that are too small, in place, and the ring that the mask band has around them, where its width is known."""
    clear, resolution_m = source.clear, geobox.resolution.x
    if not (opening_px := clear.opening_px(resolution_m)):
        return
    dropped = small_clouds(causes, opening_px)
    delivered = values[dropped]
    beside = _table(source, scene, (*clear.keep, "cloud"))[delivered]
    if modelled is not None:
        beside = decided(beside, without_cloud(modelled[dropped], beside), clear.decide)
    ring_px = source.ring_px(resolution_m, str(geobox.crs))
    if ring_px:
        is_delivered = _table(source, scene, clear.keep)[delivered] == Cause.CLOUD
        beside[is_delivered & (beside == Cause.USED)] = Cause.DILATED
    causes[dropped] = beside
    if ring_px:
        clear_far_from_clouds(causes, ring_px, 2 * math.floor(opening_px))


def _table(source: SourceSpec, scene: Scene, keep: tuple[str, ...]) -> Causes:
    return source.product.mask.table(keep) if source.product else cause_table(SENSORS[scene.sensor].mask, keep)


def causes_without_mask(scene: Scene, geobox: GeoBox, causes: Causes) -> None:
    """Unread (y, x) over the footprint of a scene whose mask cannot be read."""
    causes[...] = np.where(_footprint(scene, geobox), np.uint8(Cause.UNREAD), np.uint8(NOT_EXPECTED))


def mark_persistent_clouds(recipe: SceneRecipe, scenes: Sequence[Scene], causes: Causes) -> None:
    """What the mask of a source calls cloud nearly always becomes persistent cloud, or used, in place (scene, y, x)."""
    for source in recipe.sources:
        clear = source.clear
        if clear.persistent_cloud is not None:
            is_of_source = np.array([scene.collection == source.collection for scene in scenes], np.bool_)
            becomes = Cause.USED if "persistent_cloud" in clear.keep else Cause.PERSISTENT_CLOUD
            mark_persistent(causes, is_of_source, clear.persistent_cloud, LEAST_FOR_PERSISTENT, int(becomes))


def settle_passes(
    recipe: SceneRecipe, pool: ThreadPoolExecutor, scenes: Sequence[Scene], wide_causes: Causes, causes: Causes
) -> None:
    """One observation per pixel and pass, clouds and shadows grown over it, in place: causes (scene, y, x), and with the halo of the recipe."""

    def settle(members: list[int]) -> None:
        part = slice(members[0], members[-1] + 1)
        clear = recipe.source_of(scenes[members[0]].collection).clear
        if len(members) > 1:
            keep_one_scene(wide_causes[part])
            keep_one_scene(causes[part])
        if growth_px := clear.growth_px(recipe.grid.resolution_m):
            seeds = without_margin(cloudy(wide_causes[part]), recipe.halo_px - math.floor(growth_px))
            mark_grown(causes[part], dilate(seeds, growth_px))

    by_pass = groupby(range(len(scenes)), key=lambda s: scenes[s].pass_id)
    for done in [pool.submit(settle, list(members)) for _, members in by_pass]:
        done.result()


def _footprint(scene: Scene, geobox: GeoBox) -> NDArray[np.bool_]:
    return covered_by(in_one_piece(scene.footprint).to_crs(geobox.crs), geobox)
