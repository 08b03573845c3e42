"""Fit a transform on a sample of published cells, publish it, and apply it to cells."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid5

import numpy as np
import xarray
from numpy.typing import NDArray

from datacube_config.connection import Index
from flows.steps.cubes.cells import cell_path
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.index.product_binding import bind_product
from flows.steps.learning.cell_windows import feature_stack
from flows.steps.learning.model_documents import ModelDraft
from flows.steps.learning.model_files import COMPONENTS, ModelFiles
from flows.steps.learning.models import Transform, publish_model
from flows.steps.learning.training import FeatureCells, TrainedModel, found_model, software_versions
from flows.steps.storage import Storage
from products.devices import Backend
from products.errors import RequestError
from products.identity import NAMESPACE
from products.learning.components import PCA_VERSION, Components, fit_components
from products.learning.pca_card import TransformFacts, transform_document, transform_markdown
from products.learning.pca_recipe import PcaRecipe
from products.learning.samples import Samples, join, labelled_pixels
from products.scene_recipe import canonical_digest

STRIP_PX = 128


def learn_transform(
    index: Index, storage: Storage, recipe: PcaRecipe, inputs: FeatureCells, backend: Backend
) -> TrainedModel:
    """The transform of this recipe and these cells: fitted and published, or found if it is the active one already."""
    cells = [cell.id for cell in inputs.cells.values()]
    number = transform_id(recipe, cells)
    files = ModelFiles(storage, recipe.name, number, COMPONENTS)
    if found := found_model(index, files, number, recipe, inputs):
        return found
    samples = draw_pixels(backend, storage, inputs, recipe)
    components, metrics = fit_components(backend, samples, recipe)
    facts = _facts(number, components, inputs, samples, backend)
    card = transform_document(recipe, facts, metrics)
    draft = ModelDraft(number, recipe, components, card, inputs.grid.mosaic(inputs.tiles), inputs.periods)
    bind_product(index, recipe.name, recipe.version, recipe.digest())
    publish_model(index, files, draft, {"card.md": transform_markdown(recipe, facts, metrics).encode()}, cells)
    return TrainedModel(number, recipe.name, True, card, files.path("card.md"), inputs.n_stale, inputs.notes)


def transform_id(recipe: PcaRecipe, cells: list[UUID]) -> UUID:
    """uuid5 of the recipe's name, version and digest, the cells in any order and the code that fits."""
    document = {
        "model": recipe.name,
        "version": recipe.version,
        "recipe": recipe.digest(),
        "cells": sorted(map(str, cells)),
        "learning": PCA_VERSION,
    }
    return uuid5(NAMESPACE, canonical_digest(document))


def draw_pixels(backend: Backend, storage: Storage, inputs: FeatureCells, recipe: PcaRecipe) -> Samples:
    """At most `max_pixels` complete pixels of all cells, the same whatever the order of cells."""
    drawn: list[Samples] = []
    for _, period, cell in inputs.placed:
        opened = open_snapshot(storage.url(cell_path(storage, cell.product, cell.id)), storage.options)
        names = tuple(str(name) for name in opened["feature"].values)
        values, x, y = opened["features"].isel(period=0).values, opened["x"].values, opened["y"].values
        for start in range(0, y.size, STRIP_PX):
            rows = slice(start, start + STRIP_PX)
            every = np.ones(values[0, rows].shape, np.uint8)
            strip = labelled_pixels(
                backend, values[:, rows], every, x, y[rows], period.start.toordinal(), names, recipe.seed
            )
            drawn = [join(backend, [*drawn, strip], recipe.pca.max_pixels)]
    return drawn[0]


def component_cell(transform: Transform, cell: xarray.Dataset, threads: int) -> dict[str, NDArray[np.float32]]:
    """`features` (1, component, y, x) of a cell of features, strip by strip on some threads."""
    values = features_in_order(cell, transform.components.feature_names, transform.recipe.name)
    n_features, rows, columns = values.shape
    found = np.empty((1, transform.recipe.pca.components, rows, columns), np.float32)

    def apply(start: int) -> None:
        strip = slice(start, start + STRIP_PX)
        flat = transform.components.transform(values[:, strip].reshape(n_features, -1))
        found[0, :, strip] = flat.reshape(flat.shape[0], -1, columns)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(apply, range(0, rows, STRIP_PX)))
    return {"features": found}


def features_in_order(cell: xarray.Dataset, wanted: tuple[str, ...], model: str) -> NDArray[np.float32]:
    """The features (feature, y, x) of a cell that a model was trained on, in its order; RequestError if one is lacking."""
    stack = feature_stack(cell)
    names = [str(name) for name in stack["feature"].values]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise RequestError(
            f"the model {model} was trained on the feature {missing[0]!r}, which the cells lack: "
            f"they have {', '.join(names)}; train it again on these features"
        )
    values: NDArray[np.float32] = stack.values[[names.index(name) for name in wanted]]
    return values


def _facts(
    number: UUID, components: Components, inputs: FeatureCells, samples: Samples, backend: Backend
) -> TransformFacts:
    return TransformFacts(
        model_id=str(number),
        model_digest=components.digest(),
        area=inputs.area.name,
        period=inputs.period_label,
        crs=inputs.grid.crs,
        cells=tuple(sorted(str(cell.id) for cell in inputs.cells.values())),
        n_pixels=len(samples.table),
        n_without_features=samples.n_without_features,
        device=backend.device,
        software=software_versions(),
        n_stale_cells=inputs.n_stale,
        features_version=inputs.recipe.version,
    )
