"""The tide under observations: which of them a feature uses, and how much of the tide range they saw."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from products.closed import Closed
from products.errors import RequestError
from products.scene import Scene


class TideSpec(Closed):
    """Of the passes over the tile in the period, the share with the `lowest` or with the `highest` tides."""

    lowest: float | None = Field(gt=0, lt=1, default=None)
    highest: float | None = Field(gt=0, lt=1, default=None)

    @model_validator(mode="after")
    def _one(self) -> "TideSpec":
        if (self.lowest is None) == (self.highest is None):
            raise RequestError("tide needs lowest: 0.2 or highest: 0.2, a share of the passes, and not both")
        return self

    @property
    def prefix(self) -> str:
        """What the names of features at this tide begin with."""
        return "high_tide" if self.lowest is None else "low_tide"


def at_tide(scenes: Sequence[Scene], spec: TideSpec, considered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the considered scenes (scene,) were taken at such a tide; none whose tide is not known.

    The limit is the quantile of the heights of the passes, each counted once, linear between neighbours.
    """
    heights = np.array([np.nan if scene.tide_m is None else scene.tide_m for scene in scenes], np.float64)
    chosen = considered & np.isfinite(heights)
    passes = {scene.pass_id: height for scene, height, is_in in zip(scenes, heights, chosen, strict=True) if is_in}
    if not passes:
        return chosen
    if spec.lowest is not None:
        return chosen & (heights <= np.quantile(list(passes.values()), spec.lowest))
    return chosen & (heights >= np.quantile(list(passes.values()), 1 - (spec.highest or 0.0)))


def range_seen(observed_m: NDArray[np.float64], modelled_m: NDArray[np.float64]) -> dict[str, float]:
    """Observed and full tide range in metres, and shares of the full one (Bishop-Taylor et al. 2019, Estuar. Coast. Shelf Sci. 223, 115-128).

    `spread` is the share that was seen, `offset_low` and `offset_high` those below and above all that was seen.
    """
    low, high, lowest, highest = observed_m.min(), observed_m.max(), modelled_m.min(), modelled_m.max()
    full = highest - lowest
    figures = {
        "observed_low_m": low,
        "observed_high_m": high,
        "lowest_m": lowest,
        "highest_m": highest,
        "spread": (high - low) / full,
        "offset_low": (low - lowest) / full,
        "offset_high": (highest - high) / full,
    }
    return {name: round(float(value), 4) for name, value in figures.items()}
