"""The landscape: sea, mudflat, mangrove with tidal creeks, a river, fields, bare ground and a town, on 10 m cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from products.simulation.fields import Float, Mask, covering, fractal_field

CLASS_NAMES = {1: "mangrove", 2: "water", 3: "other_vegetation", 4: "bare", 5: "built_up"}
MANGROVE, WATER, VEGETATION, BARE, BUILT = CLASS_NAMES
MUDFLAT = 6
Codes = NDArray[np.uint8]

INLAND_SHARE = (0.0, 0.22, 0.35, 0.62, 0.72, 1.0)
ELEVATION_M = (-7.0, -1.7, 0.6, 2.0, 4.0, 14.0)
MANGROVE_M = (0.6, 2.0)
CREEK_BED_M, RIVER_BED_M = -1.8, -4.0


@dataclass(frozen=True, slots=True)
class Landscape:
    """All arrays (y, x) on 10 m cells. `ground` is the class, with the tidal flat as MUDFLAT; `mixture` runs between
    a class's two spectra; `texture` has mean 0."""

    classes: Codes
    ground: Codes
    elevation_m: Float
    mixture: Float
    texture: Float


def make_landscape(rng: np.random.Generator, side_px: int) -> Landscape:
    """A landscape of `side_px` x `side_px` cells; classes are those at mean sea level."""
    shape = (side_px, side_px)
    inland, along = _coast_coordinates(rng, side_px)
    elevation = np.interp(inland, INLAND_SHARE, ELEVATION_M).astype(np.float32)
    elevation += 0.12 * fractal_field(rng, shape, 1.2, (4, 60))
    channels = _creeks(rng, inland) & (elevation < MANGROVE_M[1])
    elevation = np.where(channels, np.minimum(elevation, CREEK_BED_M), elevation).astype(np.float32)
    river = _river(rng, inland, along)
    elevation = np.where(river, np.minimum(elevation, RIVER_BED_M), elevation).astype(np.float32)
    classes = _land_classes(rng, elevation)
    tidal = (elevation > -2.0) & ((classes == BARE) | (classes == WATER)) & (elevation < MANGROVE_M[0]) & ~channels
    ground = np.where(tidal, MUDFLAT, classes).astype(np.uint8)
    return Landscape(
        classes, ground, elevation, _mixture(rng, classes, elevation), fractal_field(rng, shape, 0.6, (8, 400))
    )


def _coast_coordinates(rng: np.random.Generator, side_px: int) -> tuple[Float, Float]:
    """How far inland (0 at sea, 1 behind) and along the coast each cell lies, the coastline wavy."""
    angle = rng.uniform(-0.35, 0.35)
    rows, columns = np.mgrid[0:side_px, 0:side_px].astype(np.float32) / side_px - 0.5
    wave = fractal_field(rng, (side_px, side_px), 1.8, (1, 25))
    inland = 0.5 + columns * np.cos(angle) + rows * np.sin(angle) + 0.035 * wave
    along = 0.5 + rows * np.cos(angle) - columns * np.sin(angle)
    return inland.astype(np.float32), along.astype(np.float32)


def _creeks(rng: np.random.Generator, inland: Float) -> Mask:
    """Contours of a smooth field, 20 to 60 m wide, wider towards the sea."""
    field = fractal_field(rng, inland.shape, 1.0, (2, 7))
    steepness = np.hypot(*np.gradient(field)) + 1e-4
    half_width_px = np.clip(3.2 - 4.0 * inland, 1.0, 3.0)
    return np.asarray(np.abs(field) / steepness < half_width_px)


def _river(rng: np.random.Generator, inland: Float, along: Float) -> Mask:
    """A meandering river, about 2.5 % of the side wide, with a funnel mouth."""
    phase, at = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.65)
    course = at + 0.06 * np.sin(2 * np.pi * 1.3 * inland + phase) + 0.025 * np.sin(2 * np.pi * 3.1 * inland + 2 * phase)
    half_width = 0.012 + 0.03 * np.clip(0.45 - inland, 0, None)
    return np.asarray(np.abs(along - course) < half_width)


def _land_classes(rng: np.random.Generator, elevation: Float) -> Codes:
    """Mangrove between the mudflat and 2 m, with clearings; behind it fields and forest, bare patches and a town."""
    shape = elevation.shape
    dry = elevation >= MANGROVE_M[1]
    town = covering(fractal_field(rng, shape, 1.6, (2, 14)), 0.2)
    bare = covering(fractal_field(rng, shape, 1.4, (3, 18)), 0.2)
    clearing = covering(fractal_field(rng, shape, 1.4, (6, 20)), 0.06)
    belt = (elevation >= MANGROVE_M[0]) & ~dry
    classes = np.full(shape, BARE, dtype=np.uint8)
    classes[elevation < 0] = WATER
    classes[belt & ~clearing] = MANGROVE
    classes[dry] = VEGETATION
    classes[dry & bare] = BARE
    classes[dry & town] = BUILT
    return classes


def _mixture(rng: np.random.Generator, classes: Codes, elevation: Float) -> Float:
    """0 to 1 between the spectra of a class: patches on land, turbidity that settles with depth in water."""
    patches = 0.5 + 0.28 * fractal_field(rng, classes.shape, 1.3, (3, 80))
    turbid = np.exp(np.minimum(elevation, 0) / 2.5) * 0.8 + 0.06 * fractal_field(rng, classes.shape, 1.5, (2, 30))
    return np.clip(np.where(classes == WATER, turbid, patches), 0, 1).astype(np.float32)
