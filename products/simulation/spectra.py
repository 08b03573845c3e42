"""Surface reflectance of the landscape on a day and at a tide, as OLI would see it.

Each ground has two spectra. Water (first), built-up (first, lower quartile of Urban) and the first vegetation spectrum
follow the Landsat 8 pixels of spyndex's `spectral.json` (Montero et al. 2023, MIT). Mangrove is set so that its
Mangrove Vegetation Index (Baloloy et al. 2020, ISPRS Journal 166, 95-117) is 4.5 to 5.2. Turbid water, soil, mud, crops
and the red edge are of the order found in the USGS Spectral Library 7 (Kokaly et al. 2017): plausible, not measured.
"""

from collections.abc import Sequence

import numpy as np

from products.simulation.fields import Float
from products.simulation.landscape import BARE, BUILT, MANGROVE, MUDFLAT, VEGETATION, WATER, Landscape

BANDS = (
    "coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir_narrow", "swir1", "swir2",
)  # fmt: skip
Spectrum = tuple[float, ...]

SPECTRA: dict[int, tuple[Spectrum, Spectrum]] = {
    MANGROVE: (
        (0.016, 0.020, 0.040, 0.022, 0.058, 0.185, 0.235, 0.262, 0.275, 0.085, 0.036),
        (0.020, 0.026, 0.052, 0.034, 0.080, 0.210, 0.255, 0.275, 0.290, 0.105, 0.048),
    ),
    WATER: (
        (0.010, 0.021, 0.033, 0.012, 0.011, 0.010, 0.010, 0.010, 0.010, 0.016, 0.017),
        (0.045, 0.060, 0.095, 0.080, 0.070, 0.045, 0.045, 0.040, 0.038, 0.020, 0.017),
    ),
    VEGETATION: (
        (0.023, 0.027, 0.050, 0.037, 0.085, 0.220, 0.280, 0.295, 0.310, 0.150, 0.068),
        (0.038, 0.046, 0.080, 0.075, 0.125, 0.210, 0.250, 0.270, 0.285, 0.240, 0.140),
    ),
    BARE: (
        (0.060, 0.075, 0.105, 0.130, 0.145, 0.160, 0.170, 0.185, 0.195, 0.250, 0.210),
        (0.085, 0.105, 0.145, 0.185, 0.205, 0.220, 0.235, 0.250, 0.262, 0.330, 0.280),
    ),
    BUILT: (
        (0.081, 0.095, 0.130, 0.163, 0.180, 0.210, 0.225, 0.240, 0.253, 0.259, 0.205),
        (0.160, 0.180, 0.210, 0.230, 0.240, 0.250, 0.260, 0.265, 0.270, 0.280, 0.250),
    ),
    MUDFLAT: (
        (0.050, 0.062, 0.085, 0.092, 0.098, 0.105, 0.108, 0.110, 0.112, 0.095, 0.065),
        (0.065, 0.080, 0.105, 0.118, 0.125, 0.135, 0.138, 0.142, 0.145, 0.150, 0.110),
    ),
}
"""Ground -> its two spectra in the order of BANDS, reflectance 0 to 1."""

SEASONAL_SHIFT = {MANGROVE: 0.05, WATER: 0.15, VEGETATION: 0.40, BARE: 0.15, BUILT: 0.0, MUDFLAT: 0.1}
"""How far the mixture moves towards the second spectrum from the greenest day to the driest, in halves of that way."""

GREENEST_DAY = 335
TEXTURE_SHARE = {MANGROVE: 0.06, WATER: 0.03, VEGETATION: 0.08, BARE: 0.07, BUILT: 0.15, MUDFLAT: 0.04}


def surface_at_tide(landscape: Landscape, tide_m: float) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The ground codes (y, x) with the tidal flat and channel beds drowned or bared at a tide above mean sea level."""
    ground = landscape.ground
    tidal = (ground == MUDFLAT) | (ground == WATER)
    surface = np.where(tidal & (landscape.elevation_m < tide_m), WATER, ground)
    return np.where((ground == WATER) & (landscape.elevation_m >= tide_m), MUDFLAT, surface).astype(np.uint8)


def surface_reflectance(landscape: Landscape, day_of_year: int, tide_m: float, bands: Sequence[str]) -> Float:
    """Cloud-free OLI-like reflectance (band, y, x) float32 on a day, at a tide in metres above mean sea level."""
    surface = surface_at_tide(landscape, tide_m)
    first, second = _table(bands, 0), _table(bands, 1)
    dryness = -np.cos(2 * np.pi * (day_of_year - GREENEST_DAY) / 365.25)
    shift = _by_code(SEASONAL_SHIFT)[surface] * np.float32(dryness)
    mixture = np.clip(landscape.mixture + shift, 0, 1)
    brightness = 1 + _by_code(TEXTURE_SHARE)[surface] * landscape.texture
    reflectance = np.empty((len(bands), *surface.shape), dtype=np.float32)
    for index in range(len(bands)):
        low, step = first[index], second[index] - first[index]
        reflectance[index] = (low[surface] + mixture * step[surface]) * brightness
    return reflectance


def _table(bands: Sequence[str], which: int) -> Float:
    """Reflectance (band, code)."""
    table = np.zeros((len(bands), MUDFLAT + 1), dtype=np.float32)
    for code, pair in SPECTRA.items():
        table[:, code] = [pair[which][BANDS.index(band)] for band in bands]
    return table


def _by_code(values: dict[int, float]) -> Float:
    table = np.zeros(MUDFLAT + 1, dtype=np.float32)
    table[list(values)] = list(values.values())
    return table
