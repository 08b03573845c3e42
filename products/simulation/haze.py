"""What the air adds to reflectance on its way to the top of the atmosphere."""

from collections.abc import Mapping, Sequence

import numpy as np

from products.simulation.fields import Float

WAVELENGTHS_UM: Mapping[str, float] = {
    "blue": 0.482,
    "green": 0.561,
    "red": 0.655,
    "nir": 0.865,
    "swir1": 1.609,
    "swir2": 2.201,
}
"""Centres of the bands of OLI (Barsi et al. 2014, Remote Sensing 6(10), 10232-10251)."""


def air_reflectance(bands: Sequence[str], sun_elevation_deg: float) -> Float:
    """(band,) float32: reflectance of air without aerosol above the sea, seen from above, of bands of `WAVELENGTHS_UM`.

    The optical depth of molecules by wavelength is that of Hansen and Travis (1974, Space Science Reviews 16, 527-610, eq. 2.30); light is scattered once,
    by the phase function of Rayleigh, from a sun that stands `sun_elevation_deg` above the horizon, 15 degrees at least.
    """
    wavelength = np.array([WAVELENGTHS_UM[band] for band in bands])
    depth = 0.008569 * wavelength**-4 * (1 + 0.0113 * wavelength**-2 + 0.00013 * wavelength**-4)
    # of the sun's zenith angle and, but for its sign, of scattering
    cosine = np.sin(np.radians(max(sun_elevation_deg, 15.0)))
    return (depth * 0.75 * (1 + cosine**2) / (4 * cosine)).astype(np.float32)
