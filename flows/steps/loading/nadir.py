"""Scenes that come with the angles of every pixel, as they would be seen from the zenith."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from flows.steps.loading.manifest import AssetRead
from flows.steps.loading.reading import BandRead
from products.features import file_band
from products.pixel.brdf import GLOBAL_PARAMETERS, to_nadir
from products.pixel.causes import Cause
from products.scene import Scene
from products.scene_recipe import SceneRecipe
from products.sensors import ANGLE_BANDS

Angles = NDArray[np.float32]
Attempt = Callable[[Scene, str, Angles], tuple[AssetRead, BandRead | None]]


def adjust_to_nadir(
    recipe: SceneRecipe, pool: ThreadPoolExecutor, scenes: Sequence[Scene], causes: NDArray[np.uint8], block: NDArray[np.uint16],
    attempt: Attempt,
) -> list[list[AssetRead]]:  # fmt: skip
    """Adjust the block (band, scene, y, x) in place where a recipe asks for it; the assets of each scene that were read for that.

    Causes (scene, y, x): unread where the angles of a scene cannot be read, nodata where they have none.
    """

    def adjust(s: int) -> list[AssetRead]:
        scene, used = scenes[s], causes[s] == Cause.USED
        if recipe.brdf == "none" or not scene.has_pixel_angles or not (used.any() or recipe.keeps_masked):
            return []
        angles = np.empty((len(ANGLE_BANDS), *causes.shape[1:]), np.float32)
        reads = [attempt(scene, band, layer) for band, layer in zip(ANGLE_BANDS, angles, strict=True)]
        if any(read is None for _, read in reads):
            causes[s][used] = Cause.UNREAD
        else:
            causes[s][_adjusted(recipe, scene, angles, block[:, s]) & used] = Cause.NODATA
        return [asset for asset, _ in reads]

    return list(pool.map(adjust, range(len(scenes))))


def _adjusted(recipe: SceneRecipe, scene: Scene, angles: Angles, numbers: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Where (y, x) there are no angles; numbers (band, y, x) are adjusted elsewhere."""
    names = [file_band(band, scene.sensor, recipe.harmonise) for band in recipe.used_bands]
    present = [(number, name) for number, name in enumerate(names) if name in scene.bands]
    rows = np.array([number for number, _ in present], np.int64)
    parameters = np.array([GLOBAL_PARAMETERS[name] for _, name in present], np.float64)
    scale, offset = (
        np.array([getattr(scene.bands[name], term) for _, name in present], np.float64) for term in ("scale", "offset")
    )
    is_lost = np.zeros(angles.shape[1:], np.bool_)
    chosen = np.ascontiguousarray(numbers[rows])
    to_nadir(chosen, angles * np.float32(scene.bands[ANGLE_BANDS[0]].scale), parameters, scale, offset, is_lost)
    numbers[rows] = chosen
    return is_lost
