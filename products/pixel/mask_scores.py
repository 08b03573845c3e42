"""Cloud masks against known truth: what of cloud and shadow a mask leaves in use, and what clear ground it takes for them."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from products.pixel.causes import NOT_EXPECTED, Cause

Fates = npt.NDArray[np.int64]


class TrueSky(IntEnum):
    """What is known of the sky over a pixel."""

    NO_DATA = 0
    CLEAR = 1
    CLOUD = 2
    CLOUD_SHADOW = 3
    THIN_CIRRUS = 4


UNSEEN = (Cause.UNREAD, Cause.NODATA, Cause.SLC_GAP)
CALLED: Mapping[TrueSky, tuple[Cause, ...]] = {
    TrueSky.CLOUD: (Cause.CLOUD, Cause.PERSISTENT_CLOUD),
    TrueSky.CLOUD_SHADOW: (Cause.SHADOW,),
    TrueSky.THIN_CIRRUS: (Cause.CIRRUS,),
}
MASKED = (Cause.CLOUD, Cause.SHADOW, Cause.CIRRUS, Cause.SNOW, Cause.DILATED, Cause.PERSISTENT_CLOUD)


def count_fates(
    truth: npt.NDArray[np.uint8], causes: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_] | None = None
) -> Fates:
    """int64 (true sky, cause): the observations (y, x) that are expected and lie in `where`, of known sky; tables add up."""
    counted = (causes != NOT_EXPECTED) & (truth != TrueSky.NO_DATA)
    counted = counted if where is None else counted & where
    pairs = truth[counted].astype(np.int64) * len(Cause) + causes[counted]
    return np.bincount(pairs, minlength=len(TrueSky) * len(Cause)).reshape(len(TrueSky), len(Cause))


def mask_scores(fates: Fates) -> dict[str, Any]:
    """Scores of a mask by its fates (true sky, cause), as shares of 1, None where there is nothing to share.

    `omission` of cloud, shadow or cirrus: what of it is used. `commission`: what of the observations that are called it is clear. `clear_lost`: what of the
    clear observations is masked, by growth too. `used_not_clear`: what of the used observations is not clear. A cloud taken for a shadow costs nothing.
    """
    seen = fates.copy()
    seen[:, list(UNSEEN)] = 0
    used, clear = seen[:, Cause.USED], seen[TrueSky.CLEAR]
    targets = {}
    for sky, causes in CALLED.items():
        called, false = seen[:, list(causes)].sum(), clear[list(causes)].sum()
        targets[sky.name.lower()] = {
            "true": int(seen[sky].sum()),
            "omission": _share(used[sky], seen[sky].sum()),
            "called": int(called),
            "commission": _share(false, called),
        }
    return {
        "observations": int(seen.sum()),
        **targets,
        "clear_lost": _share(clear[list(MASKED)].sum(), clear.sum()),
        "used_not_clear": _share(used.sum() - used[TrueSky.CLEAR], used.sum()),
    }


def _share(part: np.int64, whole: np.int64) -> float | None:
    return round(float(part) / float(whole), 6) if whole else None
