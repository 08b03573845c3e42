"""The row and the lineage of what is made of other datasets: as ODC's own way writes them, with each driver."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from datacube.index.hl import Doc2Dataset

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.index.catalogue import published_cells
from flows.steps.index.derived_rows import LineageLost, add_derived
from flows.steps.index.index_rows import source_ids
from flows.steps.learning.model_files import COMPONENTS, ModelFiles, read_learned
from flows.steps.loading.dataset_location import dataset_location
from flows.steps.storage import Storage
from products.period import parse_period
from tests.flows.test_builds_at_once import draw, learn


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


@pytest.mark.parametrize("publishing", [draw, learn])
def test_what_is_published_again_in_another_store_lies_there(
    publishing: Callable[[Index, Storage, str], UUID], any_settings: Settings, tmp_path: Path
) -> None:
    stores = [tmp_path / "old", tmp_path / "new"]
    with open_index(any_settings) as index:
        numbers = {publishing(index, Storage(str(store)), "one") for store in stores}
        (row,) = index.dc.index.datasets.bulk_get(numbers)
        assert dataset_location(row).startswith(stores[1].as_uri()) and not row.is_archived


def test_the_row_of_a_model_that_is_learned_anew_is_that_of_what_was_learned(
    any_settings: Settings, tmp_path: Path
) -> None:
    storage = Storage(str(tmp_path / "store"))
    with open_index(any_settings) as index:
        number = learn(index, storage, "one")
        shutil.rmtree(tmp_path / "store")
        assert learn(index, storage, "one", mean=2.0) == number
        row = index.dc.index.datasets.get(number)
        learned = read_learned(ModelFiles(storage, "coast_pca", number, COMPONENTS))
        assert row is not None and row.metadata_doc["properties"]["neocube:content_digest"] == learned.digest()
