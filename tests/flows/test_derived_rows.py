"""The row and the lineage of what is made of other datasets: as ODC's own way writes them, with each driver."""

import copy
from typing import Any
from uuid import UUID, uuid4

import pytest
from datacube.index.hl import Doc2Dataset

from flows.steps.index.catalogue import published_cells
from flows.steps.index.derived_rows import LineageLost, add_derived
from flows.steps.index.index_rows import source_ids
from products.period import parse_period


def documents(product: Any, n: int) -> tuple[list[UUID], dict[str, Any]]:
    """The ids of n cells, and a document of one of them as a new cell that is made of these."""
    cells = published_cells(product.index, "known_features", 1, [parse_period("2019"), parse_period("2020")])
    numbers = [cell.id for cell in cells.values()][:n]
    row = product.index.dc.index.datasets.get(numbers[0])
    document = copy.deepcopy(row.metadata_doc)
    return numbers, {**document, "id": str(uuid4()), "lineage": {"scene": [str(number) for number in numbers]}}


@pytest.mark.parametrize("name", ["published", "published_on_postgis"])
@pytest.mark.parametrize("n", [1, 3])
def test_a_row_and_its_lineage_are_those_of_odc(request: pytest.FixtureRequest, name: str, n: int) -> None:
    product = request.getfixturevalue(name)
    datasets = product.index.dc.index.datasets
    sources, document = documents(product, n)
    theirs = {**copy.deepcopy(document), "id": str(uuid4())}
    add_derived(product.index, document, "file:///ours/zarr.json")
    made, error = Doc2Dataset(product.index.dc.index, products=["known_features"])(theirs, "file:///theirs/zarr.json")
    assert error is None
    datasets.add(made, with_lineage=True)
    ours, theirs_row = (datasets.get(UUID(each["id"]), include_sources=True) for each in (document, theirs))
    assert source_ids(product.index, ours.id) == source_ids(product.index, theirs_row.id) == sorted(sources)
    assert {**ours.metadata_doc, "id": ""} == {**theirs_row.metadata_doc, "id": ""}
    assert ours.uri == "file:///ours/zarr.json"
    if product.index.driver == "postgres":
        assert {key: each.id for key, each in ours.sources.items()} == {
            key: each.id for key, each in theirs_row.sources.items()
        }
    datasets.purge([ours.id, theirs_row.id], allow_delete_active=True)


def test_a_source_that_is_not_there_is_told_and_nothing_is_added(published: Any) -> None:
    _, document = documents(published, 1)
    document["lineage"]["scene"].append(str(uuid4()))
    with pytest.raises(LineageLost, match="a source of .* is not in the index: it is not added"):
        add_derived(published.index, document, "file:///ours/zarr.json")
    assert published.index.dc.index.datasets.get(UUID(document["id"])) is None
