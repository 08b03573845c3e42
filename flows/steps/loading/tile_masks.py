"""The causes of the pixels of one scene by its masks: the band that comes with it, a model, the probability of clouds."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.loading.cloud_probability import probability_of
from flows.steps.loading.manifest import AssetRead
from flows.steps.loading.masking import causes_of_mask, causes_without_mask
from flows.steps.loading.model_masks import Causes, causes_by_model, classifier
from flows.steps.loading.read_attempts import attempt_read
from flows.steps.loading.read_job import ReadJob
from flows.steps.loading.reading import BandRead
from products.scene import NEVER_SATURATED, Scene
from products.sensors import SENSORS
from products.source_spec import SourceSpec


def load_mask(job: ReadJob, wide: GeoBox, scene: Scene, causes: Causes, agreements: Causes) -> AssetRead:
    """Causes by the mask band, a model and the probability of clouds, over the tile and its halo, into causes (y, x); unread where one cannot be.

    Where they agree goes into agreements (0 or 1, y, x).
    """
    sensor, source = SENSORS[scene.sensor], job.recipe.source_of(scene.collection)
    values = np.empty(causes.shape, np.uint16)
    asset, read = attempt_read(
        scene, sensor.mask, job.failed, lambda: job.read(scene, sensor.mask, wide, "nearest", values)
    )
    if read is None:
        causes_without_mask(scene, wide, causes)
        return asset
    found = _by_model(job, scene, source, wide)
    if isinstance(found, AssetRead):
        causes_without_mask(scene, wide, causes)
        return found
    likely = probability_of(
        source, scene, causes.shape,
        lambda band, out: attempt_read(scene, band, job.failed, lambda: job.read(scene, band, wide, "nearest", out)),
    )  # fmt: skip
    if isinstance(likely, AssetRead):
        causes_without_mask(scene, wide, causes)
        return likely
    asset = replace(asset, decoded_bytes=asset.decoded_bytes + found[1] + likely[1])
    agreed = causes_of_mask(source, scene, wide, values, read.covered, causes, found[0], likely[0])
    if agreed is not None and len(agreements):
        agreements[0] = agreed
    return asset


def _by_model(job: ReadJob, scene: Scene, source: SourceSpec, wide: GeoBox) -> tuple[Causes | None, int] | AssetRead:
    """Causes (y, x) by the model of a source, None if it has none, and the bytes decoded for it; or the asset that could not be read."""
    if source.clear.model_version is None:
        return None, 0

    bands = {name: replace(file, saturated=NEVER_SATURATED) for name, file in scene.bands.items()}
    picture = replace(scene, bands=bands)  # to a network what is saturated is bright

    def attempt(band: str, window: GeoBox, out: NDArray[np.uint16]) -> tuple[AssetRead, BandRead | None]:
        method = source.resampling_of(band)
        return attempt_read(scene, band, job.failed, lambda: job.read(picture, band, window, method, out))

    return causes_by_model(scene, wide, attempt, classifier(source.clear.model_version, job.access.mask_weights))
