"""Train a model: sample published cells under labels, learn, and publish the model as a dataset of its own product."""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import distributions, version
from importlib.util import find_spec
from typing import Any
from uuid import UUID, uuid5

from datacube_config.connection import Index
from flows.steps.cubes.credits import credit_lines, sources_of
from flows.steps.index.product_binding import bind_product
from flows.steps.learning.card_files import shown
from flows.steps.learning.chip_training import learn_chips
from flows.steps.learning.drawn_chips import DrawnChips
from flows.steps.learning.feature_cells import FeatureCells
from flows.steps.learning.first_weights import first_weights, holdout_seen_by
from flows.steps.learning.gathered_samples import gather_samples
from flows.steps.learning.honest_training import (
    Answers,
    HonestTraining,
    answers_of,
    planned_and_audited,
    with_honest_numbers,
)
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.labels import Labels, open_labels
from flows.steps.learning.model_documents import ModelDraft
from flows.steps.learning.model_files import ModelFiles, read_card
from flows.steps.learning.models import is_as_published, promote_model, publish_model
from flows.steps.learning.network_training import (
    NETWORK_SOFTWARE,
    NetworkInputs,
    TrainingResources,
    learn_network,
)
from flows.steps.learning.split_layer import sites_digest
from flows.steps.learning.temporal_training import learn_temporal
from flows.steps.learning.training_input import Drawn, check_input, identified
from flows.steps.learning.training_plan import planned_training
from flows.steps.learning.tuning import tuned_recipe
from flows.steps.storage import Storage
from products.devices import Backend
from products.errors import RequestError
from products.identity import NAMESPACE
from products.learning.card import TrainingFacts, card_document
from products.learning.estimators import LEARNING_VERSION, learn
from products.learning.learned import ArrayModel, Learned
from products.learning.recipe import LearnedRecipe, ModelRecipe
from products.learning.samples import Samples, check_classes
from products.learning.split_plan import HELD_OUT_VERSION
from products.learning.tuning import require_optuna
from products.scene_recipe import canonical_digest
from products.series_spec import SeriesRecipe

SOFTWARE = ("neocube", "scikit-learn", "numpy", "optuna")


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What training gave: `trained` is False where the same model was there already; `notes` are of this call, beside those of the card.

    `host_bytes` is the planned peak of memory; None where nothing was trained, or that is not planned.
    """

    id: UUID
    name: str
    trained: bool
    card: dict[str, Any]
    card_path: str
    n_stale: int
    notes: tuple[str, ...] = ()
    host_bytes: int | None = None

    def document(self) -> dict[str, Any]:
        """As the contract shows it."""
        return {
            "model": str(self.id),
            "name": self.name,
            "trained": self.trained,
            "simulated": self.card["simulated"],
            "metrics": {"score": self.card["score"], **self.card["metrics"]},
            "card": self.card_path,
            "notes": [*self.card["notes"], *self.notes],
            "stale_cells": self.n_stale,
            "host_bytes": self.host_bytes,
        }


def found_model(
    index: Index, files: ModelFiles, number: UUID, recipe: LearnedRecipe, inputs: FeatureCells
) -> TrainedModel | None:
    """What was learned already, by this id, and is the active one from now on; None if it is to be learned."""
    row = index.dc.index.datasets.get(number)
    if row is None or not is_as_published(files, row):
        return None
    if row.is_archived:
        promote_model(index, number, recipe)
    card = read_card(files)
    return TrainedModel(number, recipe.name, False, card, files.path("card.md"), inputs.n_stale, inputs.notes)


def published_model(
    index: Index, files: ModelFiles, draft: ModelDraft, beside: Mapping[str, bytes], inputs: FeatureCells
) -> TrainedModel:
    """What was learned of some cells, published with the files `beside` it; RequestError where its version is bound to another recipe."""
    recipe = draft.recipe
    bind_product(index, recipe.name, recipe.version, recipe.digest())
    publish_model(index, files, draft, beside, inputs.ids)
    card, path = dict(draft.card), files.path("card.md")
    return TrainedModel(draft.id, recipe.name, True, card, path, inputs.n_stale, inputs.notes)


def learn_model(
    index: Index,
    storage: Storage,
    recipe: ModelRecipe,
    inputs: FeatureCells,
    labels_file: LabelFile | Drawn,
    backend: Backend,
    n_jobs: int,
    resources: TrainingResources,
    tell: Callable[[str], None] | None = None,
) -> TrainedModel:
    """The model of this recipe, cells and labels: learned and published, or found if it is the active one already."""
    if recipe.explain.shap and find_spec("shap") is None:
        raise RequestError("explain: {shap: true} needs the package shap: install neocube[explain], or leave it out")
    require_optuna(recipe.tune)
    check_input(recipe, labels_file)
    labels = labels_file if isinstance(labels_file, Drawn) else open_labels(labels_file, recipe.samples)
    with first_weights(index, storage, recipe, inputs.recipe) as begun:
        own = model_id(recipe, inputs.ids, labels.source.meaning)
        number, learned_as = identified(own, begun.recipe, inputs.recipe)
        files = ModelFiles(storage, recipe.name, number, learned_as)
        if found := found_model(index, files, number, recipe, inputs):
            return found
        planned = planned_training(recipe, inputs, labels, n_jobs, resources.budget_bytes, tell)
        samples = gather_samples(backend, storage, inputs, labels, recipe)
        check_classes(samples, recipe.class_names)
        sources = sources_of(index, inputs.ids)
        simulated = labels.source.simulated or any(source.is_simulated for source in sources)
        chip_side_m = labels.side_m if isinstance(labels, DrawnChips) else 0.0
        made = planned_and_audited(
            samples, recipe, inputs.recipe, inputs.periods, inputs.grid.crs, simulated, chip_side_m
        )
        better, study = tuned_recipe(
            made, begun.recipe, inputs.recipe, labels, backend, n_jobs, resources, number, tell
        )
        model, metrics, answers, pictures = _learned(
            storage, better, inputs, labels, made, backend, n_jobs, resources, number, tell
        )
    metrics, beside = with_honest_numbers(made, recipe, answers, metrics | study)
    seen_by = holdout_seen_by(index, begun, made.plan.split, made.crs)
    facts = training_facts(
        number, recipe, model, inputs, labels, samples, backend, simulated, credit_lines(sources), seen_by
    )
    card = card_document(recipe, facts, metrics)
    mosaic = inputs.grid.mosaic(inputs.tiles)
    draft = ModelDraft(number, recipe, model, card, mosaic, inputs.periods, begun.encoder)
    files_beside = {**shown(recipe, facts, metrics, samples, made.plan.split), **beside, **pictures}
    trained = published_model(index, files, draft, files_beside, inputs)
    resources.forget(number)
    return replace(trained, host_bytes=planned.host_bytes, notes=(*trained.notes, *planned.notes))


def _learned(
    storage: Storage, recipe: ModelRecipe, inputs: FeatureCells, labels: Labels | Drawn, made: HonestTraining, backend: Backend,
    n_jobs: int, resources: TrainingResources, number: UUID, tell: Callable[[str], None] | None,
) -> tuple[Learned, dict[str, Any], Answers, Mapping[str, bytes]]:  # fmt: skip
    """What the estimator of a recipe learned, its metrics, what it says of the hold-out, and pictures."""
    if recipe.has_network and not isinstance(labels, Drawn):
        given = NetworkInputs(storage, inputs, labels, resources)
        return learn_network(given, recipe, made.samples, made.plan.split, backend, number, tell)
    if recipe.temporal and isinstance(inputs.recipe, SeriesRecipe):
        return *learn_temporal(made, recipe, inputs.recipe, backend, resources, number, tell), {}
    if recipe.estimator.chips and isinstance(labels, DrawnChips):
        return learn_chips(made, recipe, labels, backend, resources, number, tell)
    model, metrics = learn(backend, made.samples, made.plan.split, recipe, n_jobs)
    return model, metrics, answers_of(model, made, recipe, backend, n_jobs), {}


def training_facts(
    number: UUID, recipe: ModelRecipe, model: Learned, inputs: FeatureCells, labels: Labels | Drawn, samples: Samples, backend: Backend,
    simulated: bool, credit: Sequence[str], seen_by: str | None,
) -> TrainingFacts:  # fmt: skip
    """What the card says the model came from."""
    return TrainingFacts(
        model_id=str(number),
        model_digest=model.digest(),
        described=model.describe(),
        credits=tuple(credit),
        area=inputs.area.name,
        period=inputs.period_label,
        crs=inputs.grid.crs,
        n_stale_cells=inputs.n_stale,
        features_version=inputs.recipe.version,
        cells=tuple(sorted(map(str, inputs.ids))),
        labels=labels.source.file.name,
        labels_digest=labels.source.digest,
        labels_crs=labels.source.crs,
        label_values=()
        if isinstance(labels, Drawn)
        else labels.told(map(inputs.grid.geobox, inputs.tiles), recipe.samples),
        n_labelled=samples.n_labelled,
        n_without_features=samples.n_without_features,
        n_outliers=0 if samples.is_outlier is None else int(samples.is_outlier.sum()),
        simulated=simulated,
        holdout_seen_by=seen_by,
        device=backend.device,
        software=software_versions(SOFTWARE if isinstance(model, ArrayModel) else (*SOFTWARE, *NETWORK_SOFTWARE)),
    )


def model_id(recipe: ModelRecipe, cells: Iterable[UUID], labels_digest: str) -> UUID:
    """uuid5 of the recipe's name, version and digest, the cells in any order, the labels, the sites and the learning code."""
    beside = {
        "labels": labels_digest,
        **({"sites": sites_digest(recipe.split.sites)} if recipe.split.sites else {}),
        **({"held_out": HELD_OUT_VERSION} if recipe.split.holdout_periods else {}),
    }
    return learned_id(recipe, cells, LEARNING_VERSION, **beside)


def learned_id(recipe: LearnedRecipe, cells: Iterable[UUID], code: str, **beside: str) -> UUID:
    """uuid5 of the recipe's name, version and digest, the cells in any order, the version of the code that learns, and what else decides."""
    document = {
        "model": recipe.name,
        "version": recipe.version,
        "recipe": recipe.digest(),
        "cells": sorted(map(str, cells)),
        "learning": code,
        **beside,
    }
    return uuid5(NAMESPACE, canonical_digest(document))


def software_versions(names: Sequence[str] = SOFTWARE) -> dict[str, str]:
    """The versions that a model came from, of what is installed as a package."""
    installed = {name: version(name) for name in names if any(distributions(name=name))}
    return {"python": platform.python_version()} | installed
