"""What a chip is like, in one number for each feature."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def chip_means(chips: Floats) -> Floats:
    """(n, feature) mean of the pixels that have a feature, of chips (n, feature, y, x); NaN where none has."""
    is_there = np.isfinite(chips)
    total = np.where(is_there, chips, np.float32(0)).sum(axis=(2, 3), dtype=np.float64)
    count = is_there.sum(axis=(2, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
