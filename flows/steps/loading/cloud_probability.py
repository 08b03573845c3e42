"""The probability of clouds that comes with some scenes of Sentinel-2 (MSK_CLDPRB of Sen2Cor), read where a recipe asks for it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from flows.steps.loading.manifest import AssetRead
from flows.steps.loading.reading import BandRead
from products.scene import Scene
from products.sensors import SENSORS
from products.source_spec import SourceSpec

Percent = NDArray[np.uint16]
Attempt = Callable[[str, Percent], tuple[AssetRead, BandRead | None]]


def probability_of(
    source: SourceSpec, scene: Scene, shape: tuple[int, ...], attempt: Attempt
) -> tuple[Percent | None, int] | AssetRead:
    """Percent (y, x), None if the source does not ask for it, and the bytes decoded for it; or the asset that could not be read."""
    band = SENSORS[scene.sensor].cloud_probability
    if source.clear.cloud_probability is None or band is None:
        return None, 0
    percent = np.empty(shape, np.uint16)
    asset, read = attempt(band, percent)
    return asset if read is None else (percent, read.decoded_bytes)
