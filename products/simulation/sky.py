"""Clouds, their shadows and cirrus over the landscape, and what they do to reflectance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from products.simulation.fields import Float, fractal_field, smooth_step
from products.simulation.passes import Sun

CLEAR, CLOUD, SHADOW, CIRRUS = 1, 2, 3, 4
SKY_NAMES = {0: "no_data", CLEAR: "clear", CLOUD: "cloud", SHADOW: "cloud_shadow", CIRRUS: "thin_cirrus"}

CLOUD_REFLECTANCE = {
    "coastal": 0.66, "blue": 0.64, "green": 0.63, "red": 0.67, "rededge1": 0.70, "rededge2": 0.76, "rededge3": 0.78,
    "nir": 0.80, "nir_narrow": 0.80, "swir1": 0.64, "swir2": 0.50,
}  # fmt: skip
"""90th percentile of the cloud pixels of the labelled Sentinel-2 chip of ukis-csmask (DLR, Apache-2.0); coastal and
red edge interpolated."""

SHADOW_DEPTH = {
    "coastal": 0.45, "blue": 0.48, "green": 0.55, "red": 0.60, "rededge1": 0.62, "rededge2": 0.66, "rededge3": 0.68,
    "nir": 0.70, "nir_narrow": 0.70, "swir1": 0.75, "swir2": 0.78,
}  # fmt: skip
"""Share of the light that a shadow takes: less in the blue, which the sky still lights."""

SEEN_ALPHA, SEEN_SHADOW, SEEN_CIRRUS = 0.15, 0.35, 0.04


@dataclass(frozen=True, slots=True)
class Sky:
    """Opacity of cloud and cirrus, share of direct light lost to shadow, and cloud brightness (y, x), float32."""

    cloud: Float
    shadow: Float
    cirrus: Float
    brightness: Float

    def classes(self) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        """CLEAR, CLOUD, SHADOW or CIRRUS per cell; cloud wins over shadow, shadow over cirrus."""
        seen = np.where(self.cirrus > SEEN_CIRRUS, CIRRUS, CLEAR)
        seen = np.where(self.shadow > SEEN_SHADOW, SHADOW, seen)
        return np.where(self.cloud > SEEN_ALPHA, CLOUD, seen).astype(np.uint8)


def make_sky(rng: np.random.Generator, shape: tuple[int, int], sun: Sun, cell_m: float) -> Sky:
    """A sky: cover drawn for a humid coast (mean 0.3), shadows away from the sun by clouds 800 to 2500 m high."""
    cover = float(np.clip(rng.beta(0.9, 2.1), 0, 0.98))
    height_m = rng.uniform(800, 2500)
    field = fractal_field(rng, shape, 1.6, (1.5, 90))
    zeros = np.zeros(shape, dtype=np.float32)
    cloud, brightness = zeros, zeros
    if cover > 0.02:
        base = float(np.quantile(field, 1 - cover))
        cloud = smooth_step(field, base, base + 0.45)
        brightness = (0.75 + 0.6 * smooth_step(field, base, base + 2.0)).astype(np.float32)
    shadow = np.roll(cloud, _shadow_shift(sun, height_m, cell_m), axis=(0, 1)) * (1 - cloud)
    cirrus = zeros
    if rng.random() < 0.3:
        veil = fractal_field(rng, shape, 1.9, (1, 12))
        cirrus = np.float32(rng.uniform(0.06, 0.14)) * smooth_step(veil, 0.2, 1.6)
    return Sky(cloud, shadow.astype(np.float32), cirrus, brightness)


def _shadow_shift(sun: Sun, height_m: float, cell_m: float) -> tuple[int, int]:
    """Rows and columns from a cloud to its shadow."""
    reach = height_m / np.tan(np.radians(max(sun.elevation_deg, 15.0))) / cell_m
    azimuth = np.radians(sun.azimuth_deg)
    return round(reach * np.cos(azimuth)), round(-reach * np.sin(azimuth))


def through_sky(reflectance: Float, sky: Sky, bands: Sequence[str]) -> Float:
    """Reflectance (band, y, x) at the sensor: shaded, veiled by cirrus, covered by cloud; changed in place."""
    for index, band in enumerate(bands):
        layer = reflectance[index]
        layer *= 1 - np.float32(SHADOW_DEPTH[band]) * sky.shadow
        bright = np.float32(CLOUD_REFLECTANCE[band])
        layer += sky.cirrus * (bright * np.float32(0.6) - layer)
        layer += sky.cloud * (bright * sky.brightness - layer)
    return reflectance
