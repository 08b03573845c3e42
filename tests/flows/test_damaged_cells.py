"""A cell whose archived files are lost or damaged is written anew when it comes back, and its row says what is there then."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.steps.cubes.cell_store import stored_digest, verify_cell
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.index.index_setup import add_product
from flows.steps.storage import Storage
from products.identity import NAMESPACE, CellKey
from products.template import odc_product_definition
from tests.flows.published_product import GRID, PERIODS, TEMPLATE, TILE_PX, TILES, known_arrays, window

KEY = CellKey(TEMPLATE.product, TEMPLATE.version, TILES[0], PERIODS[0])
SHARD = "features/c/0/0/0/0"


def draft(name: str, **properties: Any) -> CellDraft:
    return CellDraft(uuid5(NAMESPACE, name), KEY, TEMPLATE, GRID, "digest", {}, properties)


def content(more: float = 0.0) -> dict[str, Any]:
    """The arrays of the cell; of another device its features differ a little."""
    arrays: dict[str, Any] = {each: array[:1, ..., *window(KEY.tile)] for each, array in known_arrays().items()}
    return {**arrays, "features": arrays["features"] + arrays["features"].dtype.type(more)}


@pytest.mark.parametrize(
    "damage",
    [
        lambda cell: (cell / SHARD).unlink(),
        lambda cell: (cell / SHARD).write_bytes((cell / SHARD).read_bytes()[:-9]),
        lambda cell: (cell / "zarr.json").write_text('{"zarr_format": 3,'),
        lambda cell: (cell / "zarr.json").unlink(),
    ],
    ids=["a lost shard", "a cut shard", "cut metadata", "lost metadata"],
)
def test_a_cell_that_comes_back_to_damaged_files_is_written_anew(
    any_settings: Settings, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    storage = Storage(str(tmp_path / "store"))
    with open_index(any_settings) as index:
        add_product(index.dc, odc_product_definition(TEMPLATE))
        first, other = draft("first", **{"neocube:device": "cpu"}), draft("other")
        assert publish_cell(index, storage, first, content())
        assert publish_cell(index, storage, other, content())
        cell = tmp_path / "store" / "cells" / TEMPLATE.product / str(first.id)
        before = stored_digest(storage, str(cell))
        damage(cell)
        assert publish_cell(index, storage, draft("first", **{"neocube:device": "gpu"}), content(1e-3))
        digest = stored_digest(storage, str(cell))
        verify_cell(storage, str(cell), TEMPLATE, TILE_PX, digest)
        row = index.dc.index.datasets.get(first.id)
        assert row is not None and not row.is_archived and digest != before
        said = row.metadata_doc["properties"]
        assert (said["neocube:content_digest"], said["neocube:device"]) == (digest, "gpu")
        assert active(index) == [first.id]
        assert not publish_cell(index, storage, first, content())


def active(index: Any) -> list[UUID]:
    return [row.id for row in index.dc.index.datasets.search(product=TEMPLATE.product)]


def test_a_store_that_changes_bytes_fails_its_cells_and_not_the_build(
    ingested_settings: Settings, small_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = Storage.view

    def changed(self: Storage, path: str) -> memoryview:
        found = bytearray(view(self, path))
        found[len(found) // 2] ^= 1
        return memoryview(found)

    monkeypatch.setattr(Storage, "view", changed)
    report = build(str(small_recipe), "demo", "2020")
    assert report["built"] == 0 and report["cube"] is None and len(report["failed"]) >= 4
    assert all(re.search("reads? back", each["cause"]) for each in report["failed"])
