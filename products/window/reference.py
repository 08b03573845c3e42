"""The float64 plain-NumPy answer that the window kernels are compared with: one pixel after the other, no speed intended."""

import math

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def cooccurrence(patch: Doubles, low: float, high: float, levels: int) -> Doubles:
    """float64 (level, level): how often two neighbours of a patch (y, x) have each pair of levels; symmetric, NaN left out.

    Haralick et al. 1973 (IEEE Trans. SMC 3, 610-621), distance 1, the four directions pooled.
    """
    matrix = np.zeros((levels, levels))
    for y, x in np.ndindex(patch.shape):
        for dy, dx in DIRECTIONS:
            if 0 <= y + dy < patch.shape[0] and 0 <= x + dx < patch.shape[1]:
                pair = [patch[y, x], patch[y + dy, x + dx]]
                if not np.isnan(pair).any():
                    a, b = (min(max(math.floor((v - low) * (levels / (high - low))), 0), levels - 1) for v in pair)
                    matrix[a, b] += 1
                    matrix[b, a] += 1
    return matrix


def texture(patch: Doubles, low: float, high: float, levels: int) -> dict[str, float]:
    """Each texture measure of one patch (y, x), by the textbook formulas over its co-occurrence matrix; NaN without a pair."""
    matrix = cooccurrence(patch, low, high, levels)
    share = matrix / matrix.sum() if matrix.any() else np.full_like(matrix, np.nan)
    i, j = np.indices(share.shape)
    mean = float((share * i).sum())
    variance = float((share * (i - mean) ** 2).sum())
    covariance = float((share * (i - mean) * (j - mean)).sum())
    asm = float((share**2).sum())
    return {
        "contrast": float((share * (i - j) ** 2).sum()),
        "dissimilarity": float((share * abs(i - j)).sum()),
        "homogeneity": float((share / (1 + (i - j) ** 2)).sum()),
        "mean": mean,
        "variance": variance,
        "correlation": 1.0 if variance < 1e-15 else covariance / variance,
        "asm": asm,
        "energy": math.sqrt(asm),
        "entropy": math.nan if np.isnan(asm) else -sum(p * math.log(p) for p in share.flat if p > 0),
    }


def terrain(elevation: Doubles, resolution_m: float) -> dict[str, float]:
    """Each terrain measure of the centre of elevation (3, 3) in metres, by the formulas of the papers that `products.window.terrain` names.

    One NaN among the nine makes all of them NaN but the position.
    """
    (a, b, c), (d, centre, f), (g, h, i) = elevation + 0 * elevation.sum()
    east = ((c + 2 * f + i) - (a + 2 * d + g)) / (8 * resolution_m)
    north = ((a + 2 * b + c) - (g + 2 * h + i)) / (8 * resolution_m)
    slope = math.atan(math.hypot(east, north))
    aspect = math.atan2(-east, -north) % (2 * math.pi) if slope != 0 else math.nan
    zenith, azimuth = math.radians(45), math.radians(315)
    light = math.cos(zenith) * math.cos(slope)
    light += 0.0 if slope == 0 else math.sin(zenith) * math.sin(slope) * math.cos(azimuth - aspect)
    others = np.delete(elevation.ravel(), 4)
    known = others[~np.isnan(others)]
    return {
        "slope": math.degrees(slope),
        "aspect": math.degrees(aspect),
        "eastness": 0.0 if slope == 0 else math.sin(slope) * math.sin(aspect),
        "northness": 0.0 if slope == 0 else math.sin(slope) * math.cos(aspect),
        "hillshade": light if math.isnan(light) else max(light, 0.0),
        "roughness": float(np.max(elevation) - np.min(elevation)),
        "ruggedness": math.sqrt(float(((others - centre) ** 2).sum())),
        "position": float(elevation[1, 1] - known.mean()) if known.size else math.nan,
    }


def dilated(mask: Mask, radius_px: float) -> Mask:
    """bool (y, x): True within radius_px of any True pixel of mask (y, x); nothing lies outside the image."""
    return squared_distance(mask) <= radius_px**2


def squared_distance(mask: Mask) -> Doubles:
    """float64 (y, x), pixels squared: to the nearest True pixel of mask (y, x), each compared; infinite where there is none."""
    ys, xs = np.nonzero(mask)
    nearest = np.full(mask.shape, np.inf)
    for y, x in np.ndindex(mask.shape):
        nearest[y, x] = np.min((ys - y) ** 2.0 + (xs - x) ** 2.0, initial=np.inf)
    return nearest
