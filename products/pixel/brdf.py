"""Reflectance as it would be seen from the zenith: the c-factor of the RossThick-LiSparse-Reciprocal model with global parameters, float64.

Roy et al. 2016, Remote Sensing of Environment 176, 255-271; kernels after Lucht, Schaaf and Strahler 2000, IEEE TGRS 38, 977-998.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numba
import numpy as np
from numpy.typing import NDArray

from products.errors import RequestError
from products.scene import Angles, Scene

Parameters = tuple[float, float, float]
LOWEST = math.radians(89.0)  # a sun or a view so near to the horizon is none

GLOBAL_PARAMETERS: Mapping[str, Parameters] = MappingProxyType(
    {
        "blue": (0.0774, 0.0079, 0.0372),
        "green": (0.1306, 0.0178, 0.0580),
        "red": (0.1690, 0.0227, 0.0574),
        "rededge1": (0.2085, 0.0256, 0.0845),
        "rededge2": (0.2316, 0.0273, 0.1003),
        "rededge3": (0.2599, 0.0294, 0.1197),
        "nir": (0.3093, 0.0330, 0.1535),
        "nir_narrow": (0.3093, 0.0330, 0.1535),
        "swir1": (0.3430, 0.0453, 0.1154),
        "swir2": (0.2658, 0.0387, 0.0639),
    }
)
"""Band -> isotropic, geometric and volumetric parameter. Roy et al. 2016, Table 5 (MODIS, global mean of 12 months), for
Landsat; for Sentinel-2 as Roy et al. 2017, Remote Sensing of Environment 199, 25-38, and the red edge of Roy, Li and Zhang
2017, Remote Sensing 9, 1325: between red and near infrared by wavelength."""


def check_parameters(bands: Iterable[str]) -> None:
    """RequestError for bands without parameters."""
    lacking = [band for band in bands if band not in GLOBAL_PARAMETERS]
    if lacking:
        raise RequestError(
            f"brdf: c_factor has no parameters for {lacking[0]!r}: expected bands of {', '.join(GLOBAL_PARAMETERS)}"
        )


def check_angles(scenes: Sequence[Scene]) -> None:
    """RequestError for scenes whose angles are not known."""
    lacking = [scene.item_id for scene in scenes if scene.angles is None and not scene.has_pixel_angles]
    if lacking:
        raise RequestError(
            f"brdf: c_factor needs the angles of sun and view of every scene, {len(lacking)} of {len(scenes)} lack them, the first "
            f"{lacking[0]}: ingest from an archive whose items state view:sun_elevation, view:sun_azimuth and view:incidence_angle "
            "with view:azimuth (or view:off_nadir: 0), or have the angles of every pixel (SZA, SAA, VZA, VAA) or the metadata of their granule "
            "(granule_metadata), keep them out by `platforms`, or say brdf: none"
        )


def c_factor(band: str, angles: Angles) -> float:
    """What reflectance is multiplied with: the model seen from the zenith, with the sun where it was, over the model as it was seen."""
    sun, view = math.radians(90.0 - angles.sun_elevation_deg), math.radians(angles.view_zenith_deg)
    relative = math.radians(angles.view_azimuth_deg - angles.sun_azimuth_deg)
    factor: float = _factor(GLOBAL_PARAMETERS[band], _kernels(sun, 0.0, relative), _kernels(sun, view, relative))
    return factor


@numba.njit(nogil=True, cache=True, error_model="numpy")
def to_nadir(
    numbers: NDArray[np.uint16], angles: NDArray[np.float32], parameters: NDArray[np.float64], scale: NDArray[np.float64],
    offset: NDArray[np.float64], is_lost: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Numbers (band, y, x) of reflectance DN * scale + offset (band) become those seen from the zenith, in place, rounded; 0 and 65535 stay.

    angles (4, y, x) of ANGLE_BANDS in degrees; parameters (band, 3). Where an angle is missing or cannot be, is_lost (y, x) becomes True.
    """
    for y in range(numbers.shape[1]):
        for x in range(numbers.shape[2]):
            sun, view = math.radians(angles[0, y, x]), math.radians(angles[2, y, x])
            relative = math.radians(angles[3, y, x] - angles[1, y, x])
            if not _can_be(sun, view, relative):
                is_lost[y, x] = True
                continue
            at_nadir, seen = _kernels(sun, 0.0, relative), _kernels(sun, view, relative)
            for b in range(numbers.shape[0]):
                dn = numbers[b, y, x]
                if dn == 0 or dn == 65535:
                    continue
                factor = _factor((parameters[b, 0], parameters[b, 1], parameters[b, 2]), at_nadir, seen)
                numbers[b, y, x] = _multiplied(dn, factor, scale[b], offset[b])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _multiplied(dn: int, factor: float, scale: float, offset: float) -> np.uint16:
    """The number of a reflectance dn * scale + offset times a factor, rounded, but for 0 and 65535."""
    value = (dn * scale + offset) * factor
    return np.uint16(min(max(round((value - offset) / scale), 1), 65534))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def c_factors(angles: NDArray[np.float64], parameters: NDArray[np.float64], factors: NDArray[np.float64]) -> None:
    """The c-factor of one band of parameters (3,) into factors (y, x), of angles (4, y, x) of ANGLE_BANDS in degrees; NaN where one cannot be."""
    of_band = parameters[0], parameters[1], parameters[2]
    for y in range(factors.shape[0]):
        for x in range(factors.shape[1]):
            sun, view = math.radians(angles[0, y, x]), math.radians(angles[2, y, x])
            relative = math.radians(angles[3, y, x] - angles[1, y, x])
            if _can_be(sun, view, relative):
                factors[y, x] = _factor(of_band, _kernels(sun, 0.0, relative), _kernels(sun, view, relative))
            else:
                factors[y, x] = np.nan


@numba.njit(nogil=True, cache=True, error_model="numpy")
def multiply_between(
    numbers: NDArray[np.uint16], factors: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64],
    scale: NDArray[np.float64], offset: NDArray[np.float64], is_lost: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Numbers (band, y, x) of reflectance DN * scale + offset (band) times a factor, in place, rounded; 0 and 65535 stay.

    The factor is bilinear between the nodes of factors (band, row, column), of which the pixels lie in rows (y,) and columns (x,). Where a node is
    missing, is_lost (y, x) becomes True.
    """
    for y in range(numbers.shape[1]):
        top = int(rows[y])
        down = rows[y] - top
        for x in range(numbers.shape[2]):
            left = int(columns[x])
            across = columns[x] - left
            for b in range(numbers.shape[0]):
                upper = factors[b, top, left] * (1 - across) + factors[b, top, left + 1] * across
                lower = factors[b, top + 1, left] * (1 - across) + factors[b, top + 1, left + 1] * across
                factor = upper * (1 - down) + lower * down
                if np.isnan(factor):
                    is_lost[y, x] = True
                    continue
                dn = numbers[b, y, x]
                if dn == 0 or dn == 65535:
                    continue
                numbers[b, y, x] = _multiplied(dn, factor, scale[b], offset[b])


@numba.njit(nogil=True, cache=True)
def _can_be(sun: float, view: float, relative: float) -> bool:
    """Whether sun and view stand above the horizon and the angles, radians, are numbers."""
    return 0.0 <= sun < LOWEST and 0.0 <= view < LOWEST and abs(relative) <= 4 * math.pi


@numba.njit(nogil=True, cache=True)
def _kernels(sun: float, view: float, relative: float) -> tuple[float, float]:
    """The geometric and the volumetric kernel."""
    return li_sparse(sun, view, relative), ross_thick(sun, view, relative)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _factor(parameters: Parameters, at_nadir: tuple[float, float], seen: tuple[float, float]) -> float:
    """The model at the kernels of the zenith over that at those of the view."""
    isotropic, geometric, volumetric = parameters
    nadir = isotropic + geometric * at_nadir[0] + volumetric * at_nadir[1]
    return nadir / (isotropic + geometric * seen[0] + volumetric * seen[1])


@numba.njit(nogil=True, cache=True)
def ross_thick(sun: float, view: float, relative: float) -> float:
    """The volumetric kernel, of zenith angles and the azimuth between, radians; 0 with sun and view in the zenith."""
    phase = _phase(sun, view, relative)
    return ((math.pi / 2 - phase) * math.cos(phase) + math.sin(phase)) / (math.cos(sun) + math.cos(view)) - math.pi / 4


@numba.njit(nogil=True, cache=True)
def li_sparse(sun: float, view: float, relative: float) -> float:
    """The geometric kernel, reciprocal, of crowns as round as wide (b/r = 1) that stand two radii high (h/b = 2)."""
    tan_sun, tan_view = math.tan(sun), math.tan(view)
    secants = 1 / math.cos(sun) + 1 / math.cos(view)
    distance2 = tan_sun**2 + tan_view**2 - 2 * tan_sun * tan_view * math.cos(relative)
    across = tan_sun * tan_view * math.sin(relative)
    t = math.acos(min(2 * math.sqrt(max(distance2 + across**2, 0.0)) / secants, 1.0))
    overlap = (t - math.sin(t) * math.cos(t)) * secants / math.pi
    product = 1 / math.cos(sun) / math.cos(view)
    return overlap - secants + (1 + math.cos(_phase(sun, view, relative))) * product / 2


@numba.njit(nogil=True, cache=True)
def _phase(sun: float, view: float, relative: float) -> float:
    """The angle between the directions to the sun and to the sensor."""
    cosine = math.cos(sun) * math.cos(view) + math.sin(sun) * math.sin(view) * math.cos(relative)
    return math.acos(min(max(cosine, -1.0), 1.0))
