"""A network of whole chips learned from a training set of chips, and its agreement with chips on other ground."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from flows.steps.learning.drawn_chips import CHIP, DrawnChips
from flows.steps.learning.honest_training import Answers, HonestTraining
from flows.steps.learning.network_looks import chip_looks, looks_shown, surest
from flows.steps.learning.network_training import TrainingResources, training_name
from flows.steps.networks.chip_network import ChipNetwork
from products.devices import Backend
from products.learning.estimators import agreement
from products.learning.recipe import ModelRecipe
from products.learning.regression_scores import regression_scores, rounded
from products.learning.samples import Samples
from products.learning.splits import BlockSplit
from products.learning.training_ground import VALIDATION_FOLD, network_rows

CHIPS_VERSION = "chips-2"


def learn_chips(
    made: HonestTraining, recipe: ModelRecipe, chips: DrawnChips, backend: Backend, resources: TrainingResources, number: UUID,
    tell: Callable[[str], None] | None = None,
) -> tuple[ChipNetwork, dict[str, Any], Answers, Mapping[str, bytes]]:  # fmt: skip
    """The network learned from all blocks but the hold-out and the validation fold, its agreement on both, what it says of the hold-out, and pictures."""
    samples, split = made.samples, made.plan.split
    chip, code = (samples.column(name).astype(np.int64) for name in (CHIP, "code"))
    held = split.test_rows(split.holdout)
    network, told = chips_network(
        samples, split, recipe, chips, backend, resources, training_name(number, recipe), tell
    )
    asked = network.on(backend.device)
    tested = (split.holdout, VALIDATION_FOLD)
    said = {fold: answered(asked, chips, chip[split.test_rows(fold)]) for fold in tested}
    guesses = {fold: each.argmax(axis=1) + 1 for fold, each in said.items()}
    metrics = agreement(samples, split, network_rows(split), guesses, recipe.class_names) | {"training": told}
    if network.head == "shares":
        metrics["shares"] = share_scores(chips.shares(recipe)[chip[held]], said[split.holdout], recipe.class_names)
    answers = Answers(network.feature_names, guesses[split.holdout], said[split.holdout].astype(np.float64))
    given = np.zeros((held.size, len(recipe.class_names)), np.float32)
    given[held] = said[split.holdout]
    looks = chip_looks(chips, network, samples, given, surest(code, given, held))
    looked, pictures = looks_shown(looks, network)
    return network, metrics | looked, answers, pictures


def chips_network(
    samples: Samples, split: BlockSplit, recipe: ModelRecipe, chips: DrawnChips, backend: Backend, resources: TrainingResources,
    training: str, tell: Callable[[str], None] | None = None,
) -> tuple[ChipNetwork, dict[str, Any]]:  # fmt: skip
    """The network of a recipe, learned from the chips of all blocks but the hold-out and the validation fold, and how it came to be."""
    from flows.steps.networks.train_chips import ChipTrainingData, train_chips
    from flows.steps.networks.training_loop import TrainerOptions

    if recipe.estimator.chips is None:
        raise TypeError(f"{recipe.estimator.kind} is no network of chips")
    chip = samples.column(CHIP).astype(np.int64)
    data = ChipTrainingData(
        recipe.estimator.chips, chips.size_px, samples.feature_names, recipe.class_names, chips.read, chips.shares(recipe),
        chip[network_rows(split)], chip[split.test_rows(VALIDATION_FOLD)], recipe.seed,
    )  # fmt: skip
    options = TrainerOptions(resources.folder / training, backend.device, resources.devices, resources.nodes)
    return train_chips(data, options, training, tell)


def share_scores(
    truth: NDArray[np.float32], predicted: NDArray[np.float32], class_names: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """How near the predicted share of each class is to the true one, (n, class), on chips never trained on."""
    return {
        name: rounded(regression_scores(truth[:, n].astype(np.float64), predicted[:, n].astype(np.float64)))
        for n, name in enumerate(class_names)
    }


def answered(
    network: ChipNetwork, chips: DrawnChips, numbers: NDArray[np.int64], at_once: int = 64
) -> NDArray[np.float32]:
    """(n, class) what a network says of chips by their numbers."""
    parts = [network.probabilities(chips.read(numbers[n : n + at_once])) for n in range(0, numbers.size, at_once)]
    return np.concatenate(parts)
