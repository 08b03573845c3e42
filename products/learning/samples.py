"""Labelled pixels as a table: one row for each pixel and period, drawn reproducibly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from products.devices import Backend, Table
from products.errors import RequestError
from products.learning.place_kernels import hash_places

OUTLIER = "is_outlier"
OWN_COLUMNS = ("x", "y", "period", "code", "priority", OUTLIER)


@dataclass(frozen=True, slots=True)
class Samples:
    """`table` has x, y (metres, CRS of the cube), period (number), code (1 …), priority, and one column a feature.

    The samples of a set that told outliers have `is_outlier` too.
    """

    table: Table
    feature_names: tuple[str, ...]
    n_labelled: int
    n_without_features: int

    def column(self, name: str) -> npt.NDArray[np.generic]:
        """A column on the host, (n,)."""
        return self.table[name].to_numpy()

    @property
    def features(self) -> npt.NDArray[np.float32]:
        """(n, feature) float32 on the host."""
        return self.table[list(self.feature_names)].to_numpy().astype(np.float32, copy=False)

    @property
    def is_outlier(self) -> npt.NDArray[np.bool_] | None:
        """Which rows (n,) are outliers of their class; None where none was told."""
        return self.column(OUTLIER).astype(np.bool_) if OUTLIER in self.table.columns else None

    def per_class(self, class_names: Sequence[str]) -> dict[str, int]:
        """Number of rows of each class."""
        counts = np.bincount(self.column("code").astype(np.int64), minlength=len(class_names) + 1)
        return {name: int(counts[code]) for code, name in enumerate(class_names, start=1)}


def inner_labels(codes: npt.NDArray[np.uint8], edge_px: int) -> npt.NDArray[np.uint8]:
    """The (y, x) class codes, 0 where another code (or none) lies within a square of `edge_px` pixels."""
    if edge_px == 0:
        return codes
    size = 2 * edge_px + 1
    lowest = ndimage.minimum_filter(codes, size=size, mode="nearest")
    highest = ndimage.maximum_filter(codes, size=size, mode="nearest")
    return np.where(lowest == highest, codes, 0).astype(np.uint8)


def labelled_pixels(
    backend: Backend,
    features: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint8],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    period: int,
    feature_names: tuple[str, ...],
    seed: int,
) -> Samples:
    """The labelled pixels of `features` (feature, y, x) and `codes` (y, x); a NaN feature makes a row only counted."""
    clash = set(feature_names) & set(OWN_COLUMNS)
    if clash:
        raise RequestError(f"a feature is called {sorted(clash)[0]!r}, as a column of the sample table: rename it")
    rows, columns = np.nonzero(codes)
    values = features[:, rows, columns]
    complete = np.isfinite(values).all(axis=0)
    if not complete.all():
        rows, columns, values = rows[complete], columns[complete], values[:, complete]
    drawn: dict[str, npt.NDArray[Any]] = {
        "x": x[columns],
        "y": y[rows],
        "period": np.full(rows.size, period, np.int32),
        "code": codes[rows, columns],
        "priority": pixel_priority(x[columns], y[rows], period, seed),
    }
    table = backend.table(drawn | dict(zip(feature_names, values.astype(np.float32, copy=False), strict=True)))
    return Samples(table, feature_names, int(complete.size), int(complete.size - complete.sum()))


def join(backend: Backend, parts: Sequence[Samples], max_per_class: int) -> Samples:
    """At most `max_per_class` rows a class of all parts, those of lowest priority, in one order whatever the parts."""
    first = parts[0]
    table = backend.concat([part.table for part in parts]) if len(parts) > 1 else first.table
    known = table[["priority", "period", "y", "x", "code"]]  # the features are copied once, in their last order
    known = known.sort_values(["priority", "period", "y", "x"]).groupby("code", sort=False).head(max_per_class)
    table = table.take(known.sort_values(["period", "y", "x"]).index.to_numpy()).reset_index(drop=True)
    labelled = sum(part.n_labelled for part in parts)
    return Samples(table, first.feature_names, labelled, sum(part.n_without_features for part in parts))


def pixel_priority(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], period: int, seed: int
) -> npt.NDArray[np.uint64]:
    """A uint64 for each pixel centre that depends on place, period and seed only (SplitMix64, Steele et al. 2014)."""
    found = np.empty(x.size, np.uint64)
    hash_places(x.ravel(), y.ravel(), period, np.uint64(seed), found)
    return found.reshape(x.shape)


def check_classes(samples: Samples, class_names: Sequence[str]) -> None:
    """RequestError unless every class has samples."""
    counts = samples.per_class(class_names)
    missing = [name for name, count in counts.items() if count == 0]
    if len(missing) == len(counts):
        raise RequestError(
            f"no labelled pixel has features: {samples.n_labelled} lie inside labels, {samples.n_without_features} of "
            "them lack a feature; check that labels and cube cover the same place, and lower edge_px"
        )
    if missing:
        there = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
        raise RequestError(
            f"no labelled pixels of the class {', '.join(missing)} (there are {there}): expected some of each; "
            "widen the area, lower edge_px, or remove the class"
        )
