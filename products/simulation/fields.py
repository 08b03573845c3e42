"""Random fields with a power-law spectrum: the raw material of coasts, patches and clouds."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]


def fractal_field(rng: np.random.Generator, shape: tuple[int, int], slope: float, cycles: tuple[float, float]) -> Float:
    """A periodic field of mean 0 and deviation 1; amplitude falls as wavenumber**-slope between `cycles` per side."""
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32)) * _amplitude(shape, slope, cycles)
    field = fft.irfft2(spectrum, s=shape)
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


@lru_cache(maxsize=16)
def _amplitude(shape: tuple[int, int], slope: float, cycles: tuple[float, float]) -> Float:
    rows = fft.fftfreq(shape[0])[:, None] * shape[0]
    columns = fft.rfftfreq(shape[1])[None, :] * shape[1]
    wavenumber = np.maximum(np.hypot(rows, columns), 1e-6)
    low, high = cycles
    band = np.where(wavenumber >= low, wavenumber**-slope * np.exp(-((wavenumber / high) ** 4)), 0.0)
    return band.astype(np.float32)


def covering(field: Float, share: float) -> Mask:
    """The highest `share` of a field."""
    return np.asarray(field > np.quantile(field, 1.0 - share))


def smooth_step(field: Float, low: float, high: float) -> Float:
    """0 below `low`, 1 above `high`, a cubic between."""
    part = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(part * part * (3 - 2 * part), dtype=np.float32)


def grown(mask: Mask, radius_px: int) -> Mask:
    """A mask dilated by a diamond of `radius_px`."""
    return np.asarray(ndimage.binary_dilation(mask, iterations=radius_px)) if mask.any() else mask
