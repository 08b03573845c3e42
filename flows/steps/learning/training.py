"""Train a model: sample published cells under labels, learn, and publish the model as a dataset of its own product."""

import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions, version
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import odc.geo.xr  # noqa: F401 - gives datasets `.odc`
import xarray

from datacube_config.connection import Index
from flows.steps.cubes.cells import cell_path
from flows.steps.cubes.credits import sources_of
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.index.catalogue import PublishedCell, published_cells
from flows.steps.index.product_binding import bind_product
from flows.steps.learning.drawn_samples import DrawnSamples
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.labels import Labels, open_labels
from flows.steps.learning.model_files import ModelFiles, read_card
from flows.steps.learning.models import ModelDraft, find_model_row, promote_model, publish_model
from flows.steps.pictures.learning import confusion_picture, split_picture
from flows.steps.storage import Storage
from products.area import Area
from products.devices import Backend
from products.errors import RequestError
from products.grid import PixelGrid, Tile
from products.identity import NAMESPACE
from products.learning.card import TrainingFacts, card_document, card_markdown, score_name
from products.learning.estimators import LEARNING_VERSION, learn
from products.learning.forest import Forest
from products.learning.pca_recipe import PcaRecipe
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples, check_classes, join, labelled_pixels
from products.learning.splits import BlockSplit, split_blocks
from products.period import Period
from products.scene_recipe import canonical_digest
from products.spec import FeaturesRecipe


@dataclass(frozen=True, slots=True)
class FeatureCells:
    """The published feature cells of an area and period, in tile and period order; `n_stale` of them are not what a build would make now."""

    recipe: FeaturesRecipe
    area: Area
    grid: PixelGrid
    tiles: tuple[Tile, ...]
    periods: tuple[Period, ...]
    cells: dict[tuple[str, str], PublishedCell]
    n_stale: int = 0

    @property
    def placed(self) -> Iterator[tuple[Tile, Period, PublishedCell]]:
        """Each cell with its tile and period."""
        for tile in self.tiles:
            for period in self.periods:
                if (tile.label, period.label) in self.cells:
                    yield tile, period, self.cells[tile.label, period.label]

    @property
    def period_label(self) -> str:
        """From the first period to the last."""
        labels = [period.label for period in self.periods]
        return labels[0] if len(labels) == 1 else f"{labels[0]} to {labels[-1]}"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What training gave: `trained` is False where the same model was there already."""

    id: UUID
    name: str
    trained: bool
    card: dict[str, Any]
    card_path: str
    n_stale: int

    def document(self) -> dict[str, Any]:
        """As the contract shows it."""
        metrics = {"score": self.card["score"], **self.card["metrics"]}
        shown = {"model": str(self.id), "name": self.name, "trained": self.trained, "simulated": self.card["simulated"]}
        return (
            shown
            | {"metrics": metrics, "card": self.card_path, "notes": self.card["notes"]}
            | {"stale_cells": self.n_stale}
        )


def feature_cells(index: Index, recipe: FeaturesRecipe, area: Area, period: Period) -> FeatureCells:
    """The published cells of a features recipe; RequestError if there are none."""
    grid = recipe.grid.pixel_grid(area.geometry)
    tiles, periods = grid.tiles(area.geometry), recipe.period.calendar.cells(period)
    wanted = {tile.label for tile in tiles}
    found = published_cells(index, recipe.name, recipe.version, periods)
    cells = {place: cell for place, cell in found.items() if place[0] in wanted}
    if not cells:
        raise RequestError(
            f"no cell of {recipe.name} is published over the area {area.name!r} in {period.label}: "
            f"build it first (neocube build {recipe.name} --area {area.name} --period {period.label})"
        )
    return FeatureCells(recipe, area, grid, tiles, periods, cells)


def found_model(
    index: Index, files: ModelFiles, number: UUID, recipe: ModelRecipe | PcaRecipe, inputs: FeatureCells
) -> TrainedModel | None:
    """What was learned already, by this id, and is the active one from now on; None if it is to be learned."""
    row = find_model_row(index, number)
    if row is None or not files.are_whole():
        return None
    if row.is_archived:
        promote_model(index, number, recipe)
    return TrainedModel(number, recipe.name, False, read_card(files), files.path("card.md"), inputs.n_stale)


def learn_model(
    index: Index,
    storage: Storage,
    recipe: ModelRecipe,
    inputs: FeatureCells,
    labels_file: LabelFile | DrawnSamples,
    backend: Backend,
    n_jobs: int,
) -> TrainedModel:
    """The model of this recipe, cells and labels: learned and published, or found if it is the active one already."""
    labels = labels_file if isinstance(labels_file, DrawnSamples) else open_labels(labels_file, recipe.samples)
    cells = [cell.id for cell in inputs.cells.values()]
    number = model_id(recipe, cells, labels.source.digest)
    files = ModelFiles(storage, recipe.name, number)
    if found := found_model(index, files, number, recipe, inputs):
        return found
    samples = gather_samples(backend, storage, inputs, labels, recipe)
    check_classes(samples, recipe.class_names)
    split = samples_split(samples, recipe)
    forest, metrics = learn(backend, samples, split, recipe, n_jobs)
    simulated = labels.source.simulated or any(source.is_simulated for source in sources_of(index, cells))
    facts = training_facts(number, forest, inputs, labels, samples, backend, simulated)
    card = card_document(recipe, facts, metrics)
    draft = ModelDraft(number, recipe, forest, card, inputs.grid.mosaic(inputs.tiles), inputs.periods)
    bind_product(index, recipe.name, recipe.version, recipe.digest())
    publish_model(index, files, draft, shown(recipe, facts, metrics, samples, split), cells)
    return TrainedModel(number, recipe.name, True, card, files.path("card.md"), inputs.n_stale)


def training_facts(
    number: UUID,
    forest: Forest,
    inputs: FeatureCells,
    labels: Labels | DrawnSamples,
    samples: Samples,
    backend: Backend,
    simulated: bool,
) -> TrainingFacts:
    """What the card says the model came from."""
    return TrainingFacts(
        model_id=str(number),
        model_digest=forest.digest(),
        area=inputs.area.name,
        period=inputs.period_label,
        crs=inputs.grid.crs,
        n_stale_cells=inputs.n_stale,
        cells=tuple(sorted(str(cell.id) for cell in inputs.cells.values())),
        labels=labels.source.file.name,
        labels_digest=labels.source.digest,
        labels_crs=labels.source.crs,
        n_labelled=samples.n_labelled,
        n_without_features=samples.n_without_features,
        simulated=simulated,
        device=backend.device,
        software=software_versions(),
    )


def shown(
    recipe: ModelRecipe, facts: TrainingFacts, metrics: dict[str, Any], samples: Samples, split: BlockSplit
) -> dict[str, bytes]:
    """The card for people and its pictures, by file name."""
    matrix, score = metrics["holdout"]["confusion"], score_name(facts.simulated)
    return {
        "card.md": card_markdown(recipe, facts, metrics).encode(),
        "split.png": split_picture(samples.column("x"), samples.column("y"), split),
        "confusion.png": confusion_picture(matrix, recipe.class_names, score),
    }


def model_id(recipe: ModelRecipe, cells: Iterable[UUID], labels_digest: str) -> UUID:
    """uuid5 of the recipe's name, version and digest, the cells in any order, the labels and the learning code."""
    document = {
        "model": recipe.name,
        "version": recipe.version,
        "recipe": recipe.digest(),
        "cells": sorted(map(str, cells)),
        "labels": labels_digest,
        "learning": LEARNING_VERSION,
    }
    return uuid5(NAMESPACE, canonical_digest(document))


def gather_samples(
    backend: Backend, storage: Storage, inputs: FeatureCells, labels: Labels | DrawnSamples, recipe: ModelRecipe
) -> Samples:
    """The labelled pixels of all cells, drawn as the recipe says; RequestError if the labels lie elsewhere."""
    if isinstance(labels, DrawnSamples):
        return labels.samples(backend, recipe)
    parts = []
    for tile, period, cell in inputs.placed:
        geobox = inputs.grid.geobox(tile)
        if not labels.overlaps(geobox):
            continue
        url = storage.url(cell_path(storage, cell.product, cell.id))
        opened = open_snapshot(url, storage.options)
        parts.append(sample_cell(backend, opened, labels, recipe, period.start.toordinal()))
    if not parts:
        raise RequestError(
            f"the labels {labels.source.file} ({labels.source.crs}) share no ground with the area "
            f"{inputs.area.name!r}: expected labels inside it; check their CRS and coordinates"
        )
    return join(backend, parts, recipe.samples.max_per_class)


def sample_cell(backend: Backend, cell: xarray.Dataset, labels: Labels, recipe: ModelRecipe, period: int) -> Samples:
    """The labelled pixels of one cell, `features(period, feature, y, x)`; nothing is read where there is no label."""
    codes = labels.codes(cell.odc.geobox, recipe.samples)
    names = tuple(str(name) for name in cell["feature"].values)
    rows = np.flatnonzero(codes.any(axis=1))
    window = slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)
    features = cell["features"].isel(period=0, y=window).values
    return labelled_pixels(
        backend, features, codes[window], cell["x"].values, cell["y"].values[window], period, names, recipe.seed
    )


def samples_split(samples: Samples, recipe: ModelRecipe) -> BlockSplit:
    """The samples in folds of spatial blocks."""
    spec, code = recipe.split, samples.column("code").astype(np.int64)
    x, y = samples.column("x").astype(np.float64), samples.column("y").astype(np.float64)
    return split_blocks(x, y, code, spec.block_m, spec.folds, spec.buffer_m, recipe.seed)


def software_versions(names: Sequence[str] = ("neocube", "scikit-learn", "numpy")) -> dict[str, str]:
    """The versions that a model came from, of what is installed as a package."""
    installed = {name: version(name) for name in names if any(distributions(name=name))}
    return {"python": platform.python_version()} | installed
