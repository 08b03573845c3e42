"""Work on one product at once: of the cells that are published at one tile and period one is active, as of training sets and models."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import pytest
from datacube.model import Product
from sqlalchemy import text

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.index import derived_rows
from flows.steps.index.index_setup import add_product
from flows.steps.learning.model_documents import ModelDraft
from flows.steps.learning.model_files import COMPONENTS, ModelFiles
from flows.steps.learning.models import publish_model
from flows.steps.sampling.sample_files import TABLE, SampleFiles
from flows.steps.sampling.sample_sets import SamplesDraft, publish_samples
from flows.steps.storage import Storage
from products.identity import NAMESPACE, CellKey
from products.learning.components import Components
from products.learning.pca_recipe import PcaRecipe
from products.learning.samples_recipe import SamplesRecipe
from products.template import odc_product_definition
from tests.flows.published_product import GRID, PERIODS, TEMPLATE, TILES, known_arrays, window
from tests.flows.sampled_coast import SAMPLES, YEAR

KEY = CellKey(TEMPLATE.product, TEMPLATE.version, TILES[0], PERIODS[0])
PCA = {
    "name": "coast_pca",
    "version": 1,
    "kind": "model",
    "features": "coast_features",
    "pca": {"components": 1},
    "map": {"name": "coast_components"},
}
MEETING_S = 2.0


def publish(index: Index, storage: Storage, name: str) -> UUID:
    """A cell of the same tile and period as all others, its id by a name."""
    content: dict[str, Any] = {each: array[:1, ..., *window(KEY.tile)] for each, array in known_arrays().items()}
    draft = CellDraft(uuid5(NAMESPACE, name), KEY, TEMPLATE, GRID, "digest", {})
    assert publish_cell(index, storage, draft, content)
    return draft.id


def active(index: Index, product: str = TEMPLATE.product) -> list[UUID]:
    return [row.id for row in index.dc.index.datasets.search(product=product)]


def reasons(index: Index) -> dict[UUID, str]:
    with index.engine.connect() as connection:
        rows = connection.execute(text("select dataset_id, reason from neocube.archive_reason")).all()
    return {UUID(str(number)): reason for number, reason in rows}


def draw(index: Index, storage: Storage, name: str) -> UUID:
    """A training set of the same recipe, area and period as all others, its id by a name."""
    about = {"area": "coast", "period": "2020", "content_digest": name, "simulated": True}

    def write(files: SampleFiles) -> dict[str, Any]:
        storage.write_bytes(files.path(TABLE), name.encode())
        return about

    recipe = SamplesRecipe.model_validate(SAMPLES)
    geobox = GRID.geobox(TILES[0])
    return publish_samples(
        index, storage, SamplesDraft(uuid5(NAMESPACE, name), recipe, geobox, YEAR, [], write)
    ).files.id


def learn(index: Index, storage: Storage, name: str, mean: float = 1.0) -> UUID:
    """A transform of the same recipe as all others, its id by a name, whatever it learned."""
    number, n = uuid5(NAMESPACE, name), np.ones(2)
    recipe = PcaRecipe.model_validate(PCA)
    components = Components(("red", "nir"), mean * n, n, np.ones((1, 2)))
    card = {"metrics": {}, "simulated": True, "inputs": {}, "device": "cpu"}
    draft = ModelDraft(number, recipe, components, card, GRID.geobox(TILES[0]), (YEAR,))
    publish_model(index, ModelFiles(storage, recipe.name, number, COMPONENTS), draft, {}, [])
    return number


@pytest.mark.parametrize(
    ("product", "publishing"), [(TEMPLATE.product, publish), (SAMPLES["name"], draw), ("coast_pca", learn)]
)
def test_of_two_that_are_published_at_once_one_is_active(
    product: str, publishing: Callable[[Index, Storage, str], UUID],
    any_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    storage, both, add = Storage(str(tmp_path / "store")), Barrier(2), derived_rows.add_derived

    def adding(*arguments: Any) -> None:
        with suppress(BrokenBarrierError):
            both.wait(MEETING_S)
        add(*arguments)

    def build(name: str) -> UUID:
        with open_index(any_settings) as index:
            return publishing(index, storage, name)

    monkeypatch.setattr(derived_rows, "add_derived", adding)
    with open_index(any_settings) as index:
        add_product(index.dc, odc_product_definition(TEMPLATE))
        with ThreadPoolExecutor(2) as pool:
            made = set(pool.map(build, ["one", "other"]))
        found = active(index, product)
        assert len(found) == 1
        (replaced,) = made - {*found}
        assert reasons(index) == {replaced: f"replaced by {found[0]}"}


def test_a_cell_replaces_all_that_are_active_at_its_place(index: Index, tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "store"))
    add_product(index.dc, odc_product_definition(TEMPLATE))
    left = [publish(index, storage, name) for name in ("one", "other")]
    index.dc.index.datasets.restore(left)
    assert sorted(active(index)) == sorted(left)
    last = publish(index, storage, "last")
    assert active(index) == [last]
    assert all(reasons(index)[number] == f"replaced by {last}" for number in left)


def test_a_product_that_is_defined_twice_at_once_is_one(
    any_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Barrier(2)

    def define(_: int) -> None:
        with open_index(any_settings) as index:
            held, known = index.dc.index.products, []

            def add(wanted: Product, allow_table_lock: bool = False) -> Product | None:
                known.append(wanted.name)
                both.wait(MEETING_S)
                return type(held).add(held, wanted, allow_table_lock)

            monkeypatch.setattr(held, "add", add)
            add_product(index.dc, odc_product_definition(TEMPLATE))
            assert known == [TEMPLATE.product]

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(define, range(2)))
    with open_index(any_settings) as index:
        assert index.dc.index.products.get_by_name(TEMPLATE.product) is not None
