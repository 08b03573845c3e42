"""A random forest as plain arrays: no code in its file, the same answer on any device, tile order or thread."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from products.learning.learned import Float32, Float64, by_class
from products.learning.trees import TREE_DTYPES, TreeModel


@dataclass(frozen=True)
class Forest(TreeModel):
    """Trees that vote; `share` (node, class) is the class share of the training rows in the node."""

    share: npt.NDArray[np.float32]
    importance: npt.NDArray[np.float64]
    ARCHITECTURE: ClassVar[str] = "Random Forest"
    FORMAT: ClassVar[str] = "neocube-forest-1"
    DTYPES: ClassVar[dict[str, str]] = TREE_DTYPES | {"share": "<f4", "importance": "<f8"}

    @property
    def leaf_values(self) -> npt.NDArray[Any]:
        """The class shares of the nodes, (node, class) float32."""
        return self.share

    def votes(self, features: Float32) -> tuple[Float64, float]:
        """(n, class) sums of the trees' shares, and the number of trees."""
        return self.leaf_sums(features), float(self.n_trees)

    def describe(self) -> str:
        """How many trees."""
        return f"a random forest of {self.n_trees} trees"

    def is_sound(self) -> bool:
        """Whether the trees are, and each node has a share of each class."""
        shares = (self.feature.size, len(self.class_names))
        fit = self.share.shape == shares and self.importance.shape == (len(self.feature_names),)
        return super().is_sound() and fit and bool(np.isfinite(self.share).all())


def forest_from_sklearn(
    estimator: Any,  # noqa: ANN401
    feature_names: Sequence[str],
    class_names: Sequence[str],
) -> Forest:
    """The arrays of a fitted scikit-learn RandomForestClassifier whose classes are codes 1 … n."""
    trees = [member.tree_ for member in estimator.estimators_]
    roots = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])]).astype(np.int64)
    values = np.concatenate([tree.value[:, 0, :] for tree in trees])
    share: npt.NDArray[np.float32] = by_class(values, estimator.classes_, len(class_names)).astype(np.float32)
    share /= share.sum(axis=1, keepdims=True)
    leaf = np.concatenate([tree.children_left for tree in trees]) < 0
    start = np.repeat(roots[:-1], np.diff(roots))
    left, right = (
        np.where(leaf, -1, np.concatenate([getattr(tree, side) for tree in trees]) + start).astype(np.int32)
        for side in ("children_left", "children_right")
    )
    return Forest(
        tuple(feature_names),
        tuple(class_names),
        roots,
        np.where(leaf, -1, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
        left,
        right,
        np.where(leaf, 0.0, np.concatenate([tree.threshold for tree in trees])).astype(np.float64),
        share,
        np.asarray(estimator.feature_importances_, dtype=np.float64),
    )
