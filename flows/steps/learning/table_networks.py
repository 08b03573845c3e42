"""Networks that learn from the rows of a table, fitted and asked as estimators of scikit-learn are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.steps.learning.network_training import TrainingResources
from flows.steps.networks.chip_network import ChipNetwork
from flows.steps.networks.temporal_network import TemporalNetwork
from products.devices import Backend
from products.errors import RequestError
from products.learning.table_recipe import TableRecipe

if TYPE_CHECKING:
    from flows.steps.networks.training_loop import TrainerOptions

VALIDATION_SHARE = 5  # one of so many rows of a class says when to stop
Tell = Callable[[str], None]
Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.int64]
Rows = NDArray[np.float32]
Classes = NDArray[np.uint8]
Chosen = NDArray[np.bool_]


@dataclass
class TableNetworks:
    """Makes one network after the other for the trial of a recipe; each is trained in a folder of its own, and goes on from there after a kill."""

    resources: TrainingResources
    number: str
    backend: Backend
    tell: Tell | None = None
    n_made: int = 0

    def __call__(self, recipe: TableRecipe, n_jobs: int) -> "TableNetwork":
        """The next, untrained; torch has threads of its own, whatever the number of jobs."""
        self.n_made += 1
        return TableNetwork(recipe, self, f"{self.number}/{self.n_made}")


@dataclass
class TableNetwork:
    """A network of a recipe; `learned` once it is fitted."""

    recipe: TableRecipe
    made_by: TableNetworks
    training_id: str
    learned: TemporalNetwork | ChipNetwork | None = None

    def fit(self, values: Floats, target: Codes) -> "TableNetwork":
        """Learned from rows (n, feature; or feature and pixel) of class codes (n,), of which a fifth says when to stop."""
        from flows.steps.networks.training_loop import TrainerOptions

        validation = validation_rows(target, self.recipe.seed)
        resources, device = self.made_by.resources, self.made_by.backend.device
        options = TrainerOptions(resources.folder / self.training_id, device, resources.devices, resources.nodes)
        learn = self._series if self.recipe.estimator.temporal else self._chips
        self.learned = learn(values.astype(np.float32, copy=False), target.astype(np.uint8), validation, options)
        return self

    def predict(self, values: Floats) -> Codes:
        """Class codes (n,) of rows."""
        rows, network = values.astype(np.float32, copy=False), self.learned
        if isinstance(network, TemporalNetwork):
            return network.classify(np.ascontiguousarray(rows.T))[0].astype(np.int64)
        if network is None:
            raise TypeError("a network is asked before it has learned")
        return network.probabilities(self._as_chips(rows)).argmax(axis=1) + 1

    def _series(self, values: Rows, target: Classes, validation: Chosen, options: "TrainerOptions") -> TemporalNetwork:
        from flows.steps.networks.train_temporal import SeriesTrainingData, train_temporal

        asked, spec = self.recipe.estimator.temporal, self.recipe.table
        if asked is None:
            raise TypeError(f"{self.recipe.estimator.kind} is no network over time")
        data = SeriesTrainingData(
            *asked, spec.columns, spec.features, self.recipe.class_names, values, target, ~validation, validation, self.recipe.seed
        )  # fmt: skip
        return train_temporal(data, options, self.training_id, self.made_by.tell)[0]

    def _chips(self, values: Rows, target: Classes, validation: Chosen, options: "TrainerOptions") -> ChipNetwork:
        from flows.steps.networks.train_chips import ChipTrainingData, train_chips

        asked, spec, chips = self.recipe.estimator.chips, self.recipe.table, self._as_chips(values)
        if asked is None:
            raise TypeError(f"{self.recipe.estimator.kind} is no network of chips")
        shares = np.eye(len(self.recipe.class_names), dtype=np.float32)[target - 1]
        data = ChipTrainingData(
            asked, chips.shape[-1], spec.feature_names, self.recipe.class_names, chips.__getitem__, shares,
            np.flatnonzero(~validation), np.flatnonzero(validation), self.recipe.seed,
        )  # fmt: skip
        return train_chips(data, options, self.training_id, self.made_by.tell)[0]

    def _as_chips(self, values: Rows) -> Rows:
        side = self.recipe.table.chip_px or 1
        return values.reshape(len(values), -1, side, side)


def validation_rows(target: Codes, seed: int) -> Chosen:
    """(n,): a fifth of the rows of each class, at least one, drawn by the seed; RequestError for a class with a single row."""
    found, random = np.zeros(target.size, np.bool_), np.random.default_rng(seed)
    for code in np.unique(target):
        rows = np.flatnonzero(target == code)
        if rows.size < 2:
            raise RequestError(
                f"the class with code {code} has one row to learn from: expected two or more, one of which says when to stop"
            )
        found[random.choice(rows, max(1, rows.size // VALIDATION_SHARE), replace=False)] = True
    return found
