"""Builds of one product at once: of the cells that they publish at one tile and period, one is active."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any
from uuid import UUID, uuid5

import pytest
from sqlalchemy import text

import flows.steps.cubes.cells
from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.index.index_setup import add_product
from flows.steps.storage import Storage
from products.identity import NAMESPACE, CellKey
from products.template import odc_product_definition
from tests.flows.conftest import GRID, PERIODS, TEMPLATE, TILES, known_arrays, window

KEY = CellKey(TEMPLATE.product, TEMPLATE.version, TILES[0], PERIODS[0])
MEETING_S = 2.0


def publish(index: Index, storage: Storage, name: str) -> UUID:
    """A cell of the same tile and period as all others, its id by a name."""
    content: dict[str, Any] = {each: array[:1, ..., *window(KEY.tile)] for each, array in known_arrays().items()}
    draft = CellDraft(uuid5(NAMESPACE, name), KEY, TEMPLATE, GRID, "digest", {})
    assert publish_cell(index, storage, draft, content)
    return draft.id


def active(index: Index) -> list[UUID]:
    return [row.id for row in index.dc.index.datasets.search(product=TEMPLATE.product)]


def reasons(index: Index) -> dict[UUID, str]:
    with index.engine.connect() as connection:
        rows = connection.execute(text("select dataset_id, reason from neocube.archive_reason")).all()
    return {UUID(str(number)): reason for number, reason in rows}


def test_of_two_cells_that_are_published_at_once_one_is_active(
    any_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, both, add = Storage(str(tmp_path / "store")), Barrier(2), flows.steps.cubes.cells._add

    def adding(*arguments: Any) -> None:
        with suppress(BrokenBarrierError):
            both.wait(MEETING_S)
        add(*arguments)

    def build(name: str) -> UUID:
        with open_index(any_settings) as index:
            return publish(index, storage, name)

    monkeypatch.setattr(flows.steps.cubes.cells, "_add", adding)
    with open_index(any_settings) as index:
        add_product(index.dc, odc_product_definition(TEMPLATE))
        with ThreadPoolExecutor(2) as pool:
            cells = set(pool.map(build, ["one", "other"]))
        found = active(index)
        assert len(found) == 1
        (replaced,) = cells - {*found}
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
