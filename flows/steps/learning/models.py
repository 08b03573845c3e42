"""Models in the store and in the index: the files first, the dataset row last; the active row is the promoted model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from datacube.model import Dataset
from odc.geo.geobox import GeoBox

from datacube_config.connection import Index
from flows.steps.cubes.cells import EO3, writer_of
from flows.steps.index.index_setup import add_product
from flows.steps.index.scene_index import record_reasons
from flows.steps.learning.model_files import CARD, COMPONENTS, FOREST, NETWORK, ModelFiles, read_card, read_learned
from flows.steps.networks.network import Network
from flows.steps.storage import Storage
from products.errors import RequestError
from products.formula import near
from products.learning.components import Components
from products.learning.forest import Forest
from products.learning.pca_recipe import PcaRecipe
from products.learning.recipe import LearnedRecipe, ModelRecipe
from products.period import Period


@dataclass(frozen=True, slots=True)
class ModelDraft:
    """A model or transform ready to publish; `geobox` and `periods` say where and when it was learned."""

    id: UUID
    recipe: LearnedRecipe
    learned: Forest | Components | Network
    card: Mapping[str, Any]
    geobox: GeoBox
    periods: tuple[Period, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A published model, ready to use."""

    id: UUID
    recipe: ModelRecipe
    forest: Forest | Network
    digest: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Transform:
    """A published transform, ready to use."""

    id: UUID
    recipe: PcaRecipe
    components: Components
    digest: str


def publish_model(
    index: Index, files: ModelFiles, draft: ModelDraft, extra: Mapping[str, bytes], cells: Sequence[UUID]
) -> None:
    """Write the files, read what was learned back, then make the model the active one of its name and version. StorageLost."""
    add_product(index.dc, product_definition(draft.recipe))
    with writer_of(index, draft.id):
        with files.storage.writing(files.folder, f"the model {draft.recipe.name}"):
            _write_files(files, draft, extra)
        with index.dc.index.transaction():
            replaced = _archive_others(index, draft.id, draft.recipe)
            row = find_model_row(index, draft.id)
            if row is None:
                _add(index, files, draft, cells)
            elif row.is_archived:
                index.dc.index.datasets.restore([draft.id])
        record_reasons(index, dict.fromkeys(replaced, f"replaced by {draft.id}"), "train")


def _write_files(files: ModelFiles, draft: ModelDraft, extra: Mapping[str, bytes]) -> None:
    """All files of a model, the card last; OSError if what was learned reads back otherwise."""
    metrics = json.dumps(draft.card["metrics"], indent=2).encode()
    for name, content in {files.learned: draft.learned.to_bytes(), **extra, "metrics.json": metrics}.items():
        files.storage.write_bytes(files.path(name), content)
    files.storage.write_bytes(files.path(CARD), json.dumps(draft.card, indent=2).encode())
    if read_learned(files).digest() != draft.learned.digest():
        raise OSError(f"{files.learned} reads back otherwise than it was written: the store changed bytes")


def promote_model(index: Index, number: UUID, recipe: LearnedRecipe) -> None:
    """Make a model that is in the index the active one of its name and version."""
    with writer_of(index, number):
        with index.dc.index.transaction():
            replaced = _archive_others(index, number, recipe)
            index.dc.index.datasets.restore([number])
        record_reasons(index, dict.fromkeys(replaced, f"replaced by {number}"), "train")


def _archive_others(index: Index, number: UUID, recipe: LearnedRecipe) -> list[UUID]:
    others = [each.id for each in _active(index, recipe.name) if each.id != number and _version(each) == recipe.version]
    index.dc.index.datasets.archive(others)
    return others


def product_definition(recipe: LearnedRecipe) -> dict[str, Any]:
    """The ODC product of a model: no measurements, found by name, place and time of learning."""
    return {
        "name": recipe.name,
        "description": recipe.title or recipe.name,
        "metadata_type": "neocube_cell",
        "metadata": {"product": {"name": recipe.name}},
        "measurements": [],
    }


def find_model(index: Index, storage: Storage, name_or_id: str) -> Model | Transform:
    """The active model or transform of the highest version of a name, or that with the id; RequestError otherwise."""
    row = find_model_row(index, _as_uuid(name_or_id)) if _as_uuid(name_or_id) else _newest(index, name_or_id)
    if row is None or row.metadata_doc["properties"].get("odc:product_family") != "model":
        known = _model_names(index)
        raise RequestError(
            f"unknown model {name_or_id!r}: expected the name or the id of a trained model"
            f"{near(name_or_id, known) if known else '; none is trained yet: run `neocube train`'}"
        )
    beside = row.metadata_doc["accessories"]
    learned_file = next((name for name in (COMPONENTS, NETWORK) if name.partition(".")[0] in beside), FOREST)
    files = ModelFiles(storage, row.product.name, row.id, learned_file)
    if not files.are_whole():
        raise RequestError(f"the files of the model {row.id} are not in {storage.root}: train it again")
    card = read_card(files)
    learned, said = read_learned(files), row.metadata_doc["properties"]["neocube:content_digest"]
    if learned.digest() != said:
        raise RequestError(
            f"{files.path(learned_file)} is not the file that was published (digest differs): train it again"
        )
    if isinstance(learned, Components):
        return Transform(row.id, PcaRecipe.model_validate(card["recipe"]), learned, said)
    return Model(row.id, ModelRecipe.model_validate(card["recipe"]), learned, said, bool(card["simulated"]))


def find_model_row(index: Index, number: UUID | None) -> Dataset | None:
    """The dataset of a model, archived or not."""
    return None if number is None else index.dc.index.datasets.get(number)


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _active(index: Index, name: str) -> list[Dataset]:
    return list(index.dc.index.datasets.search(product=name))


def _newest(index: Index, name: str) -> Dataset | None:
    if index.dc.index.products.get_by_name(name) is None:
        return None
    return max(_active(index, name), key=_version, default=None)


def _model_names(index: Index) -> list[str]:
    """Products whose active rows are models."""
    names = (each.name for each in index.dc.index.products.get_all() if each.metadata_type.name == "neocube_cell")
    found = []
    for name in names:
        first = next(iter(index.dc.index.datasets.search(product=name, limit=1)), None)
        if first is not None and first.metadata_doc["properties"].get("odc:product_family") == "model":
            found.append(name)
    return sorted(found)


def _version(row: Dataset) -> int:
    return int(row.metadata_doc["properties"]["neocube:product_version"])


def _add(index: Index, files: ModelFiles, draft: ModelDraft, cells: Sequence[UUID]) -> None:
    from datacube.index.hl import Doc2Dataset  # brings a JSON schema grammar that takes seconds to load

    resolve = Doc2Dataset(index.dc.index, products=[draft.recipe.name], skip_lineage=False, verify_lineage=False)
    dataset, error = resolve(model_document(draft, files.learned, cells), files.url(CARD))
    if dataset is None:
        raise RuntimeError(f"the index refuses the model {draft.id}: {error}")
    index.dc.index.datasets.add(dataset, with_lineage=True)


def model_document(draft: ModelDraft, learned_file: str, cells: Sequence[UUID]) -> dict[str, Any]:
    """The EO3 document of a model; its place and time are those of its training cells."""
    simulated = draft.card["simulated"]
    start, end = min(p.start for p in draft.periods), max(p.end for p in draft.periods) - timedelta(microseconds=1)
    return {
        "$schema": EO3,
        "id": str(draft.id),
        "label": f"{draft.recipe.name} {draft.recipe.version} {str(draft.id)[:8]}",
        "product": {"name": draft.recipe.name},
        "crs": str(draft.geobox.crs),
        "geometry": draft.geobox.extent.json,
        "grids": {"default": {"shape": list(draft.geobox.shape), "transform": list(draft.geobox.affine)}},
        "properties": {
            "datetime": start.isoformat(),
            "dtr:start_datetime": start.isoformat(),
            "dtr:end_datetime": end.isoformat(),
            "odc:processing_datetime": datetime.now(UTC).isoformat(),
            "odc:file_format": learned_file.rpartition(".")[2],
            "odc:product_family": "model",
            "neocube:product_version": draft.recipe.version,
            "neocube:digest": draft.recipe.digest(),
            "neocube:content_digest": draft.learned.digest(),
            **({} if simulated is None else {"neocube:simulated": simulated}),
        },
        "measurements": {},
        "accessories": {"card": {"path": "card.md"}, learned_file.partition(".")[0]: {"path": learned_file}},
        "lineage": {"features": [str(cell) for cell in cells]},
    }
