"""Each scene's shift against the median of a reference collection, measured before a cell is loaded."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.loading.manifest import AssetRead
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import load_observations
from products.feature_spec import BandStep
from products.features import Observations, compute_features
from products.period import Period
from products.scene import Scene
from products.scene_recipe import SceneRecipe
from products.source_spec import COREGISTER_WINDOW_PX, CoregisterSpec
from products.spec import FeaturesRecipe
from products.window.registration import Shift, measure_shift

STEPS_PER_PX = 20  # a shift is applied in these, so that the last bits of a Fourier transform decide nothing
LEAST_APPLIED_PX = 0.2  # what is less is within the uncertainty of measuring, and not worth resampling
LEAST_OBSERVATIONS = 3  # of the reference at a pixel


@dataclass(frozen=True, slots=True)
class SceneShift:
    """How far a scene lies from the reference, in product pixels, and by how much it is moved back when it is read: rows and columns."""

    scene: UUID
    item_id: str
    measured: Shift
    applied: tuple[float, float] | None

    def document(self) -> dict[str, Any]:
        """JSON-able; null where it could not be told."""
        told = {name: getattr(self.measured, name) for name in ("rows", "columns", "confidence", "correlation")}
        numbers = {name: round(value, 4) if np.isfinite(value) else None for name, value in told.items()}
        share = round(self.measured.valid_share, 4)
        return {"item_id": self.item_id, **numbers, "valid_share": share, "is_applied": self.applied is not None}


@dataclass(frozen=True, slots=True)
class Coregistration:
    """The shifts of all scenes in written order, and the assets that failed when they were measured."""

    shifts: tuple[SceneShift, ...] = ()
    failed: Mapping[tuple[UUID, str], AssetRead] = field(default_factory=dict)

    @property
    def applied(self) -> dict[UUID, tuple[float, float]]:
        """Rows and columns by scene, of those that are moved."""
        return {shift.scene: shift.applied for shift in self.shifts if shift.applied}


def measure_shifts(
    recipe: SceneRecipe, scenes: Sequence[Scene], tile: GeoBox, period: Period, threads: int, access: RasterAccess,
    applied: Mapping[UUID, tuple[float, float]] | None = None,
) -> Coregistration:  # fmt: skip
    """The shifts over the middle of a tile, of scenes that are moved by what is `applied` already; none where the recipe does not ask."""
    if not isinstance(recipe, FeaturesRecipe) or recipe.coregister is None:
        return Coregistration()
    asked, one_band = recipe.coregister, _one_band(recipe, recipe.coregister)
    loaded = load_observations(one_band, scenes, middle_of(tile), threads, access, shifts=applied)
    reference = _reference(one_band, loaded.seen, asked.reference, period, threads)

    def measured(number: int) -> SceneShift:
        shift = measure_shift(_image(loaded.seen, number), reference, asked.max_shift_px)
        scene = loaded.seen.scenes[number]
        return SceneShift(scene.id, scene.item_id, shift, _to_apply(shift) if asked.apply == "confident" else None)

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        shifts = tuple(pool.map(measured, range(len(loaded.seen.scenes))))
    failed = {(asset.scene, asset.band): asset for asset in loaded.manifest.failed}
    return Coregistration(shifts, failed)


def middle_of(tile: GeoBox) -> GeoBox:
    """The middle of a tile, at most COREGISTER_WINDOW_PX a side."""
    rows, columns = (min(side, COREGISTER_WINDOW_PX) for side in tile.shape)
    first, left = (tile.shape[0] - rows) // 2, (tile.shape[1] - columns) // 2
    return tile[first : first + rows, left : left + columns]


def _one_band(recipe: FeaturesRecipe, asked: CoregisterSpec) -> FeaturesRecipe:
    """The recipe for the median of one band, masked and harmonised as all are."""
    median = BandStep.model_validate({"names": (asked.band,), "reduce": ("p50",)})
    plain = {"min_observations": LEAST_OBSERVATIONS, "precision_bits": None, "coregister": None}
    return recipe.model_copy(update={"features": (median,), **plain})


def _reference(
    recipe: FeaturesRecipe, seen: Observations, collection: str, period: Period, threads: int
) -> NDArray[np.float64]:
    """Reflectance (y, x), the median of the clear observations of a collection; NaN where there are too few."""
    of = [number for number, scene in enumerate(seen.scenes) if scene.collection == collection]
    part = replace(
        seen,
        scenes=tuple(seen.scenes[number] for number in of),
        block=np.ascontiguousarray(seen.block[:, of]),
        causes=np.ascontiguousarray(seen.causes[of]),
        gain=seen.gain[of],
        bias=seen.bias[of],
    )
    return compute_features(recipe, part, period, threads)[0].astype(np.float64)


def _image(seen: Observations, number: int) -> NDArray[np.float64]:
    """Reflectance (y, x) of one scene, NaN where it is not clear."""
    reflectance = seen.block[0, number] * np.float64(seen.gain[number, 0]) + np.float64(seen.bias[number, 0])
    return np.where(seen.causes[number] == 0, reflectance, np.nan)


def _to_apply(shift: Shift) -> tuple[float, float] | None:
    if not shift.is_confident or np.hypot(shift.rows, shift.columns) < LEAST_APPLIED_PX:
        return None
    return round(shift.rows * STEPS_PER_PX) / STEPS_PER_PX, round(shift.columns * STEPS_PER_PX) / STEPS_PER_PX
