"""Models in the store and in the index: the files first, the dataset row last; the active row is the promoted model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar
from uuid import UUID

from datacube.model import Dataset

from datacube_config.connection import Index
from flows.steps.index.advisory_locks import chooser_of_product, writer_of
from flows.steps.index.derived_rows import (
    CONTENT_DIGEST,
    active_rows,
    as_uuid,
    family_of,
    names_of_family,
    publish_derived,
    unmeasured_product,
)
from flows.steps.index.index_setup import add_product
from flows.steps.index.scene_index import record_reasons
from flows.steps.learning.applicability_file import read_applicability
from flows.steps.learning.learned_version import learned_version
from flows.steps.learning.model_documents import FAMILY, ModelDraft, model_document
from flows.steps.learning.model_files import CARD, STAC_ITEM, ModelFiles, learned_file, read_card, read_learned
from flows.steps.learning.model_stac import model_item
from flows.steps.networks.encoder_file import Encoder
from flows.steps.networks.weights_file import SavedNetwork
from flows.steps.storage import Storage
from products.devices import NETWORKS, Device, choose_backend
from products.errors import RequestError
from products.formula import near
from products.learning.applicability import Applicability
from products.learning.components import Components
from products.learning.learned import Learned
from products.learning.masked_recipe import MaskedRecipe
from products.learning.pca_recipe import PcaRecipe
from products.learning.recipe import LearnedRecipe, ModelRecipe


@dataclass(frozen=True, slots=True)
class Model:
    """A published model, ready to use; `features_version` is that of the cells it has learned from, None where nothing tells it."""

    id: UUID
    recipe: ModelRecipe
    learned: Learned
    digest: str
    simulated: bool
    files: ModelFiles
    applicability: Applicability
    features_version: int | None

    def on(self, device: str) -> "Model":
        """This model, asked on `auto`, `cpu` or `gpu`; RequestError for a GPU that is not there, or a model that none can ask."""
        lack = "" if isinstance(self.learned, SavedNetwork) else f"{self.learned.describe()} maps on the CPU"
        chosen = choose_backend(device, () if lack else NETWORKS, lack).device
        return replace(self, learned=self.learned.on(chosen)) if isinstance(self.learned, SavedNetwork) else self

    @property
    def device(self) -> Device:
        """Where it is asked."""
        return self.learned.device if isinstance(self.learned, SavedNetwork) else "cpu"


@dataclass(frozen=True, slots=True)
class Transform:
    """A published transform, ready to use."""

    id: UUID
    recipe: PcaRecipe
    components: Components
    digest: str
    features_version: int | None
    device: ClassVar[Device] = "cpu"

    def on(self, device: str) -> "Transform":
        """This transform, which has the CPU only; RequestError for a GPU."""
        choose_backend(device, (), "components are computed on the CPU")
        return self


@dataclass(frozen=True, slots=True)
class PublishedEncoder:
    """A published encoder, ready for a network to begin with."""

    id: UUID
    recipe: MaskedRecipe
    encoder: Encoder
    files: ModelFiles
    features_version: int | None


def publish_model(
    index: Index, files: ModelFiles, draft: ModelDraft, extra: Mapping[str, bytes], cells: Sequence[UUID]
) -> None:
    """Write the files, read what was learned back, then make the model the active one of its name and version. StorageLost."""
    add_product(index.dc, unmeasured_product(draft.recipe.name, draft.recipe.title))
    with writer_of(index, draft.id):
        with files.storage.writing(files.folder, f"the model {draft.recipe.name}"):
            _write_files(files, draft, extra)
        with chooser_of_product(index, draft.recipe.name, draft.recipe.version), index.dc.index.transaction():
            replaced = _archive_others(index, draft.id, draft.recipe)
            row = index.dc.index.datasets.get(draft.id)
            digest = draft.learned.digest()
            publish_derived(index, row, files.url(CARD), digest, lambda: model_document(draft, files.learned, cells))
        record_reasons(index, dict.fromkeys(replaced, f"replaced by {draft.id}"), "train")


def _write_files(files: ModelFiles, draft: ModelDraft, extra: Mapping[str, bytes]) -> None:
    """All files of a model, the card last; OSError if what was learned reads back otherwise."""
    card = json.dumps(draft.card, indent=2).encode()
    content = {files.learned: draft.learned.to_bytes(), **extra}
    content["metrics.json"] = json.dumps(draft.card["metrics"], indent=2).encode()
    if isinstance(draft.learned, Learned):
        item = model_item(draft, draft.learned, files.learned, content | {CARD: card})
        content[STAC_ITEM] = json.dumps(item, indent=2).encode()
    for name, written in content.items():
        files.storage.write_bytes(files.path(name), written)
    files.storage.write_bytes(files.path(CARD), card)
    if read_learned(files).digest() != draft.learned.digest():
        raise OSError(f"{files.learned} reads back otherwise than it was written: the store changed bytes")


def is_as_published(files: ModelFiles, row: Dataset) -> bool:
    """Whether the files of a model are there, and what was learned reads back as its row says."""
    if not files.are_whole():
        return False
    try:
        return read_learned(files).digest() == _digest(row)
    except RequestError:
        return False


def promote_model(index: Index, number: UUID, recipe: LearnedRecipe) -> None:
    """Make a model that is in the index the active one of its name and version."""
    with writer_of(index, number):
        with chooser_of_product(index, recipe.name, recipe.version), index.dc.index.transaction():
            replaced = _archive_others(index, number, recipe)
            index.dc.index.datasets.restore([number])
        record_reasons(index, dict.fromkeys(replaced, f"replaced by {number}"), "train")


def _archive_others(index: Index, number: UUID, recipe: LearnedRecipe) -> list[UUID]:
    others = [
        each.id for each in active_rows(index, recipe.name) if each.id != number and _version(each) == recipe.version
    ]
    index.dc.index.datasets.archive(others)
    return others


def find_model(index: Index, storage: Storage, name_or_id: str) -> Model | Transform:
    """The active model or transform of the highest version of a name, or that with the id; RequestError otherwise."""
    found = find_learned(index, storage, name_or_id)
    if isinstance(found, PublishedEncoder):
        raise RequestError(
            f"{name_or_id} is an encoder, which maps nothing: train a network that begins with it, by weights: model:{name_or_id}"
        )
    return found


def find_encoder(index: Index, storage: Storage, name_or_id: str) -> PublishedEncoder:
    """The active encoder of the highest version of a name, or that with the id; RequestError otherwise."""
    found = find_learned(index, storage, name_or_id)
    if not isinstance(found, PublishedEncoder):
        raise RequestError(f"the model {name_or_id} is no encoder: expected one learned by a recipe with `masked`")
    return found


def find_learned(index: Index, storage: Storage, name_or_id: str) -> Model | Transform | PublishedEncoder:
    """The active model, transform or encoder of the highest version of a name, or that with the id; RequestError otherwise."""
    files, learned, said = _found(index, storage, name_or_id)
    card = read_card(files)
    version = learned_version(index, card["trained_from"])
    if isinstance(learned, Encoder):
        return PublishedEncoder(files.id, MaskedRecipe.model_validate(card["recipe"]), learned, files, version)
    if isinstance(learned, Components):
        return Transform(files.id, PcaRecipe.model_validate(card["recipe"]), learned, said, version)
    area = read_applicability(files, card["metrics"]["applicability"]["digest"])
    recipe = ModelRecipe.model_validate(card["recipe"])
    return Model(files.id, recipe, learned, said, bool(card["simulated"]), files, area, version)


def _found(index: Index, storage: Storage, name_or_id: str) -> tuple[ModelFiles, Learned | Components | Encoder, str]:
    """The files of a published model, what was learned, and its digest."""
    number = as_uuid(name_or_id)
    row = index.dc.index.datasets.get(number) if number else _newest(index, name_or_id)
    if row is None or family_of(row) != FAMILY:
        known = names_of_family(index, FAMILY)
        raise RequestError(
            f"unknown model {name_or_id!r}: expected the name or the id of a trained model"
            f"{near(name_or_id, known) if known else '; none is trained yet: run `neocube train`'}"
        )
    named = [entry["path"] for entry in row.metadata_doc["accessories"].values()]
    files = ModelFiles(storage, row.product.name, row.id, learned_file(named, f"the model {row.id}"))
    if not files.are_whole():
        raise RequestError(f"the files of the model {row.id} are not in {storage.root}: train it again")
    learned, said = read_learned(files), _digest(row)
    if learned.digest() != said:
        raise RequestError(
            f"{files.path(files.learned)} is not the file that was published (digest differs): train it again"
        )
    return files, learned, said


def _newest(index: Index, name: str) -> Dataset | None:
    return max((row for row in active_rows(index, name) if family_of(row) == FAMILY), key=_version, default=None)


def _version(row: Dataset) -> int:
    return int(row.metadata_doc["properties"]["neocube:product_version"])


def _digest(row: Dataset) -> str:
    return str(row.metadata_doc["properties"][CONTENT_DIGEST])
