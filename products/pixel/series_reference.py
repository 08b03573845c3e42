"""The float64 plain-NumPy answer for gap-filled series: one pixel after the other, no speed intended."""

import numpy as np
from numpy.typing import NDArray

from products.pixel.ordered_reference import tells_apart, whittaker
from products.pixel.series import HARMONIC, WHITTAKER, Filling

Doubles = NDArray[np.float64]


def filled(values: Doubles, scenes: NDArray[np.int64], filling: Filling) -> Doubles:
    """float64 (step,): the series of the values of some scenes; NaN where it cannot be told."""
    steps = filling.step_of[scenes]
    n_steps = filling.middles.size
    if filling.method == HARMONIC:
        design = filling.at_scenes[scenes]
        if not tells_apart(design):
            return np.full(n_steps, np.nan)
        return np.asarray(filling.at_steps @ np.linalg.lstsq(design, values, rcond=None)[0], float)
    if len(values) == 0:
        return np.full(n_steps, np.nan)
    known = np.unique(steps)
    means = np.array([values[steps == step].mean() for step in known])
    if filling.method == WHITTAKER and known.size > 1:
        dense, weights = np.zeros(n_steps), np.zeros(n_steps)
        dense[known], weights[known] = means, 1.0
        return whittaker(dense, weights, filling.smoothness)
    return np.asarray(np.interp(filling.middles, filling.middles[known], means), float)
