"""A training set of chips, as training takes it in place of labels."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from flows.steps.learning.drawn_samples import DAY, ORDINAL_OF_1970
from flows.steps.learning.label_facts import LabelSource
from products.devices import Backend
from products.errors import RequestError
from products.learning.chip_means import chip_means
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples, join, pixel_priority

AT_ONCE = 64  # chips read for their means: a shard
CHIP = "chip"  # the column that has the number of a chip in its set
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class DrawnChips:
    """`group` has `data`, `label`, centres and starts; `class_names` are those of its codes. `source` names the set as labels are named."""

    source: LabelSource
    group: zarr.Group
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    resolution_m: float

    @property
    def size_px(self) -> int:
        """The side of a chip."""
        return int(self._array("data").shape[-1])

    @property
    def side_m(self) -> float:
        """The side of a chip on the ground."""
        return self.size_px * self.resolution_m

    def read(self, numbers: NDArray[np.int64]) -> Floats:
        """Chips (n, feature, y, x) by their numbers; of series the features of the first step, then those of the second, …."""
        order, place = np.unique(numbers, return_inverse=True)
        data: Floats = np.asarray(self._array("data").oindex[order], dtype=np.float32)[place]
        if data.ndim == 5:
            data = data.swapaxes(1, 2).reshape(len(data), -1, *data.shape[-2:])
        return data

    def shares(self, recipe: ModelRecipe) -> Floats:
        """(n, class) shares of a recipe's classes in the labelled pixels of each chip; NaN where it has none. RequestError for a class that the set lacks."""
        for name in recipe.samples.classes:
            if name not in self.class_names:
                raise RequestError(
                    f"the training set {self.source.file} has no class {name!r}: it has {', '.join(self.class_names)}"
                )
        flat = self._array("label")[...].reshape(self._array("label").shape[0], -1)
        counts = np.stack(
            [(flat == self.class_names.index(name) + 1).sum(axis=1) for name in recipe.samples.classes], 1
        )
        total = counts.sum(axis=1, keepdims=True)
        return np.where(total > 0, counts / np.maximum(total, 1), np.nan).astype(np.float32)

    def samples(self, backend: Backend, recipe: ModelRecipe) -> Samples:
        """A row a chip: its centre, its most frequent class, its number in the column `chip` and the mean of each feature; at most `max_per_class`."""
        x, y, start = (np.asarray(self._array(name)[...]) for name in ("centre_x", "centre_y", "start"))
        days = (start.astype("datetime64[us]") - np.datetime64(0, "us")) // DAY + ORDINAL_OF_1970
        shares, means = self.shares(recipe), self._means
        complete = np.isfinite(means).all(axis=1)
        kept = np.flatnonzero(np.isfinite(shares[:, 0]) & complete)
        priority = np.empty(x.size, np.uint64)
        for day in np.unique(days):
            priority[days == day] = pixel_priority(x[days == day], y[days == day], int(day), recipe.seed)
        code = (np.nan_to_num(shares).argmax(axis=1) + 1).astype(np.uint8)
        columns: dict[str, NDArray[Any]] = {
            "x": x[kept], "y": y[kept], "period": days[kept].astype(np.int32), "code": code[kept],
            "priority": priority[kept], CHIP: kept.astype(np.int32),
        }  # fmt: skip
        features = {name: means[kept, place] for place, name in enumerate(self.feature_names)}
        table = backend.table(columns | features)
        found = Samples(table, self.feature_names, x.size, int((~complete).sum()))
        return join(backend, [found], recipe.samples.max_per_class)

    @cached_property
    def _means(self) -> Floats:
        numbers = np.arange(self._array("data").shape[0])
        return np.concatenate(
            [chip_means(self.read(numbers[start : start + AT_ONCE])) for start in range(0, numbers.size, AT_ONCE)]
        )

    def _array(self, name: str) -> Any:  # noqa: ANN401
        return self.group[name]
