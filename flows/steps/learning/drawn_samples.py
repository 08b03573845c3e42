"""A training set that was drawn already, as training takes it in place of labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows.steps.learning.label_facts import LabelSource
from products.devices import Backend
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from products.learning.samples import OUTLIER, Samples, join, pixel_priority

DRAWN_COLUMNS = ("x", "y", "start", "class")
DAY = np.timedelta64(1, "D")
ORDINAL_OF_1970 = 719_163


@dataclass(frozen=True, slots=True)
class DrawnSamples:
    """`read` gives a table of so many rows: x, y (metres, CRS of the cube), start, class, a column for each feature and, where outliers were told,
    `is_outlier`; `source` names the set as labels are named."""

    source: LabelSource
    n_rows: int
    read: Callable[[], pd.DataFrame]
    feature_names: tuple[str, ...]

    def samples(self, backend: Backend, recipe: ModelRecipe) -> Samples:
        """The rows of the recipe's classes, by its codes, at most `max_per_class` of each; RequestError for a class that the set lacks."""
        read = self.read()
        classes = read["class"].astype("category")
        known = set(classes.cat.categories[np.unique(classes.cat.codes)].astype(str))
        for name in recipe.samples.classes:
            if name not in known:
                raise RequestError(
                    f"the training set {self.source.file} has no class {name!r}: it has {', '.join(sorted(known))}"
                )
        codes = {name: code for code, name in enumerate(recipe.samples.classes, start=1)}
        of_category = np.array([codes.get(str(name), 0) for name in classes.cat.categories], np.uint8)
        code = of_category[classes.cat.codes]
        chosen = read if code.all() else read[code > 0]
        code = code[code > 0]
        del read, classes
        x, y = (chosen[axis].to_numpy(np.float64) for axis in ("x", "y"))
        days = (chosen["start"].to_numpy().astype("datetime64[us]") - np.datetime64(0, "us")) // DAY + ORDINAL_OF_1970
        priority = np.empty(x.size, np.uint64)
        for day in np.unique(days):
            of_day = days == day
            priority[of_day] = pixel_priority(x[of_day], y[of_day], int(day), recipe.seed)
        columns: dict[str, NDArray[Any]] = {
            "x": x,
            "y": y,
            "period": days.astype(np.int32),
            "code": code,
            "priority": priority,
        }
        if OUTLIER in chosen:
            columns[OUTLIER] = chosen[OUTLIER].to_numpy(np.bool_)
        features = {name: chosen[name].to_numpy(np.float32) for name in self.feature_names}
        table = backend.table(columns | features)
        n_rows = len(chosen)
        del chosen, columns, features
        return join(backend, [Samples(table, self.feature_names, n_rows, 0)], recipe.samples.max_per_class)
