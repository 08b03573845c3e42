"""The quality layers that come with a scene, true to its pixels but for the errors that cloud detectors make."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from products.simulation.fields import Float, Mask, grown

FILL, DILATED, CIRRUS_BIT, CLOUD_BIT, SHADOW_BIT, CLEAR_BIT, WATER_BIT = 0, 1, 2, 3, 4, 6, 7
CLOUD_CONFIDENCE, SHADOW_CONFIDENCE, SNOW_CONFIDENCE, CIRRUS_CONFIDENCE = 8, 10, 12, 14
DILATION_PX = 3
DROPPED_BIT = 9


def detected(opacity: Float, threshold: float, doubt: Float) -> Mask:
    """Where a detector sees an opacity: `doubt` (mean 0, deviation 1) moves its threshold, so thin edges are missed
    and some found early."""
    return np.asarray(opacity > threshold * np.clip(1 + 0.45 * doubt, 0.2, 3.0))


def false_clouds(bright: Mask, doubt: Float) -> Mask:
    """Bright ground mistaken for cloud: a few patches of it."""
    return np.asarray(bright & (doubt > 1.9))


def qa_pixel(
    cloud: Mask, shadow: Mask, cirrus: Mask, water: Mask, seen: Mask, *, has_cirrus_band: bool
) -> NDArray[np.uint16]:
    """Landsat Collection 2 QA_PIXEL uint16 (LSDS-1619), its clear bit as in real files: not cloud and not dilated for
    OLI; not cloud, shadow or water for TM and ETM+."""
    dilated = grown(cloud, DILATION_PX) & ~cloud
    shadow = shadow & ~cloud
    bits = np.full(
        cloud.shape, (1 << CLOUD_CONFIDENCE) | (1 << SHADOW_CONFIDENCE) | (1 << SNOW_CONFIDENCE), dtype=np.uint16
    )
    bits |= np.uint16(has_cirrus_band << CIRRUS_CONFIDENCE)
    bits |= _bit(cloud, CLOUD_BIT) | _bit(cloud, CLOUD_CONFIDENCE + 1) | _bit(dilated, DILATED)
    bits |= _bit(shadow, SHADOW_BIT) | _bit(shadow, SHADOW_CONFIDENCE + 1)
    if has_cirrus_band:
        bits |= _bit(cirrus, CIRRUS_BIT) | _bit(cirrus, CIRRUS_CONFIDENCE + 1)
    clear = ~cloud & ~dilated if has_cirrus_band else ~cloud & ~shadow & ~water
    bits |= _bit(clear, CLEAR_BIT) | _bit(water & ~cloud, WATER_BIT)
    return np.where(seen, bits, np.uint16(1 << FILL)).astype(np.uint16)


def qa_radsat(saturated: Mapping[int, Mask], seen: Mask, *, has_dropped: bool) -> NDArray[np.uint16]:
    """QA_RADSAT uint16: bit n - 1 where band n saturates, bit 9 where TM or ETM+ has no data."""
    bits = np.zeros(seen.shape, dtype=np.uint16)
    for band_number, mask in saturated.items():
        bits |= _bit(mask & seen, band_number - 1)
    return bits | _bit(~seen, DROPPED_BIT) if has_dropped else bits


def scene_classes(
    surface: NDArray[np.uint8], cloud: Float, shadow: Mask, cirrus: Mask, found: Mask, seen: Mask
) -> NDArray[np.uint8]:
    """Sentinel-2 SCL uint8: `found` is cloud as detected (8 where its opacity is below 0.6, else 9), then shadow 3,
    cirrus 10, ground 4, 5, 6."""
    classes = surface.copy()
    classes[cirrus] = 10
    classes[shadow] = 3
    classes[found] = np.where(cloud[found] > 0.6, 9, 8)
    edge = grown(found, 1) & ~found & (classes != 3)
    classes[edge & (cloud > 0.02)] = 7
    return np.where(seen, classes, 0).astype(np.uint8)


def _bit(mask: Mask, position: int) -> NDArray[np.uint16]:
    return mask.astype(np.uint16) << np.uint16(position)
