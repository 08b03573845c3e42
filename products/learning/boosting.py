"""Gradient-boosted trees as plain arrays: fitted by scikit-learn's histogram boosting, walked as a forest is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from products.learning.learned import Float32, Float64, softmax
from products.learning.trees import TREE_DTYPES, TreeModel


@dataclass(frozen=True)
class Boosting(TreeModel):
    """Trees whose leaves add `value` (node, class) to the score of a class, from `baseline` (class,) on; shares are their softmax."""

    value: npt.NDArray[np.float64]
    baseline: npt.NDArray[np.float64]
    rounds: npt.NDArray[np.int64]
    ARCHITECTURE: ClassVar[str] = "Gradient Boosting"
    FORMAT: ClassVar[str] = "neocube-boosting-1"
    DTYPES: ClassVar[dict[str, str]] = TREE_DTYPES | {"value": "<f8", "baseline": "<f8", "rounds": "<i8"}

    @property
    def leaf_values(self) -> npt.NDArray[Any]:
        """What the nodes add to each class, (node, class) float64."""
        return self.value

    def votes(self, features: Float32) -> tuple[Float64, float]:
        """(n, class) shares, and 1."""
        return softmax(self.leaf_sums(features) + self.baseline), 1.0

    def describe(self) -> str:
        """How many rounds and trees."""
        return f"gradient-boosted trees, {self.n_trees} in {int(self.rounds[0])} rounds"

    def is_sound(self) -> bool:
        """Whether the trees are, and each node has a value for each class."""
        n_classes = len(self.class_names)
        fit = self.value.shape == (self.feature.size, n_classes) and self.baseline.shape == (n_classes,)
        finite = bool(
            np.isfinite(self.value).all() and (self.baseline < np.inf).all() and self.baseline.max() > -np.inf
        )
        return super().is_sound() and fit and finite and self.rounds.shape == (1,)


def boosting_from_sklearn(
    estimator: Any,  # noqa: ANN401
    feature_names: Sequence[str],
    class_names: Sequence[str],
) -> Boosting:
    """The arrays of a fitted HistGradientBoostingClassifier of numbers, whose classes are codes 1 … n.

    Of two classes its trees tell the score of the second, beside 0 for the first.
    """
    rounds: list[list[Any]] = estimator._predictors
    trees = [predictor.nodes for members in rounds for predictor in members]
    roots = np.concatenate([[0], np.cumsum([tree.size for tree in trees])]).astype(np.int64)
    node, start = np.concatenate(trees), np.repeat(roots[:-1], np.diff(roots))
    codes = np.asarray(estimator.classes_, dtype=np.int64)
    scored = codes[1:] if codes.size == 2 else codes
    column = np.repeat(np.tile(scored - 1, len(rounds)), np.diff(roots))
    is_leaf = node["is_leaf"].astype(bool)
    value = np.zeros((node.size, len(class_names)))
    value[is_leaf, column[is_leaf]] = node["value"][is_leaf]
    baseline = np.full(len(class_names), -np.inf)
    baseline[codes - 1] = 0.0
    baseline[scored - 1] = np.asarray(estimator._baseline_prediction, dtype=np.float64).ravel()
    return Boosting(
        tuple(feature_names),
        tuple(class_names),
        roots,
        np.where(is_leaf, -1, node["feature_idx"]).astype(np.int32),
        np.where(is_leaf, -1, node["left"] + start).astype(np.int32),
        np.where(is_leaf, -1, node["right"] + start).astype(np.int32),
        np.where(is_leaf, 0.0, node["num_threshold"]).astype(np.float64),
        value,
        baseline,
        np.array([len(rounds)], dtype=np.int64),
    )
