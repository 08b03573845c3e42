"""A random forest as plain arrays: no code in its file, the same answer on any device, tile order or thread."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from products.errors import RequestError
from products.learning.array_file import arrays_digest, packed, unpacked

FORMAT = "neocube-forest-1"
NO_PROBABILITY = 255
_BLOCK_PX = 512


@dataclass(frozen=True, slots=True)
class Forest:
    """Nodes of all trees, one after the other; `roots` (tree + 1,) says where each begins.

    A node tests `value[feature] <= threshold` and goes to `left` or `right` (absolute node numbers); a leaf has
    feature -1. `share` (node, class) is the class share of the training rows in the node.
    """

    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    roots: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    share: npt.NDArray[np.float32]
    importance: npt.NDArray[np.float64]

    def digest(self) -> str:
        """SHA-256 of names and arrays."""
        return arrays_digest([FORMAT, self.feature_names, self.class_names], self._arrays)

    def classify(self, features: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Codes (n,) with 0 as nodata, and percentages (class, n) with 255 as nodata, of (feature, n) float32."""
        if features.shape[0] != len(self.feature_names):
            raise RequestError(f"the model needs {len(self.feature_names)} features, got {features.shape[0]}")
        codes = np.empty(features.shape[1], np.uint8)
        percent = np.empty((len(self.class_names), features.shape[1]), np.uint8)
        values = np.ascontiguousarray(features, dtype=np.float32)
        _classify(values, self.roots, self.feature, self.left, self.right, self.threshold, self.share, codes, percent)
        return codes, percent

    def to_bytes(self) -> bytes:
        """The same bytes for the same forest: a zip of .npy arrays and a JSON header."""
        names = {"feature_names": self.feature_names, "class_names": self.class_names}
        return packed(FORMAT, names, self._arrays)

    def describe(self) -> str:
        """What it is, in words."""
        return f"a random forest of {self.roots.size - 1} trees"

    @property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in _ARRAYS}


_ARRAYS = tuple(field.name for field in fields(Forest) if not field.name.endswith("_names"))
_DTYPES = {
    "roots": "<i8",
    "feature": "<i4",
    "left": "<i4",
    "right": "<i4",
    "threshold": "<f8",
    "share": "<f4",
    "importance": "<f8",
}


def forest_from_bytes(content: bytes, origin: str) -> Forest:
    """The forest of a model file, every index in it checked; RequestError for anything else."""
    found_format, found = unpacked(content, ("feature_names", "class_names"), _ARRAYS, origin)
    forest = Forest(**found)
    _check(forest, found_format, origin)
    return forest


def _check(forest: Forest, found_format: str, origin: str) -> None:
    """RequestError unless a walk from any root stays inside the arrays and ends: children come after their parent."""
    nodes, trees = forest.feature.size, forest.roots.size - 1
    inner = forest.feature >= 0
    number = np.arange(nodes)
    sound = (
        found_format == FORMAT
        and all(getattr(forest, name).dtype.str == dtype for name, dtype in _DTYPES.items())
        and all(getattr(forest, name).shape == (nodes,) for name in ("feature", "left", "right", "threshold"))
        and forest.share.shape == (nodes, len(forest.class_names))
        and forest.importance.shape == (len(forest.feature_names),)
        and trees >= 1
        and bool((np.diff(forest.roots) > 0).all() and forest.roots[0] == 0 and forest.roots[-1] == nodes)
        and bool((forest.feature < len(forest.feature_names)).all())
        and all(bool((side[inner] > number[inner]).all()) for side in (forest.left, forest.right))
        and all(bool((side[inner] < nodes).all()) for side in (forest.left, forest.right))
    )
    if not sound:
        raise RequestError(f"the model file {origin} is damaged, or its format is not {FORMAT}: train the model again")


def forest_from_sklearn(
    estimator: Any,  # noqa: ANN401
    feature_names: Sequence[str],
    class_names: Sequence[str],
) -> Forest:
    """The arrays of a fitted scikit-learn RandomForestClassifier whose classes are codes 1 … n."""
    trees = [member.tree_ for member in estimator.estimators_]
    roots = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])]).astype(np.int64)
    columns = np.asarray(estimator.classes_, dtype=np.int64) - 1
    share = np.zeros((int(roots[-1]), len(class_names)), np.float32)
    share[:, columns] = np.concatenate([tree.value[:, 0, :] for tree in trees])
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


@numba.njit(nogil=True, cache=True)
def _classify(values, roots, feature, left, right, threshold, share, codes, percent):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n_features, n = values.shape
    n_classes, trees = share.shape[1], roots.size - 1
    total = np.empty((_BLOCK_PX, n_classes), np.float64)
    pixel = np.empty((_BLOCK_PX, n_features), np.float32)
    for start in range(0, n, _BLOCK_PX):
        size = min(_BLOCK_PX, n - start)
        total[:] = 0.0
        for i in range(size):
            for f in range(n_features):
                pixel[i, f] = values[f, start + i]
        for tree in range(trees):
            for i in range(size):
                node = roots[tree]
                while feature[node] >= 0:
                    node = left[node] if pixel[i, feature[node]] <= threshold[node] else right[node]
                for c in range(n_classes):
                    total[i, c] += share[node, c]
        for i in range(size):
            missing = False
            for f in range(n_features):
                missing |= not np.isfinite(pixel[i, f])
            best = 0
            for c in range(n_classes):
                percent[c, start + i] = NO_PROBABILITY if missing else np.uint8(np.rint(100.0 * total[i, c] / trees))
                if total[i, c] > total[i, best]:
                    best = c
            codes[start + i] = 0 if missing else best + 1
