"""Features as a network is given them: normalised in one pass, with what is missing as 0 and counted."""

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def normalise(features: Floats, mean: Floats, std: Floats, out: Floats) -> None:
    """Into `out` float32 (feature + 1, y, x): features (feature, y, x) less mean, divided by std (feature), 0 where missing; last the share that is there."""
    n, rows, columns = features.shape
    share = out[n]
    for y in range(rows):
        for x in range(columns):
            share[y, x] = np.float32(0.0)
    for i in range(n):
        for y in range(rows):
            for x in range(columns):
                value = features[i, y, x]
                is_there = np.isfinite(value)
                out[i, y, x] = (value - mean[i]) / std[i] if is_there else np.float32(0.0)
                share[y, x] += np.float32(1.0) if is_there else np.float32(0.0)
    for y in range(rows):
        for x in range(columns):
            share[y, x] /= np.float32(n)
