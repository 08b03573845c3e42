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
