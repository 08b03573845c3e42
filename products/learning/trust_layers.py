"""The layers of a map that say how far to trust it."""

import numpy as np
import numpy.typing as npt

from products.template import FILL_VALUE, ArrayTemplate

DISSIMILARITY, APPLICABLE, UNCERTAINTY = "dissimilarity", "applicable", "uncertainty"
NOT_MAPPED = 255


def trust_arrays() -> tuple[ArrayTemplate, ...]:
    """`dissimilarity` float32, NaN where a feature is missing; uint8, 255 where nothing is mapped, `applicable`, 0 or 1, and `uncertainty` in percent."""
    index: dict[str, str | float | list[int]] = {
        "units": "1",
        "long_name": "dissimilarity to the training samples (Meyer and Pebesma 2021)",
    }
    flags: dict[str, str | float | list[int]] = {
        FILL_VALUE: NOT_MAPPED,
        "long_name": "whether the pixel has all features and lies in the model's area of applicability",
        "flag_values": [0, 1],
        "flag_meanings": "outside inside",
    }
    entropy: dict[str, str | float | list[int]] = {
        FILL_VALUE: NOT_MAPPED,
        "units": "percent",
        "long_name": "entropy of the probabilities by that of equal ones",
    }
    return (
        ArrayTemplate(DISSIMILARITY, None, (), "float32", float("nan"), index),
        ArrayTemplate(APPLICABLE, None, (), "uint8", NOT_MAPPED, flags, overview="mode"),
        ArrayTemplate(UNCERTAINTY, None, (), "uint8", NOT_MAPPED, entropy),
    )


def applicable_counts(applicable: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How many of the mapped pixels `inside` an area (y, x) the model is not applicable to, and to how many it is, (2,)."""
    return np.bincount(applicable[inside & (applicable != NOT_MAPPED)], minlength=2)


def inside_share(counts: npt.NDArray[np.int64]) -> float | None:
    """Share of mapped pixels to which the model is applicable, of their `applicable_counts`; None where nothing is mapped."""
    return round(float(counts[1] / counts.sum()), 6) if counts.any() else None
