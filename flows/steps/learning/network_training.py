"""A network learned from published cells under labels, and its agreement with labels on other ground."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from flows.steps.learning.cell_windows import features_with_margin, named_features, opened_cell
from flows.steps.learning.feature_cells import FeatureCells
from flows.steps.learning.honest_training import Answers
from flows.steps.learning.labels import Labels
from flows.steps.learning.network_looks import looks_shown, patch_looks, pixels_in, surest
from flows.steps.networks.deep_packages import require_deep
from flows.steps.networks.network import Network
from flows.steps.storage import Storage
from products.devices import Backend
from products.grid import Tile
from products.learning.chip_spec import ChipSpec
from products.learning.estimators import agreement
from products.learning.network_spec import NetworkSpec
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples
from products.learning.splits import BlockSplit
from products.learning.training_ground import (
    VALIDATION_FOLD,
    CellGround,
    cell_ground,
    check_ground,
    network_rows,
    seen_codes,
)
from products.scene_recipe import canonical_digest

NETWORKS_VERSION = "networks-3"
TRAINING = "training"  # in the home: what a killed training of a network goes on from
NETWORK_SOFTWARE = ("torch", "lightning", "segmentation-models-pytorch")


@dataclass(frozen=True, slots=True)
class TrainingResources:
    """Where networks are trained: `folder` keeps what a killed training goes on from; several devices and nodes share the work.

    `budget_bytes` of memory may be used, where that is limited.
    """

    folder: Path
    devices: int = 1
    nodes: int = 1
    budget_bytes: int | None = None

    def forget(self, number: UUID) -> None:
        """Remove what a training left to go on from, once its model is published."""
        shutil.rmtree(self.folder / str(number), ignore_errors=True)


def training_name(number: UUID, recipe: ModelRecipe, trial: int | None = None) -> str:
    """The name of a training of a model, or of one of its trials: where settings are tuned it goes on only from a killed one of the same settings."""
    if recipe.tune is None:
        return str(number)
    settings = {name: getattr(recipe.estimator.spec, name) for name in recipe.tune.parameters}
    return f"{number}/{'final' if trial is None else f'trial-{trial}'}-{canonical_digest(settings)[:8]}"


@dataclass(frozen=True, slots=True)
class NetworkInputs:
    """The cells that a network learns from, where they lie, and the labels on them."""

    storage: Storage
    cells: FeatureCells
    labels: Labels
    resources: TrainingResources


def network_id(model: UUID, version: str, spec: NetworkSpec | ChipSpec) -> UUID:
    """The id of a model with the version of the code that trains it and the weights that it begins with; RequestError without the extra `deep`."""
    require_deep("captum")
    from flows.steps.networks.start_weights import weights_digest

    return uuid5(model, f"{version} {weights_digest(spec)}")


def learn_network(
    inputs: NetworkInputs, recipe: ModelRecipe, samples: Samples, split: BlockSplit, backend: Backend, number: UUID,
    tell: Callable[[str], None] | None = None,
) -> tuple[Network, dict[str, Any], Answers, Mapping[str, bytes]]:  # fmt: skip
    """The network learned from all blocks but the hold-out and the validation fold, its agreement on both, what it says of the hold-out, and pictures."""
    from flows.steps.networks.train_network import TrainingData, train_network
    from flows.steps.networks.training_loop import TrainerOptions

    kind, spec = recipe.network
    placed = [each for each in inputs.cells.placed if inputs.labels.overlaps(inputs.cells.grid.geobox(each[0]))]

    def read(number: int) -> NDArray[np.float32]:
        _, _, cell = placed[number]
        return named_features(opened_cell(inputs.storage, cell), samples.feature_names)

    ground = [_ground(inputs, tile, read(number), recipe, split) for number, (tile, _, _) in enumerate(placed)]
    check_ground(ground, spec, split, inputs.cells.grid.resolution_m)
    data = TrainingData(kind, spec, samples.feature_names, recipe.class_names, read, ground, recipe.seed)
    resources = inputs.resources
    options = TrainerOptions(resources.folder / str(number), backend.device, resources.devices, resources.nodes)
    network, told = train_network(data, options, str(number), tell)
    shares = _shares(
        inputs, network.on(backend.device), samples, split.test_rows(split.holdout) | split.test_rows(VALIDATION_FOLD)
    )
    metrics, answers = _metrics(network, shares, recipe, samples, split)
    chosen = surest(samples.column("code").astype(np.int64), shares, split.test_rows(split.holdout))
    looks = patch_looks(inputs.storage, inputs.cells, network, samples, shares, chosen)
    said, pictures = looks_shown(looks, network)
    return network, metrics | {"training": told} | said, answers, pictures


def _ground(
    inputs: NetworkInputs, tile: Tile, features: NDArray[np.float32], recipe: ModelRecipe, split: BlockSplit
) -> CellGround:
    geobox = inputs.cells.grid.geobox(tile)
    codes = seen_codes(inputs.labels.codes(geobox, recipe.samples), features)
    x, y = geobox.coordinates["x"].values, geobox.coordinates["y"].values
    return cell_ground(x, y, codes, split, recipe.network[1].patch_px)


def _metrics(
    network: Network, shares: NDArray[np.float32], recipe: ModelRecipe, samples: Samples, split: BlockSplit
) -> tuple[dict[str, Any], Answers]:
    """Agreement of the drawn pixels of the hold-out and of the validation fold, as a map of their cells says it."""
    guess = shares.argmax(axis=1) + 1
    guesses = {fold: guess[split.test_rows(fold)] for fold in (split.holdout, VALIDATION_FOLD)}
    held = shares[split.test_rows(split.holdout)].astype(np.float64)
    answers = Answers(network.feature_names, guesses[split.holdout], held)
    return agreement(samples, split, network_rows(split), guesses, recipe.class_names), answers


def _shares(
    inputs: NetworkInputs, network: Network, samples: Samples, wanted: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Probabilities (n, class) of the wanted rows, 0 for the others."""
    grid, found = inputs.cells.grid, np.zeros((wanted.size, len(network.class_names)), np.float32)
    x, y, days = (samples.column(name).astype(np.float64) for name in ("x", "y", "period"))
    margin = network.margin_px
    for tile, period, _ in inputs.cells.placed:
        row, column, inside = pixels_in(grid, tile, x, y)
        here = np.flatnonzero(wanted & inside & (days == period.start.toordinal()))
        if here.size == 0:
            continue
        window = features_with_margin(
            inputs.storage, inputs.cells.cells, tile, period, grid.tile_px, margin, network.feature_names
        )
        shares = network.probabilities_of_window(window, margin, tile.row * grid.tile_px, tile.column * grid.tile_px)
        found[here] = shares[:, row[here], column[here]].T
    return found
