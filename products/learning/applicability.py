"""The area of applicability of a model: Meyer and Pebesma 2021, Methods in Ecology and Evolution 12, 1620-1633."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from products.errors import RequestError
from products.learning.array_file import arrays_digest, packed, unpacked

FORMAT = "neocube-applicability-1"
MOST_POINTS = 2000
PIXELS_AT_ONCE = 65_536
ARRAYS = ("mean", "scale", "points", "mean_distance", "threshold")
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Applicability:
    """Training samples in scaled and weighted feature space: `(value - mean) * scale`, `points` (n, feature); distances by `mean_distance`.

    Above `threshold` a dissimilarity is larger than what cross-validation has tested.
    """

    feature_names: tuple[str, ...]
    mean: Float64
    scale: Float64
    points: Float64
    mean_distance: Float64
    threshold: Float64

    def dissimilarity(self, features: Float32) -> Float32:
        """The dissimilarity index of (feature, n) pixels: distance to the nearest training sample by the mean distance between these; NaN as features are."""
        if features.shape[0] != len(self.feature_names):
            raise RequestError(f"the model needs {len(self.feature_names)} features, got {features.shape[0]}")
        is_whole = np.isfinite(features).all(axis=0)
        found = np.full(features.shape[1], np.nan, np.float32)
        if is_whole.any():
            used = self.scale > 0
            tree, whole = KDTree(self.points[:, used]), np.flatnonzero(is_whole)
            for start in range(0, whole.size, PIXELS_AT_ONCE):
                pixels = whole[start : start + PIXELS_AT_ONCE]
                place = (features[:, pixels][used].T.astype(np.float64) - self.mean[used]) * self.scale[used]
                found[pixels] = tree.query(place)[0] / self.mean_distance[0]
        return found

    def is_inside(self, dissimilarity: Float32) -> npt.NDArray[np.bool_]:
        """Whether a pixel is no less like the training samples than what cross-validation tested."""
        return dissimilarity <= np.float32(self.threshold[0])

    def digest(self) -> str:
        """SHA-256 of names and arrays."""
        return arrays_digest([FORMAT, self.feature_names], self._arrays)

    def to_bytes(self) -> bytes:
        """Its bytes, which its content alone decides: a zip of .npy arrays and a JSON header."""
        return packed(FORMAT, {"feature_names": self.feature_names}, self._arrays)

    @property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in ARRAYS}


def applicability(
    names: tuple[str, ...], features: Float32, fold: Int64, importance: Mapping[str, float], seed: int
) -> Applicability:
    """The area of applicability of training rows (n, feature) in folds, of at most 2000 of them, drawn with `seed`.

    Features are standardised and weighted by their importance, negative ones as none (section 2.1); distances are divided by the mean distance between
    training samples (2.2); the threshold is the largest dissimilarity of a sample to those of other folds that is no outlier: at most the upper quartile plus
    1.5 times the interquartile range (2.4). A subsample has larger distances than all samples, in training and map alike.
    """
    rows = drawn_points(features.shape[0], seed)
    values, kept_fold = features[rows].astype(np.float64), fold[rows]
    mean, spread = values.mean(axis=0), values.std(axis=0)
    weight = np.maximum(np.array([importance.get(name, 0.0) for name in names]), 0.0)
    scale = np.divide(weight, spread, out=np.zeros_like(spread), where=spread > 0)
    if not scale.any() or np.unique(kept_fold).size < 2:
        raise RequestError(
            "expected training samples in two folds at least, with a feature that varies and has importance"
        )
    points = (values - mean) * scale
    mean_distance = float(pdist(points).mean())
    nearest = _to_other_folds(points, kept_fold) / mean_distance
    low, high = np.percentile(nearest, (25, 75))
    threshold = nearest[nearest <= high + 1.5 * (high - low)].max()
    return Applicability(names, mean, scale, points, np.array([mean_distance]), np.array([threshold]))


def drawn_points(n: int, seed: int) -> Int64:
    """The numbers, in order, of at most 2000 of n training rows, drawn with `seed`; of so few all."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:MOST_POINTS])


def applicability_from_bytes(content: bytes, origin: str) -> Applicability:
    """The area of applicability of a model file; RequestError for anything else."""
    found = unpacked(content, FORMAT, ("feature_names",), ARRAYS, origin)
    n = len(found["feature_names"])
    sound = (
        all(found[name].dtype == np.float64 for name in ARRAYS)
        and found["mean"].shape == found["scale"].shape == (n,)
        and found["points"].ndim == 2
        and found["points"].shape[1] == n
        and found["mean_distance"].shape == found["threshold"].shape == (1,)
        and all(bool(np.isfinite(found[name]).all()) for name in ARRAYS)
        and float(found["mean_distance"][0]) > 0
    )
    if not sound:
        raise RequestError(f"the file {origin} is damaged, or its format is not {FORMAT}: train the model again")
    return Applicability(**found)


def _to_other_folds(points: Float64, fold: Int64) -> Float64:
    """Distance from each sample to the nearest one of another fold, (n,)."""
    found = np.empty(points.shape[0])
    for number in np.unique(fold):
        own = fold == number
        found[own], _ = KDTree(points[~own]).query(points[own])
    return found
