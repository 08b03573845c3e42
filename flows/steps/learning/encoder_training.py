"""Learn an encoder from published cells without labels, and publish it, so that networks can begin with it."""

from collections.abc import Callable, Sequence
from uuid import UUID, uuid5

import numpy as np
import xarray
from numpy.typing import NDArray

from datacube_config.connection import Index
from flows.steps.cubes.cells import cell_path
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.index.catalogue import PublishedCell
from flows.steps.index.product_binding import bind_product
from flows.steps.learning.cell_windows import feature_stack
from flows.steps.learning.model_documents import ModelDraft
from flows.steps.learning.model_files import ENCODER, ModelFiles
from flows.steps.learning.models import publish_model
from flows.steps.learning.network_training import NETWORK_SOFTWARE, TrainingRoom
from flows.steps.learning.training import FeatureCells, TrainedModel, found_model, software_versions
from flows.steps.networks.deep_packages import require_deep
from flows.steps.networks.encoder_file import Encoder
from flows.steps.storage import Storage
from products.devices import Backend
from products.errors import RequestError
from products.identity import NAMESPACE
from products.learning.encoder_card import EncoderFacts, encoder_document, encoder_markdown
from products.learning.masked_recipe import MaskedRecipe
from products.learning.masking import CellPixels, patch_places
from products.scene_recipe import canonical_digest

MASKED_VERSION = "masked-2"
SOFTWARE = ("neocube", "numpy", *NETWORK_SOFTWARE)


def learn_encoder(
    index: Index, storage: Storage, recipe: MaskedRecipe, inputs: FeatureCells, backend: Backend, room: TrainingRoom,
    tell: Callable[[str], None] | None = None,
) -> TrainedModel:  # fmt: skip
    """The encoder of this recipe and these cells: learned and published, or found if it is the active one already; RequestError without the extra `deep`."""
    require_deep()
    from flows.steps.networks.pretraining import MaskedLesson, pretrain
    from flows.steps.networks.training_loop import TrainingPlace

    cells = [cell.id for cell in inputs.cells.values()]
    number = encoder_id(recipe, cells)
    files = ModelFiles(storage, recipe.name, number, ENCODER)
    if found := found_model(index, files, number, recipe, inputs):
        return found
    placed = [cell for _, _, cell in inputs.placed]
    names = _names(storage, placed)
    train, validation = patch_places([_ground(storage, cell) for cell in placed], recipe.masked, recipe.seed)
    lesson = MaskedLesson(
        recipe.masked, names, lambda place: _features(storage, placed[place]), train, validation, recipe.seed
    )
    place = TrainingPlace(room.folder / str(number), backend.device, room.devices, room.nodes)
    encoder, told = pretrain(lesson, place, str(number), tell)
    facts = _facts(number, encoder, inputs, sum(map(len, train)), backend)
    card = encoder_document(recipe, facts, told)
    draft = ModelDraft(number, recipe, encoder, card, inputs.grid.mosaic(inputs.tiles), inputs.periods)
    bind_product(index, recipe.name, recipe.version, recipe.digest())
    publish_model(index, files, draft, {"card.md": encoder_markdown(recipe, facts, told).encode()}, cells)
    room.forget(number)
    return TrainedModel(number, recipe.name, True, card, files.path("card.md"), inputs.n_stale, inputs.notes)


def encoder_id(recipe: MaskedRecipe, cells: Sequence[UUID]) -> UUID:
    """uuid5 of the recipe's name, version and digest, the cells in any order and the code that learns."""
    document = {"model": recipe.name, "version": recipe.version, "recipe": recipe.digest(), "learning": MASKED_VERSION}
    return uuid5(NAMESPACE, canonical_digest({**document, "cells": sorted(map(str, cells))}))


def _names(storage: Storage, placed: Sequence[PublishedCell]) -> tuple[str, ...]:
    """The features of the cells; RequestError where two have others."""
    found = {tuple(map(str, _stack(storage, cell)["feature"].values)) for cell in placed}
    if len(found) > 1:
        raise RequestError("the cells have different features: build them again, all of them by one recipe")
    return found.pop()


def _stack(storage: Storage, cell: PublishedCell) -> xarray.DataArray:
    return feature_stack(open_snapshot(storage.url(cell_path(storage, cell.product, cell.id)), storage.options))


def _features(storage: Storage, cell: PublishedCell) -> NDArray[np.float32]:
    values: NDArray[np.float32] = _stack(storage, cell).values
    return values


def _ground(storage: Storage, cell: PublishedCell) -> CellPixels:
    stack = _stack(storage, cell)
    return CellPixels(stack["x"].values, stack["y"].values, np.isfinite(stack.values).any(axis=0))


def _facts(number: UUID, encoder: Encoder, inputs: FeatureCells, n_patches: int, backend: Backend) -> EncoderFacts:
    return EncoderFacts(
        model_id=str(number),
        model_digest=encoder.digest(),
        described=encoder.describe(),
        area=inputs.area.name,
        period=inputs.period_label,
        crs=inputs.grid.crs,
        cells=tuple(sorted(str(cell.id) for cell in inputs.cells.values())),
        n_places=n_patches,
        device=backend.device,
        software=software_versions(SOFTWARE),
        n_stale_cells=inputs.n_stale,
        features_version=inputs.recipe.version,
    )
