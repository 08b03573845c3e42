"""Trees as plain arrays, and the sums of their leaves over pixels: the same in any order of tiles, strips and threads."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from products.errors import RequestError
from products.lane_code import LANES
from products.learning.learned import ArrayModel, Float32, Float64
from products.learning.tree_lanes import (
    CHILD_BITS,
    FEATURE_BITS,
    THRESHOLD_SHIFT,
    add_leaf_lanes,
    begin_lanes,
    descend_lanes,
)

_BLOCK_PX = 64 * LANES  # so many pixels share the loading of a tree, and stay in the cache
TREE_DTYPES = {"roots": "<i8", "feature": "<i4", "left": "<i4", "right": "<i4", "threshold": "<f8"}


@dataclass(frozen=True, slots=True)
class Walk:
    """Trees laid out to be walked: each level by level, siblings side by side, the lower value's child first.

    `node` (node,) uint64: the threshold as a sortable integer in the upper 32 bits, then 22 bits for the first child,
    counted in its tree, and 10 for the feature; a leaf is its own child. Two zeros follow the last. `order` (node,): its number in the model.
    """

    first: npt.NDArray[np.int64]
    depth: npt.NDArray[np.int64]
    node: npt.NDArray[np.uint64]
    order: npt.NDArray[np.int64]


@dataclass(frozen=True)
class TreeModel(ArrayModel):
    """Nodes of all trees, one after the other; `roots` (tree + 1,) says where each begins.

    A node tests `value[feature] <= threshold` and goes to `left` or `right` (absolute node numbers); a leaf has
    feature -1.
    """

    roots: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]

    @property
    @abstractmethod
    def leaf_values(self) -> npt.NDArray[Any]:
        """(node, class) what a leaf adds to each class."""

    @property
    def n_trees(self) -> int:
        """How many trees."""
        return self.roots.size - 1

    def leaf_sums(self, features: Float32) -> Float64:
        """(n, class) sums of the leaves that finite features (feature, n) end in, in tree order, float64."""
        walk, values = self._walk, self._leaves_in_order
        total = np.empty((features.shape[1], len(values)))
        _add_leaves(features, walk.first, walk.depth, walk.node, values, total)
        return total

    def is_sound(self) -> bool:
        """Whether each node but the roots is the child of one earlier node of its own tree, so that a walk stays inside and ends."""
        nodes = self.feature.size
        if self.roots.size < 2 or self.roots[0] != 0 or self.roots[-1] != nodes or (np.diff(self.roots) <= 0).any():
            return False
        if any(getattr(self, name).shape != (nodes,) for name in ("left", "right", "threshold")):
            return False
        inner = np.flatnonzero(self.feature >= 0)
        tree_end = np.repeat(self.roots[1:], np.diff(self.roots))[inner]
        children = np.concatenate([self.left[inner], self.right[inner]])
        inside = children > np.tile(inner, 2)
        inside &= children < np.tile(tree_end, 2)
        if not inside.all() or np.unique(children).size != children.size:
            return False
        return bool((self.feature < len(self.feature_names)).all() and not np.isnan(self.threshold).any())

    @cached_property
    def _walk(self) -> Walk:
        return laid_out(self)

    @cached_property
    def _leaves_in_order(self) -> npt.NDArray[Any]:
        return np.ascontiguousarray(self.leaf_values[self._walk.order].T)


def laid_out(trees: TreeModel) -> Walk:
    """The trees of a sound model, to be walked."""
    tree = np.repeat(np.arange(trees.n_trees), np.diff(trees.roots))
    depth = np.zeros(trees.n_trees, np.int64)
    level = trees.roots[:-1]
    levels = [level]
    while (inner := level[trees.feature[level] >= 0]).size:
        level = np.stack([trees.left[inner], trees.right[inner]], axis=1).ravel().astype(np.int64)
        levels.append(level)
        depth[tree[level]] = len(levels) - 1
    reached = np.concatenate(levels)
    order = reached[np.argsort(tree[reached], kind="stable")]
    place = np.zeros(tree.size, np.int32)
    place[order] = np.arange(order.size)
    is_leaf = trees.feature[order] < 0
    first = place[trees.roots[:-1]].astype(np.int64)
    threshold = np.where(is_leaf, np.iinfo(np.int32).max, sortable(rounded_down(trees.threshold[order])))
    child = np.where(is_leaf, np.arange(order.size), place[trees.left[order]]) - first[tree[order]]
    node = packed_nodes(threshold, child, np.where(is_leaf, 0, trees.feature[order]))
    return Walk(first, depth, np.concatenate([node, np.zeros(2, np.uint64)]), order)


def packed_nodes(
    threshold: npt.NDArray[Any], child: npt.NDArray[Any], feature: npt.NDArray[Any]
) -> npt.NDArray[np.uint64]:
    """Threshold, child and feature of each node in one integer: one load where three would miss the cache alike. RequestError beyond its bits."""
    if child.max() >= 2**CHILD_BITS or feature.max() >= 2**FEATURE_BITS:
        raise RequestError(
            f"a tree has {child.max() + 1} nodes and asks for feature {feature.max() + 1}: expected at most {2**CHILD_BITS} nodes and "
            f"{2**FEATURE_BITS} features; raise min_leaf, or keep fewer features by `selection`"
        )
    packed = (
        (threshold.astype(np.int64) << THRESHOLD_SHIFT)
        | (child.astype(np.int64) << FEATURE_BITS)
        | feature.astype(np.int64)
    )
    return packed.view(np.uint64)


def rounded_down(values: Float64) -> Float32:
    """The largest float32 up to each value: for float32 x, `x <= value` and `x <= rounded_down(value)` are the same."""
    with np.errstate(over="ignore"):
        nearest = values.astype(np.float32)
    return np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def sortable(values: Float32) -> npt.NDArray[np.int32]:
    """Integers in the order of the numbers: their bits, those below the sign flipped where that is negative; -0 is 0."""
    bits = (np.ascontiguousarray(values, dtype=np.float32) + np.float32(0)).view(np.int32)
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


@numba.njit(nogil=True, cache=True)
def _add_leaves(values, first, depth, node, leaf, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n_features, n = values.shape
    n_classes = len(leaf)
    at = np.empty(_BLOCK_PX, np.uint32)
    pixel = np.zeros(n_features * _BLOCK_PX, np.float32)
    bits = pixel.view(np.int32)
    sums = np.empty(n_classes * _BLOCK_PX)
    for start in range(0, n, _BLOCK_PX):
        size = min(_BLOCK_PX, n - start)
        for f in range(n_features):
            for i in range(size):
                pixel[f * _BLOCK_PX + i] = values[f, start + i] + np.float32(0)
        for i in range(bits.size):  # as `sortable`
            bits[i] ^= (bits[i] >> 31) & np.int32(0x7FFFFFFF)
        sums[:] = 0.0
        for number in range(first.size):
            for i in range(0, size, LANES):
                begin_lanes(node, first[number], bits, i, at, i, _BLOCK_PX)
            for _ in range(3, depth[number]):
                for i in range(0, size, LANES):
                    descend_lanes(node, first[number], bits, i, at, i, _BLOCK_PX)
            for c in range(n_classes):
                for i in range(0, size, LANES):
                    add_leaf_lanes(leaf[c], first[number], at, i, sums, c * _BLOCK_PX + i)
        for i in range(size):
            for c in range(n_classes):
                total[start + i, c] = sums[c * _BLOCK_PX + i]
