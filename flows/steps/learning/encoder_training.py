"""Learn an encoder from published cells without labels, and publish it, so that networks can begin with it."""

from collections.abc import Callable, Sequence
from uuid import UUID

import numpy as np
import xarray
from numpy.typing import NDArray

from datacube_config.connection import Index
from flows.steps.index.catalogue import PublishedCell
from flows.steps.learning.cell_windows import feature_stack, opened_cell
from flows.steps.learning.feature_cells import FeatureCells
from flows.steps.learning.model_documents import ModelDraft
from flows.steps.learning.model_files import ENCODER, ModelFiles
from flows.steps.learning.network_training import NETWORK_SOFTWARE, TrainingResources
from flows.steps.learning.training import TrainedModel, found_model, learned_id, published_model, software_versions
from flows.steps.networks.deep_packages import require_deep
from flows.steps.networks.encoder_file import Encoder
from flows.steps.storage import Storage
from products.devices import Backend
from products.errors import RequestError
from products.learning.encoder_card import EncoderFacts, encoder_document, encoder_markdown
from products.learning.masked_recipe import MaskedRecipe
from products.learning.masking import CellPixels, patch_places

MASKED_VERSION = "masked-2"
SOFTWARE = ("neocube", "numpy", *NETWORK_SOFTWARE)


def learn_encoder(
    index: Index, storage: Storage, recipe: MaskedRecipe, inputs: FeatureCells, backend: Backend, resources: TrainingResources,
    tell: Callable[[str], None] | None = None,
) -> TrainedModel:  # fmt: skip
    """The encoder of this recipe and these cells: learned and published, or found if it is the active one already; RequestError without the extra `deep`."""
    require_deep()
    from flows.steps.networks.pretraining import MaskedTrainingData, pretrain
    from flows.steps.networks.training_loop import TrainerOptions

    number = learned_id(recipe, inputs.ids, MASKED_VERSION)
    files = ModelFiles(storage, recipe.name, number, ENCODER)
    if found := found_model(index, files, number, recipe, inputs):
        return found
    placed = [cell for _, _, cell in inputs.placed]
    names = _names(storage, placed)
    train, validation = patch_places([_ground(storage, cell) for cell in placed], recipe.masked, recipe.seed)
    data = MaskedTrainingData(
        recipe.masked, names, lambda place: _features(storage, placed[place]), train, validation, recipe.seed
    )
    options = TrainerOptions(resources.folder / str(number), backend.device, resources.devices, resources.nodes)
    encoder, told = pretrain(data, options, str(number), tell)
    facts = _facts(number, encoder, inputs, sum(map(len, train)), backend)
    card = encoder_document(recipe, facts, told)
    draft = ModelDraft(number, recipe, encoder, card, inputs.grid.mosaic(inputs.tiles), inputs.periods)
    beside = {"card.md": encoder_markdown(recipe, facts, told).encode()}
    trained = published_model(index, files, draft, beside, inputs)
    resources.forget(number)
    return trained


def _names(storage: Storage, placed: Sequence[PublishedCell]) -> tuple[str, ...]:
    """The features of the cells; RequestError where two have others."""
    found = {tuple(map(str, _stack(storage, cell)["feature"].values)) for cell in placed}
    if len(found) > 1:
        raise RequestError("the cells have different features: build them again, all of them by one recipe")
    return found.pop()


def _stack(storage: Storage, cell: PublishedCell) -> xarray.DataArray:
    return feature_stack(opened_cell(storage, cell))


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
        cells=tuple(sorted(map(str, inputs.ids))),
        n_places=n_patches,
        device=backend.device,
        software=software_versions(SOFTWARE),
        n_stale_cells=inputs.n_stale,
        features_version=inputs.recipe.version,
    )
