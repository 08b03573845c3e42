"""k-means clusters found without labels, each given the classes of its labelled pixels."""

from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np
import numpy.typing as npt

from products.learning.learned import ArrayModel, Float32, Float64
from products.learning.linear import is_standard


@dataclass(frozen=True)
class Clusters(ArrayModel):
    """The nearest `centre` (cluster, feature) of (value - `mean`) / `scale` answers with its `share` (cluster, class)."""

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    centre: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]
    ARCHITECTURE: ClassVar[str] = "k-Means"
    FORMAT: ClassVar[str] = "neocube-clusters-1"
    DTYPES: ClassVar[dict[str, str]] = {"mean": "<f8", "scale": "<f8", "centre": "<f8", "share": "<f8"}

    def votes(self, features: Float32) -> tuple[Float64, float]:
        """(n, class) shares of the classes in each pixel's cluster, and 1."""
        return self.share[self.nearest(features)], 1.0

    def nearest(self, features: Float32) -> npt.NDArray[np.int64]:
        """The cluster (n,) of features (feature, n), the first of equally near ones."""
        found = np.empty(features.shape[1], np.int64)
        _nearest(features, self.mean, self.scale, self.centre, found)
        return found

    def describe(self) -> str:
        """How many clusters, and which classes none of them has for its majority."""
        won = set(self.share.argmax(axis=1).tolist())
        lost = [name for number, name in enumerate(self.class_names) if number not in won]
        never = f"; no cluster is mostly {' or '.join(lost)}, which is never mapped" if lost else ""
        return f"{self.share.shape[0]} k-means clusters, found without labels and named by the class that most of their labelled pixels have{never}"

    def is_sound(self) -> bool:
        """Whether the shapes fit and shares are shares."""
        n_classes, n_features, n = len(self.class_names), len(self.feature_names), self.share.shape[0]
        fit = self.centre.shape == (n, n_features) and self.share.shape == (n, n_classes) and n > 0
        numbers = fit and np.isfinite(self.centre).all() and np.allclose(self.share.sum(axis=1), 1.0)
        return bool(numbers and (self.share >= 0).all() and is_standard(self.mean, self.scale, n_features))


def class_shares(
    cluster: npt.NDArray[np.int64], code: npt.NDArray[np.int64], n_clusters: int, n_classes: int
) -> Float64:
    """(cluster, class) the share of each class among the pixels of each cluster; of all pixels where a cluster has none."""
    counts = np.bincount(cluster * n_classes + code - 1, minlength=n_clusters * n_classes).reshape(-1, n_classes)
    counts = np.where(counts.sum(axis=1, keepdims=True) > 0, counts, counts.sum(axis=0))
    found: Float64 = counts / counts.sum(axis=1, keepdims=True)
    return found


@numba.njit(nogil=True, cache=True)
def _nearest(features, mean, scale, centre, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n_features, n = features.shape
    value = np.empty(n_features, np.float64)
    for i in range(n):
        for f in range(n_features):
            value[f] = (features[f, i] - mean[f]) / scale[f]
        least = np.inf
        found[i] = 0
        for c in range(centre.shape[0]):
            apart = 0.0
            for f in range(n_features):
                apart += (value[f] - centre[c, f]) ** 2
            if apart < least:
                least = apart
                found[i] = c
