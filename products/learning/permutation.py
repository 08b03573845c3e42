"""Permutation importance: the agreement that is lost where one feature is shuffled (Breiman 2001, Machine Learning 45, 5-32)."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from products.learning.learned import Codes, Float32, Float64, PixelModel


@dataclass(frozen=True, slots=True)
class Shuffled:
    """Agreement lost (feature,), mean and standard deviation over the repeats, on so many pixels."""

    mean: Float64
    std: Float64
    pixels: int


@dataclass(frozen=True)
class _Classifier:
    """A model as scikit-learn's inspection asks one: it is fitted already."""

    model: PixelModel

    def fit(self, values: Float32, code: Codes) -> Self:
        return self


def _agreement(classifier: _Classifier, values: Float32, code: Codes) -> float:
    return float((classifier.model.classify(np.ascontiguousarray(values.T))[0] == code).mean())


def shuffled_agreement(
    model: PixelModel, values: Float32, code: Codes, repeats: int, seed: int, pixels: int | None = None
) -> Shuffled:
    """What shuffling costs on at most `pixels` rows of values (n, feature) with class codes (n,), drawn without labels."""
    from sklearn.inspection import permutation_importance  # takes a second to load, which mapping need not wait for

    if pixels is not None and pixels < code.size:
        rows = np.sort(np.random.default_rng(seed).choice(code.size, pixels, replace=False))
        values, code = values[rows], code[rows]
    found = permutation_importance(
        _Classifier(model), values, code, scoring=_agreement, n_repeats=repeats, random_state=seed
    )
    return Shuffled(found.importances_mean, found.importances_std, int(code.size))
