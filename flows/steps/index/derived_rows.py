"""Datasets that are made of others, such as cells, training sets and models: their rows with their lineage."""

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from datacube.index.exceptions import MissingRecordError
from datacube.model import Dataset, LineageTree

from datacube_config.connection import Index
from flows.steps.index.revised_scenes import ANY_CHANGE
from flows.steps.loading.dataset_location import dataset_location
from flows.steps.scenes.eo3_geometry import extent
from products.covered_ground import covered_ground, cut_to_bend
from products.template import CELL_KIND

CONTENT_DIGEST = "neocube:content_digest"


class LineageLost(RuntimeError):
    """A source of a dataset is not in the index."""


class _Source(NamedTuple):
    id: UUID


def add_derived(index: Index, document: dict[str, Any], location: str) -> None:
    """Add the dataset of an EO3 document of a known product, and its lineage by the ids of its sources; LineageLost, RuntimeError if the index refuses it.

    ODC's `Doc2Dataset` with lineage reads each source and what that is made of first, which takes seconds where a cell has a hundred scenes.
    """
    number, sources = UUID(document["id"]), document["lineage"]
    dataset = _without_lineage(index, document, location)
    if index.dc.index.supports_external_lineage:
        dataset.source_tree = LineageTree.from_data(number, sources=sources)
    else:
        dataset.sources = {name: _Source(source) for name, source in _classified(sources).items()}
    try:
        index.dc.index.datasets.add(dataset, with_lineage=False)
    except MissingRecordError as missing:
        raise LineageLost(
            f"a source of {document['label']}, {number}, is not in the index: it is not added"
        ) from missing


def publish_derived(
    index: Index, row: Dataset | None, location: str, digest: str, document: Callable[[], dict[str, Any]]
) -> None:
    """Make a dataset active whose files lie at a location with a content of this digest; `row` is what the index has of it, archived or not.

    It is added, or restored, its document put anew, with the lineage of before, where the row says another location or digest. Errors of `add_derived`.
    """
    if row is None:
        add_derived(index, document(), location)
        return
    if (dataset_location(row), row.metadata_doc["properties"][CONTENT_DIGEST]) != (location, digest):
        index.dc.index.datasets.update(_without_lineage(index, document(), location), ANY_CHANGE)
    if row.is_archived:
        index.dc.index.datasets.restore([row.id])


def unmeasured_product(name: str, title: str) -> dict[str, Any]:
    """The ODC product of what has no measurements, such as a model or a training set, and is found by name, place and time."""
    return {
        "name": name,
        "description": title or name,
        "metadata_type": CELL_KIND,
        "metadata": {"product": {"name": name}},
        "measurements": [],
    }


def active_rows(index: Index, product: str) -> list[Dataset]:
    """The active rows of a product; none of one that the index does not know."""
    known = index.dc.index.products.get_by_name(product)
    return [] if known is None else list(index.dc.index.datasets.search(product=product))


def family_of(row: Dataset) -> str | None:
    """The family of products that a row belongs to; None of the cells of features."""
    return row.metadata_doc["properties"].get("odc:product_family")


def names_of_family(index: Index, family: str) -> list[str]:
    """The products whose active rows are of a family."""
    names = [each.name for each in index.dc.index.products.get_all() if each.metadata_type.name == CELL_KIND]
    firsts = ((name, row) for name in names for row in index.dc.index.datasets.search(product=name, limit=1))
    return sorted(name for name, row in firsts if family_of(row) == family)


def as_uuid(text: str) -> UUID | None:
    """The id that a text is; None of another text."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _without_lineage(index: Index, document: dict[str, Any], location: str) -> Dataset:
    from datacube.index.hl import Doc2Dataset  # brings a JSON schema grammar that takes seconds to load

    resolve = Doc2Dataset(
        index.dc.index, products=[document["product"]["name"]], skip_lineage=True, verify_lineage=False
    )
    dataset, error = resolve({**document, "lineage": {}}, location)
    if dataset is None:
        raise RuntimeError(f"the index refuses {document['label']}, {document['id']}: {error}")
    _bend(dataset)
    return dataset


def _bend(dataset: Dataset) -> None:
    """Have the footprint and the bounds of a dataset follow its edges, which ODC takes for straight in degrees between its corners."""
    ground, document = dataset.extent, dataset.metadata_doc
    document["grid_spatial"]["projection"]["valid_data"] = cut_to_bend(ground).json
    document["extent"] = extent(covered_ground(ground).boundingbox.bbox)


def _classified(sources: dict[str, list[str]]) -> dict[str, UUID]:
    """Sources as the driver `postgres` keeps them: `scene`, or `scene1`, `scene2`, … where there are several (datacube.index.eo3.prep_eo3)."""
    return {
        name if len(ids) == 1 else f"{name}{place}": UUID(source)
        for name, ids in sources.items()
        for place, source in enumerate(ids, start=1)
    }
