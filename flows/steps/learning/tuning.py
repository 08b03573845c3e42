"""The settings of an estimator tuned before it learns, where its recipe asks for it."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np

from flows.steps.learning.chip_training import answered, chips_network
from flows.steps.learning.drawn_chips import CHIP, DrawnChips
from flows.steps.learning.honest_training import HonestTraining
from flows.steps.learning.labels import Labels
from flows.steps.learning.network_training import TrainingResources, training_name
from flows.steps.learning.temporal_training import series_network
from flows.steps.learning.training_input import Drawn
from products.devices import Backend
from products.learning.accuracy import assess
from products.learning.estimators import predicted
from products.learning.recipe import ModelRecipe
from products.learning.splits import BlockSplit
from products.learning.tuning import Agreement, agreement_on_folds, inner_split, tuned
from products.scene_recipe import SceneRecipe
from products.series_spec import SeriesRecipe

Tell = Callable[[str], None]


def tuned_recipe(
    made: HonestTraining, recipe: ModelRecipe, features: SceneRecipe, labels: Labels | Drawn, backend: Backend,
    n_jobs: int, resources: TrainingResources, number: UUID, tell: Tell | None = None,
) -> tuple[ModelRecipe, dict[str, Any]]:  # fmt: skip
    """The recipe with the settings that agree best inside the training blocks, and the study for the metrics; as it is where it asks for none."""
    spec = recipe.tune
    if spec is None:
        return recipe, {}
    inner = inner_split(made.plan.split, made.samples.column("code").astype(np.int64), spec.folds, recipe.seed)
    if recipe.temporal and isinstance(features, SeriesRecipe):
        agreement = _of_series(made, inner, features, backend, resources, number)
    elif recipe.estimator.chips and isinstance(labels, DrawnChips):
        agreement = _of_chips(made, inner, labels, backend, resources, number)
    else:
        agreement = agreement_on_folds(backend, made.samples, inner, n_jobs)
    until = time.monotonic() + (spec.seconds or np.inf)

    def told(trial: ModelRecipe, n: int) -> float:
        score = agreement(trial, n)
        if tell:
            tell(f"trial {n + 1} of {spec.trials}, agreement {score:.4f}")
        return score

    return tuned(recipe, spec, told, lambda: time.monotonic() > until)


def _of_series(
    made: HonestTraining,
    inner: BlockSplit,
    features: SeriesRecipe,
    backend: Backend,
    resources: TrainingResources,
    number: UUID,
) -> Agreement:
    samples, split, code = made.samples, _of_one_network(inner), made.samples.column("code").astype(np.int64)
    held = split.test_rows(split.holdout)

    def agreement(recipe: ModelRecipe, n: int) -> float:
        network, _ = series_network(
            samples, split, recipe, features, backend, resources, training_name(number, recipe, n)
        )
        guess = predicted(network.on(backend.device), samples, held)
        return float(assess(code[held], guess, split.block[held], recipe.class_names)["overall"])

    return agreement


def _of_chips(
    made: HonestTraining,
    inner: BlockSplit,
    chips: DrawnChips,
    backend: Backend,
    resources: TrainingResources,
    number: UUID,
) -> Agreement:
    samples, split = made.samples, _of_one_network(inner)
    held = split.test_rows(split.holdout)
    chip, code = (samples.column(name).astype(np.int64)[held] for name in (CHIP, "code"))

    def agreement(recipe: ModelRecipe, n: int) -> float:
        network, _ = chips_network(samples, split, recipe, chips, backend, resources, training_name(number, recipe, n))
        guess = answered(network.on(backend.device), chips, chip).argmax(axis=1) + 1
        return float(assess(code, guess, split.block[held], recipe.class_names)["overall"])

    return agreement


def _of_one_network(inner: BlockSplit) -> BlockSplit:
    """A network learns once for each trial: the first fold says when to stop, the last is answered."""
    return replace(inner, folds=inner.holdout)
