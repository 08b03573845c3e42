"""Multinomial logistic regression of standardised features, as plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numba
import numpy as np
import numpy.typing as npt

from products.learning.feature_parts import feature_parts
from products.learning.learned import ArrayModel, Float32, Float64, softmax


@dataclass(frozen=True)
class Linear(ArrayModel):
    """Shares are the softmax of `intercept` (class,) + `weight` (class, feature) times (value - `mean`) / `scale`, both (feature,)."""

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]
    ARCHITECTURE: ClassVar[str] = "Logistic Regression"
    FORMAT: ClassVar[str] = "neocube-linear-1"
    DTYPES: ClassVar[dict[str, str]] = {"mean": "<f8", "scale": "<f8", "weight": "<f8", "intercept": "<f8"}

    def votes(self, features: Float32) -> tuple[Float64, float]:
        """(n, class) shares, and 1."""
        scores = np.empty((features.shape[1], len(self.class_names)))
        _add_weighted(features, self.mean, self.scale, self.weight, self.intercept, scores)
        return softmax(scores), 1.0

    def describe(self) -> str:
        """What it is."""
        return "a multinomial logistic regression of standardised features"

    def is_sound(self) -> bool:
        """Whether the shapes fit, all weights are numbers and no scale divides by 0."""
        n_classes, n_features = len(self.class_names), len(self.feature_names)
        fit = self.weight.shape == (n_classes, n_features) and self.intercept.shape == (n_classes,)
        numbers = np.isfinite(self.weight).all() and (self.intercept < np.inf).all()
        return bool(fit and numbers and is_standard(self.mean, self.scale, n_features))


def linear_from_sklearn(
    estimator: Any,  # noqa: ANN401
    feature_names: Sequence[str],
    class_names: Sequence[str],
    mean: Float64,
    scale: Float64,
) -> Linear:
    """The arrays of a LogisticRegression fitted on (value - mean) / scale, whose classes are codes 1 … n.

    Of two classes its weights tell the score of the second, beside 0 for the first.
    """
    codes = np.asarray(estimator.classes_, dtype=np.int64)
    scored = codes[1:] if codes.size == 2 else codes
    weight = np.zeros((len(class_names), len(feature_names)))
    intercept = np.full(len(class_names), -np.inf)
    intercept[codes - 1] = 0.0
    weight[scored - 1] = estimator.coef_
    intercept[scored - 1] = estimator.intercept_
    return Linear(tuple(feature_names), tuple(class_names), mean, scale, weight, intercept)


def standard_of(values: Float32) -> tuple[Float64, Float64]:
    """Mean and standard deviation (feature,) of values (n, feature); 1 in the place of a deviation of 0."""
    mean = values.mean(axis=0, dtype=np.float64)
    deviation = np.concatenate(
        [values[:, part].std(axis=0, dtype=np.float64) for part in feature_parts(values.shape[1])]
    )
    return mean, np.where(deviation > 0, deviation, 1.0)


def standardised(values: Float32, mean: Float64, scale: Float64) -> Float64:
    """(value - mean) / scale of values (n, feature)."""
    found: Float64 = values - mean
    found /= scale
    return found


def is_standard(mean: Float64, scale: Float64, n_features: int) -> bool:
    """Whether mean and scale belong to so many features, and can be used."""
    shaped = mean.shape == scale.shape == (n_features,)
    return bool(shaped and np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all())


@numba.njit(nogil=True, cache=True)
def _add_weighted(features, mean, scale, weight, intercept, scores):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n_features, n = features.shape
    value = np.empty(n_features, np.float64)
    for i in range(n):
        for f in range(n_features):
            value[f] = (features[f, i] - mean[f]) / scale[f]
        for c in range(weight.shape[0]):
            total = intercept[c]
            for f in range(n_features):
                total += weight[c, f] * value[f]
            scores[i, c] = total
