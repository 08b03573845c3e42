"""A network learned from the series of drawn pixels, and its agreement with labels on other ground."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid5

import numpy as np

from flows.steps.learning.honest_training import Answers, HonestTraining
from flows.steps.learning.network_training import TrainingResources, training_name
from flows.steps.networks.deep_packages import require_deep
from flows.steps.networks.temporal_network import TemporalNetwork
from products.devices import Backend
from products.errors import RequestError
from products.learning.estimators import agreement, predicted
from products.learning.explain import looked_at
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples
from products.learning.splits import BlockSplit
from products.learning.training_ground import VALIDATION_FOLD, network_rows
from products.scene_recipe import SceneRecipe
from products.series_spec import SeriesRecipe

TEMPORAL_VERSION = "temporal-1"


def temporal_id(model: UUID, recipe: ModelRecipe, features: SceneRecipe) -> UUID:
    """The id of a model with the code that trains it; RequestError without the extra `deep`, or of a recipe that makes no series."""
    require_deep()
    if not isinstance(features, SeriesRecipe):
        raise RequestError(
            f"{recipe.estimator.kind} learns from series: expected features to name a recipe of kind series, "
            f"{features.name} is of kind {features.kind}"
        )
    return uuid5(model, TEMPORAL_VERSION)


def learn_temporal(
    made: HonestTraining, recipe: ModelRecipe, features: SeriesRecipe, backend: Backend, resources: TrainingResources, number: UUID,
    tell: Callable[[str], None] | None = None,
) -> tuple[TemporalNetwork, dict[str, Any], Answers]:  # fmt: skip
    """The network learned from all blocks but the hold-out and the validation fold, its agreement on both, and what it says of the hold-out."""
    samples, split = made.samples, made.plan.split
    train, held = network_rows(split), split.test_rows(split.holdout)
    name = training_name(number, recipe)
    network, told = series_network(samples, split, recipe, features, backend, resources, name, tell)
    asked = network.on(backend.device)
    tested = (split.holdout, VALIDATION_FOLD)
    guesses = {fold: predicted(asked, samples, split.test_rows(fold)) for fold in tested}
    metrics = agreement(samples, split, train, guesses, recipe.class_names) | {"training": told}
    shares = asked.probabilities(np.ascontiguousarray(samples.features[held].T)).T
    answers = Answers(network.feature_names, shares.argmax(axis=1) + 1, shares.astype(np.float64))
    return network, metrics | looked_at(network, samples, train, held, recipe), answers


def series_network(
    samples: Samples, split: BlockSplit, recipe: ModelRecipe, features: SeriesRecipe, backend: Backend, resources: TrainingResources,
    training: str, tell: Callable[[str], None] | None = None,
) -> tuple[TemporalNetwork, dict[str, Any]]:  # fmt: skip
    """The network of a recipe, learned from the rows of all blocks but the hold-out and the validation fold, and how it came to be."""
    from flows.steps.networks.train_temporal import SeriesTrainingData, train_temporal
    from flows.steps.networks.training_loop import TrainerOptions

    if recipe.temporal is None:
        raise TypeError(f"{recipe.estimator.kind} is no network over time")
    data = SeriesTrainingData(
        *recipe.temporal, samples.feature_names, features.layer_names, recipe.class_names, samples.features,
        samples.column("code").astype(np.uint8), network_rows(split), split.test_rows(VALIDATION_FOLD), recipe.seed,
    )  # fmt: skip
    options = TrainerOptions(resources.folder / training, backend.device, resources.devices, resources.nodes)
    return train_temporal(data, options, training, tell)
