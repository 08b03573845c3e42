"""From the landscape's reflectance to a sensor's digital numbers: band-pass, pixel size, noise, gaps, quantisation."""

import numpy as np
from numpy.typing import NDArray

from products.pixel.harmonise import TO_OLI
from products.simulation.fields import Float, Mask

LANDSAT_SCALE, LANDSAT_OFFSET = 2.75e-5, -0.2
MSI_SCALE = 1e-4
MSI_OFFSET = -0.1
"""Added to scaled Sentinel-2 DN from baseline 04.00 on; 0 before."""

NOISE = {"tm": 0.004, "etm": 0.004, "oli": 0.002, "msi": 0.002}
"""Standard deviation of pixel noise, reflectance; older sensors are noisier."""

SATURATION_REFLECTANCE = 1.0
"""Where TM and ETM+ visible bands saturate here; OLI and MSI hold more."""

DN = NDArray[np.uint16]


def landsat_average(fine: Float, row: int, column: int, height: int, width: int) -> Float:
    """Area averages (…, height, width) of 10 m cells over 30 m pixels whose edges lie 15 m inside the cells' grid."""
    rows = slice(3 * row + 1, 3 * (row + height) + 2)
    columns = slice(3 * column + 1, 3 * (column + width) + 2)
    part = fine[..., rows, columns]
    down = (part[..., 0:-1:3, :] + part[..., 3::3, :]) * np.float32(0.5) + part[..., 1:-1:3, :] + part[..., 2::3, :]
    both = (down[..., 0:-1:3] + down[..., 3::3]) * np.float32(0.5) + down[..., 1:-1:3] + down[..., 2::3]
    return np.asarray(both / np.float32(9), dtype=np.float32)


def block_average(fine: Float, factor: int) -> Float:
    """Area averages (…, y, x) of `factor` x `factor` cells."""
    total = sum(fine[..., row::factor, column::factor] for row in range(factor) for column in range(factor))
    return np.asarray(total / np.float32(factor * factor), dtype=np.float32)


def as_platform(reflectance: Float, platform: str, band: str) -> Float:
    """What a platform measures where OLI measures `reflectance`: the published adjustment, inverted."""
    slope, intercept = TO_OLI[platform].get(band, (1.0, 0.0))
    return np.asarray((reflectance - np.float32(intercept)) / np.float32(slope), dtype=np.float32)


def with_noise(reflectance: Float, rng: np.random.Generator, sensor: str) -> Float:
    """Reflectance with the sensor's pixel noise."""
    noise = rng.standard_normal(reflectance.shape, dtype=np.float32)
    return np.asarray(reflectance + np.float32(NOISE[sensor]) * noise, dtype=np.float32)


def quantised(reflectance: Float, scale: float, offset: float, seen: Mask) -> DN:
    """Digital numbers uint16, 1 to 65535, and 0 (nodata) where not seen."""
    numbers = np.clip(np.rint((reflectance.astype(np.float64) - offset) / scale), 1, 65535)
    return np.where(seen, numbers, 0).astype(np.uint16)


def slc_off_kept(shape: tuple[int, int], phase: float) -> Mask:
    """True outside the wedges that Landsat 7 lost: every 33 lines, 2 lines wide in the west growing to 13 in the
    east, 9 degrees tilted."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    across = columns / max(shape[1] - 1, 1)
    line = (rows - np.tan(np.radians(9.0)) * columns + 33 * phase) % 33
    return np.asarray(line >= 2 + 11 * across)
