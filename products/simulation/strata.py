"""The ground on which cloud masks fail at coasts: sand, mudflat, turbid water and the fringe of the shore, at a tide."""

import math
from collections.abc import Mapping

import numpy as np

from products.simulation.fields import Float, Mask
from products.simulation.landscape import BARE, BUILT, MANGROVE, MANGROVE_M, WATER, Codes
from products.window.morphology import dilate, radius_px

FRINGE_M = 60.0
TURBID_ABOVE_M = 2.5 * math.log(0.5 / 0.8)
"""Above this height, under water, the landscape mixes at least half of the turbid spectrum, but for its patches."""


def coast_strata(classes: Codes, elevation_m: Float, tide_m: float, cell_m: float) -> Mapping[str, Mask]:
    """Names and where (y, x) at a tide above mean sea level; `classes` are those at mean sea level, 0 where nothing is known.

    The shore is where water meets ground at this tide; the fringe reaches FRINGE_M to both of its sides.
    """
    floods = (classes == WATER) | ((classes == BARE) & (elevation_m < MANGROVE_M[0]))
    water = floods & (elevation_m < tide_m)
    return {
        "all": classes != 0,
        "mangrove": classes == MANGROVE,
        "sand": (classes == BARE) & ~floods,
        "built_up": classes == BUILT,
        "mudflat": floods & ~water,
        "turbid_water": water & (elevation_m > TURBID_ABOVE_M),
        "fringe": fringe(water, (classes != 0) & ~water, cell_m),
    }


def majority(mask: Mask, factor: int) -> Mask:
    """bool (y, x): where more than half of `factor` x `factor` cells are True."""
    rows, columns = mask.shape[0] // factor, mask.shape[1] // factor
    share = mask.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    return np.asarray(share > 0.5)


def fringe(water: Mask, ground: Mask, cell_m: float) -> Mask:
    """bool (y, x): the water and the ground that lie within FRINGE_M of both."""
    radius = radius_px(FRINGE_M, cell_m)
    near = [np.asarray(dilate(np.pad(mask, math.floor(radius)), radius)) for mask in (water, ground)]
    return np.asarray(near[0] & near[1] & (water | ground))
