"""One pass over the landscape: the cloud-free truth and what arrives at the sensor, on 10 m cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from products.simulation.canvas import FINE_M
from products.simulation.fields import Float, fractal_field
from products.simulation.landscape import BARE, BUILT, WATER, Landscape
from products.simulation.passes import Pass, Sun
from products.simulation.sky import Sky, make_sky, through_sky
from products.simulation.spectra import surface_at_tide, surface_reflectance


@dataclass(frozen=True, slots=True)
class Observation:
    """`reflectance` (band, y, x) is OLI-like, at the sensor; `surface` the ground codes at this tide; `doubt` a field
    of mean 0 that misleads cloud detectors."""

    bands: tuple[str, ...]
    reflectance: Float
    sky: Sky
    surface: NDArray[np.uint8]
    doubt: Float

    def band(self, name: str) -> Float:
        """One band (y, x)."""
        return self.reflectance[self.bands.index(name)]

    def is_water(self) -> Float:
        """1 on water, else 0."""
        return (self.surface == WATER).astype(np.float32)

    def is_bright(self) -> Float:
        """1 on bare and built-up ground, else 0."""
        return ((self.surface == BARE) | (self.surface == BUILT)).astype(np.float32)


def observe(
    landscape: Landscape, one: Pass, sun: Sun, tide_m: float, bands: tuple[str, ...], rng: np.random.Generator
) -> Observation:
    """What a pass sees in `bands`."""
    reflectance = surface_reflectance(landscape, one.instant.timetuple().tm_yday, tide_m, bands)
    sky = make_sky(rng, landscape.classes.shape, sun, FINE_M)
    through_sky(reflectance, sky, bands)
    doubt = fractal_field(rng, landscape.classes.shape, 0.9, (4, 80))
    return Observation(bands, reflectance, sky, surface_at_tide(landscape, tide_m), doubt)
