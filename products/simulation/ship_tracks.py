"""Made-up scenes of low cloud over the ocean at 1 km with the tracks of ships in them, as an imager such as MODIS would see them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from products.simulation.fields import Float, Mask, fractal_field, smooth_step

ASYMMETRY = 0.85  # of scattering by cloud droplets
OCEAN_REFLECTANCE, OCEAN_K, CLOUD_TOP_K = 0.03, 290.0, 282.0
RADIUS_UM, LIQUID_WATER_G_M2 = 14.0, 90.0
COALBEDO_PER_UM = 0.0025  # at 2.1 µm, of the order of what Nakajima and King 1990 (J. Atmos. Sci. 47, 1878) use
ABSORPTION_M2_G = 0.13  # at 11 µm (Stephens 1978, J. Atmos. Sci. 35, 2123)
NOISE, NOISE_K = 0.015, 0.1
CLOUDY_G_M2, SEEN = 10.0, 0.1


class Track(NamedTuple):
    """Points of a track (n, 2: x, y) in pixels from the ship backwards, and the share by which droplets shrink at each, (n,)."""

    points: NDArray[np.float64]
    strength: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrackScene:
    """Reflectance at 0.65 and 2.1 µm and brightness temperature at 11 µm in kelvin, (3, y, x), and the pixels along the middle of tracks that can be seen."""

    bands: Float
    is_track: Mask


def make_track_scene(rng: np.random.Generator, side_px: int, n_tracks: int) -> TrackScene:
    """A scene of `side_px` km with some tracks; those that lie where there is no cloud are not seen."""
    shape = (side_px, side_px)
    water = _liquid_water(rng, shape)
    radius = RADIUS_UM + 1.5 * fractal_field(rng, shape, 2.2, (1, 8)).astype(np.float64)
    is_track = np.zeros(shape, np.bool_)
    for _ in range(n_tracks):
        shrink, middle = _influence(_track(rng, side_px), shape)
        radius = radius * (1 - shrink)
        is_track |= middle & (water > CLOUDY_G_M2)
    bands = _seen(water, np.maximum(radius, 4.0).astype(np.float32))
    deviation = np.stack([NOISE * bands[0], NOISE * bands[1], np.full(shape, NOISE_K)])
    noisy = bands + deviation * rng.normal(0, 1, bands.shape)
    return TrackScene(noisy.astype(np.float32), is_track)


def optical_thickness(water_g_m2: Float, radius_um: Float) -> Float:
    """Of a cloud of droplets: 3 W / (2 rho r); the same water in smaller droplets is brighter (Twomey 1977, J. Atmos. Sci. 34, 1149)."""
    return np.asarray(1.5 * water_g_m2 / radius_um)


def _seen(water: Float, radius: Float) -> Float:
    """The three bands, (3, y, x).

    Without absorption (1 - g) tau / (2 + (1 - g) tau) (Bohren 1987, Am. J. Phys. 55, 524); at 2.1 µm times exp(-4 s), s the similarity parameter of
    single scattering (Kokhanovsky and Rozanov 2003, J. Quant. Spectrosc. Radiat. Transf. 77, 165).
    """
    scaled = (1 - ASYMMETRY) * optical_thickness(water, radius)
    conservative = scaled / (2 + scaled)
    lost = COALBEDO_PER_UM * radius
    similarity = np.sqrt(lost / (3 * (1 - ASYMMETRY * (1 - lost))))
    visible = OCEAN_REFLECTANCE + (1 - OCEAN_REFLECTANCE) * conservative
    infrared = conservative * np.exp(-4 * similarity)
    temperature = OCEAN_K - (OCEAN_K - CLOUD_TOP_K) * (1 - np.exp(-ABSORPTION_M2_G * water))
    return np.stack([visible, infrared, temperature]).astype(np.float32)


def _liquid_water(rng: np.random.Generator, shape: tuple[int, int]) -> Float:
    """Of broken stratocumulus in rolls, g/m2 (y, x): rolls are lines too, but in the water, not in the droplets."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    turn, length = rng.uniform(0, np.pi), rng.uniform(12, 24)
    rolls = 1 + 0.25 * np.sin(2 * np.pi * (rows * np.cos(turn) + columns * np.sin(turn)) / length)
    cover = smooth_step(fractal_field(rng, shape, 2.0, (1, 20)), -1.2, -0.2)
    cells = np.exp(0.5 * fractal_field(rng, shape, 1.6, (2, shape[0] / 3)))
    return np.asarray(LIQUID_WATER_G_M2 * rolls * cells * cover, dtype=np.float32)


def _track(rng: np.random.Generator, side_px: int) -> Track:
    """A ship on a bent course; its mean length is of the order of Durkee et al. 2000 (J. Atmos. Sci. 57, 2542), 296 km, within the scene less."""
    n = int(rng.uniform(0.4, 1.0) * side_px)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(np.full(n, rng.normal(0, 0.4 / side_px)))
    start = rng.uniform(0.25, 0.75, 2) * side_px
    points = start + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    age = np.arange(n) / side_px
    onset = np.clip(age * side_px / 6, 0, 1)
    strength = rng.uniform(0.35, 0.55) * onset * np.exp(-0.8 * age)
    inside = (points >= 0).all(axis=1) & (points < side_px).all(axis=1)
    return Track(points[inside], strength[inside])


def _influence(track: Track, shape: tuple[int, int]) -> tuple[Float, Mask]:
    """The share by which droplets shrink, (y, x), and the pixels within one of the middle of a track that is strong enough to be seen.

    A track widens with its age, to about 9 km across at 296 km.
    """
    order = np.full(shape, -1, np.int64)
    column, row = track.points.astype(np.int64).T
    order[row, column] = np.arange(len(column))
    if not len(column):
        return np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    distance, nearest = ndimage.distance_transform_edt(order < 0, return_indices=True)
    age = order[tuple(nearest)]
    width = 0.8 + 3.0 * np.sqrt(age / 296)
    strength = track.strength[age]
    shrink = strength * np.exp(-0.5 * (distance / width) ** 2)
    return shrink.astype(np.float32), (distance <= 1) & (strength > SEEN)
