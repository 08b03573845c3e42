"""Accuracy and area of a map from a stratified sample whose strata are the map's classes.

All formulas: Olofsson et al. 2014, Good practices for estimating area and assessing accuracy of land change, Remote Sensing of Environment 148, 42-57.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class StratifiedEstimates:
    """Proportions of the area and their standard errors, by class: (k,), and the error matrix (map, reference); NaN where undefined."""

    proportions: Float64
    overall: float
    overall_error: float
    users: Float64
    users_error: Float64
    producers: Float64
    producers_error: Float64
    area: Float64
    area_error: Float64


def stratified_estimates(counts: Int64, weight: Float64, pixels: Int64) -> StratifiedEstimates:
    """Estimates from sample counts (map, reference), the strata's shares of the area and their pixel counts.

    Error matrix of proportions by eq. 4; overall, user's and producer's accuracy by eq. 1 to 3, their variances by eq. 5 to 7; area proportions and
    their standard errors by eq. 9 and 10. A stratum of which every pixel was interpreted has no sampling error; one that the map lacks has no weight.
    """
    drawn = counts.sum(axis=1)
    share = np.divide(counts, drawn[:, None], out=np.zeros(counts.shape), where=drawn[:, None] > 0)
    spread = share * (1 - share) / np.maximum(drawn - 1, 1)[:, None]
    spread[drawn == pixels] = 0.0
    p = weight[:, None] * share
    area = p.sum(axis=0)
    weighted = weight[:, None] ** 2 * spread
    hits = np.diag(p)
    users = np.where(drawn > 0, np.diag(share), np.nan)
    producers = np.divide(hits, area, out=np.full(area.shape, np.nan), where=area > 0)
    elsewhere = weighted.sum(axis=0) - np.diag(weighted)
    variance = (np.diag(weighted) * (1 - producers) ** 2 + producers**2 * elsewhere) / np.where(area > 0, area, 1) ** 2
    return StratifiedEstimates(
        proportions=p,
        overall=float(hits.sum()),
        overall_error=float(np.sqrt(np.diag(weighted).sum())),
        users=users,
        users_error=np.where(drawn > 0, np.sqrt(np.diag(spread)), np.nan),
        producers=producers,
        producers_error=np.sqrt(variance),
        area=area,
        area_error=np.sqrt(weighted.sum(axis=0)),
    )


def accuracy_document(found: StratifiedEstimates, class_names: Sequence[str]) -> dict[str, Any]:
    """Overall, user's and producer's accuracy with 95 % intervals, within 0 and 1; None where undefined."""
    per_class = {
        name: {
            "users": _interval(found.users[i], found.users_error[i], 1.0, 6),
            "producers": _interval(found.producers[i], found.producers_error[i], 1.0, 6),
        }
        for i, name in enumerate(class_names)
    }
    return {"overall": _interval(found.overall, found.overall_error, 1.0, 6), "per_class": per_class}


def area_document(
    found: StratifiedEstimates, class_names: Sequence[str], pixels: Int64, ground_ha: Float64
) -> list[dict[str, Any]]:
    """Of each class its pixel count, the hectares of these pixels, and the estimated area with its 95 % interval (eq. 11 and 12), hectares."""
    total = float(ground_ha.sum())
    return [
        {"class": name, "pixel_count": int(pixels[i]), "pixel_count_ha": round(float(ground_ha[i]), 4), "unit": "ha"}
        | {"area": _interval(found.area[i] * total, found.area_error[i] * total, total, 4)}
        for i, name in enumerate(class_names)
    ]


def _interval(value: float, error: float, most: float, digits: int) -> dict[str, Any] | None:
    if np.isnan(value):
        return None
    half = Z_95 * float(error)
    ends = [max(0.0, float(value) - half), min(most, float(value) + half)]
    return {
        "estimate": round(float(value), digits),
        "standard_error": round(float(error), digits),
        "half_width_95": round(half, digits),
        "interval_95": [round(end, digits) for end in ends],
    }
