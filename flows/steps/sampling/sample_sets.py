"""Training sets in the index: files first, the dataset row last, never overwritten, found by name or id."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from datacube.model import Dataset
from odc.geo.geobox import GeoBox

from datacube_config.connection import Index
from flows.steps.cubes.cells import EO3
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
from flows.steps.sampling.sample_files import CHIPS, DOCUMENT, PICTURE, TABLE, SampleFiles
from flows.steps.storage import Storage
from products.errors import RequestError
from products.formula import near
from products.learning.samples_recipe import SamplesRecipe
from products.period import Period

FAMILY = "samples"
WriteFiles = Callable[[SampleFiles], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SampleSet:
    """A published training set: its files and what is known of it."""

    files: SampleFiles
    about: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SamplesDraft:
    """A training set ready to publish; `write` puts its files, all but the document, into its folder and says what is known of them."""

    id: UUID
    recipe: SamplesRecipe
    geobox: GeoBox
    span: Period
    cells: Sequence[UUID]
    write: WriteFiles


def publish_samples(index: Index, storage: Storage, draft: SamplesDraft) -> SampleSet:
    """Write the files and then the row; the sets of the same recipe, area and period that it replaces are archived. StorageLost."""
    files = SampleFiles(storage, draft.recipe.name, draft.id, content_of(draft.recipe))
    add_product(index.dc, unmeasured_product(draft.recipe.name, draft.recipe.title))
    with writer_of(index, draft.id):
        if not files.are_whole():
            _write(files, draft)
        published = SampleSet(files, files.document())
        _make_active(index, published, draft)
    return published


def _write(files: SampleFiles, draft: SamplesDraft) -> None:
    """All files of a set, its document last; nothing is left of one that cannot be drawn."""
    storage = files.storage
    with storage.writing(files.folder, f"the training set {draft.recipe.name}"):
        storage.remove(files.folder)
        try:
            storage.write_bytes(files.path(DOCUMENT), json.dumps(draft.write(files), indent=2).encode())
        except RequestError:
            storage.remove(files.folder)
            raise


def found_samples(index: Index, storage: Storage, recipe: SamplesRecipe, number: UUID) -> SampleSet | None:
    """The set of this id, if it was drawn and its files are whole; it is active from now on."""
    row = index.dc.index.datasets.get(number)
    files = SampleFiles(storage, recipe.name, number, content_of(recipe))
    if row is None or not files.are_whole():
        return None
    if row.is_archived:
        with (
            writer_of(index, number),
            chooser_of_product(index, recipe.name, recipe.version),
            index.dc.index.transaction(),
        ):
            _archive_others(index, row)
            index.dc.index.datasets.restore([number])
    return SampleSet(files, files.document())


def find_samples(index: Index, storage: Storage, name_or_id: str) -> SampleSet:
    """The set of an id, archived or not, or the one of a name; RequestError if there is none, or several of the newest version."""
    number = as_uuid(name_or_id)
    row = index.dc.index.datasets.get(number) if number else _only(index, name_or_id)
    if row is None or family_of(row) != FAMILY:
        known = names_of_family(index, FAMILY)
        raise RequestError(
            f"unknown samples {name_or_id!r}: expected the name or the id of a training set"
            f"{near(name_or_id, known) if known else '; none is drawn yet: run `neocube sample`'}"
        )
    content = CHIPS if "chips" in row.metadata_doc["accessories"] else TABLE
    files = SampleFiles(storage, row.product.name, row.id, content)
    if not files.are_whole():
        raise RequestError(f"the files of the training set {row.id} are not in {storage.root}: draw it again")
    return SampleSet(files, files.document())


def content_of(recipe: SamplesRecipe) -> str:
    """The file that the samples of a recipe lie in."""
    return CHIPS if recipe.chips else TABLE


def _make_active(index: Index, published: SampleSet, draft: SamplesDraft) -> None:
    with chooser_of_product(index, draft.recipe.name, draft.recipe.version), index.dc.index.transaction():
        row = index.dc.index.datasets.get(draft.id)
        location, about = published.files.url(DOCUMENT), published.about
        publish_derived(index, row, location, about["content_digest"], lambda: samples_row(draft, about))
        replaced = _archive_others(index, index.dc.index.datasets.get(draft.id))
    record_reasons(index, dict.fromkeys(replaced, f"replaced by {draft.id}"), "sample")


def _archive_others(index: Index, row: Dataset) -> list[UUID]:
    """Archive the active sets of the same version, area and period."""
    others = [
        each.id for each in active_rows(index, row.product.name) if each.id != row.id and _place(each) == _place(row)
    ]
    index.dc.index.datasets.archive(others)
    return others


def _place(row: Dataset) -> tuple[int, str, str]:
    facts = row.metadata_doc["properties"]
    return int(facts["neocube:product_version"]), facts["neocube:area"], facts["neocube:period"]


def _only(index: Index, name: str) -> Dataset | None:
    rows = [row for row in active_rows(index, name) if family_of(row) == FAMILY]
    newest = [row for row in rows if _place(row)[0] == max(_place(each)[0] for each in rows)]
    if len(newest) > 1:
        known = "; ".join(sorted(f"{row.id} of {_place(row)[1]} in {_place(row)[2]}" for row in newest))
        raise RequestError(f"there are {len(newest)} training sets {name}: expected the id of one of them ({known})")
    return newest[0] if newest else None


def samples_row(draft: SamplesDraft, about: Mapping[str, Any]) -> dict[str, Any]:
    """The EO3 document of a training set; its place and time are those of its cells."""
    content = content_of(draft.recipe)
    return {
        "$schema": EO3,
        "id": str(draft.id),
        "label": f"{draft.recipe.name} {draft.recipe.version} {str(draft.id)[:8]}",
        "product": {"name": draft.recipe.name},
        "crs": str(draft.geobox.crs),
        "geometry": draft.geobox.extent.json,
        "grids": {"default": {"shape": list(draft.geobox.shape), "transform": list(draft.geobox.affine)}},
        "properties": {
            "datetime": draft.span.start.isoformat(),
            "dtr:start_datetime": draft.span.start.isoformat(),
            "dtr:end_datetime": (draft.span.end - timedelta(microseconds=1)).isoformat(),
            "odc:processing_datetime": datetime.now(UTC).isoformat(),
            "odc:file_format": "zarr" if content == CHIPS else "parquet",
            "odc:product_family": FAMILY,
            "neocube:product_version": draft.recipe.version,
            "neocube:area": about["area"],
            "neocube:period": about["period"],
            "neocube:digest": draft.recipe.digest(),
            CONTENT_DIGEST: about["content_digest"],
            "neocube:simulated": about["simulated"],
        },
        "measurements": {},
        "accessories": {content.partition(".")[0]: {"path": content}, "picture": {"path": PICTURE}},
        "lineage": {"features": [str(cell) for cell in draft.cells]},
    }
