"""k nearest neighbours: the training pixels themselves, standardised, in a k-d tree."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from products.learning.learned import ArrayModel, Float32, Float64
from products.learning.linear import is_standard


@dataclass(frozen=True)
class Neighbours(ArrayModel):
    """The classes of the `k` (1,) training pixels nearest in (value - `mean`) / `scale` vote alike; `point` (pixel, feature), `code` (pixel,)."""

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    point: npt.NDArray[np.float64]
    code: npt.NDArray[np.uint8]
    k: npt.NDArray[np.int64]
    ARCHITECTURE: ClassVar[str] = "k-Nearest Neighbours"
    FORMAT: ClassVar[str] = "neocube-neighbours-1"
    DTYPES: ClassVar[dict[str, str]] = {"mean": "<f8", "scale": "<f8", "point": "<f8", "code": "|u1", "k": "<i8"}

    def votes(self, features: Float32) -> tuple[Float64, float]:
        """(n, class) numbers of neighbours, and how many there are."""
        k, n_classes = int(self.k[0]), len(self.class_names)
        asked = (features.T.astype(np.float64) - self.mean) / self.scale
        nearest = self._tree.query(asked, k=[*range(1, k + 1)])[1]
        place = np.arange(asked.shape[0])[:, None] * n_classes + self.code[nearest] - 1
        counts = np.bincount(place.ravel(), minlength=asked.shape[0] * n_classes)
        return counts.reshape(-1, n_classes).astype(np.float64), float(k)

    def describe(self) -> str:
        """How many neighbours of how many pixels."""
        return f"the {int(self.k[0])} nearest of {self.code.size} standardised training pixels"

    def is_sound(self) -> bool:
        """Whether the shapes fit and every code is a class."""
        n_features, n = len(self.feature_names), self.code.size
        fit = self.point.shape == (n, n_features) and self.code.shape == (n,) and self.k.shape == (1,)
        known = fit and 1 <= self.k[0] <= n and self.code.min() >= 1 and self.code.max() <= len(self.class_names)
        return bool(known and np.isfinite(self.point).all() and is_standard(self.mean, self.scale, n_features))

    @cached_property
    def _tree(self) -> Any:  # noqa: ANN401
        return KDTree(self.point)
