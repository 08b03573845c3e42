"""Another store from now on: cells stay where their rows say, cubes take them from there, and what was lost with the old store is built anew."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from datacube_config.connection import open_index
from datacube_config.errors import StorageLost
from datacube_config.settings import Settings, get_settings
from flows.build_here import build
from flows.cli import main
from flows.plan_cells import plan
from flows.retire import retire_selected
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.cubes.snapshot import _link
from flows.steps.index.catalogue import published_cells
from flows.steps.storage import Storage, open_storage
from flows.steps.upkeep.retire_selection import Selection
from flows.steps.upkeep.storage_check import stored_orphans
from products.period import parse_period
from products.registry import features_recipe
from tests.flows.test_growing_cubes import AREA, HALVES, STARTS, half_years

__all__ = ["half_years"]
PLACE = "100.8487,4.9497"


def locations(settings: Settings, recipe: str) -> dict[str, str]:
    """Of a cell of each period, where its row says that it lies."""
    read = features_recipe(recipe)
    with open_index(settings) as index:
        cells = published_cells(index, read.name, read.version, read.periods_in(parse_period("2020")))
    return {period: cell.location for (_, period), cell in cells.items()}


def passport(recipe: str, period: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["passport", recipe, "--at", PLACE, "--period", period, "--json"])
    return done.exit_code, done.stderr


def test_a_cube_in_another_store_takes_the_cells_of_before_from_where_they_lie(
    ingested_settings: Settings, half_years: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(half_years, AREA, HALVES[0])
    monkeypatch.setenv("NEOCUBE_STORE_URL", str(tmp_path / "larger disk"))
    second = build(half_years, AREA, HALVES[1])
    assert (second["built"] > 0, second["failed"]) == (True, []) and "larger%20disk" in Path(second["cube"]).as_uri()
    together = open_snapshot(second["cube"])
    assert list(together.period.values) == STARTS
    np.testing.assert_array_equal(together.features.values[:1], open_snapshot(first["cube"]).features.values)
    lying = locations(ingested_settings, half_years)
    assert ["larger%20disk" in lying[period] for period in sorted(lying)] == [False, True]
    assert [passport(half_years, half) for half in HALVES] == [(0, "")] * 2
    cells = plan(half_years, AREA, HALVES[1])
    with open_index(ingested_settings) as index:
        (cell, *_) = published_cells(index, cells.recipe.name, cells.recipe.version, cells.periods).values()
    with pytest.raises(StorageLost, match=f"the cell {cell.tile} .* lies at .*{cell.id}.*, from where nothing goes"):
        _link(Storage("s3://elsewhere"), cell, "s3://elsewhere/cube", [], (0, 0, 0))
    with open_index(ingested_settings) as index, index.engine.begin() as connection:
        kinds = {each["kind"] for each in stored_orphans(connection, index, open_storage(get_settings()))}
    assert "row without files" not in kinds


def test_cells_that_were_lost_with_their_store_are_named_and_built_anew_elsewhere(
    ingested_settings: Settings, half_years: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    monkeypatch.setenv("NEOCUBE_STORE_URL", str(old))
    before = open_snapshot(build(half_years, AREA, HALVES[0])["cube"]).features.values.copy()
    shutil.rmtree(old)
    monkeypatch.setenv("NEOCUBE_STORE_URL", str(new))
    (said,) = build(half_years, AREA, HALVES[0])["failed"]
    assert "are not at" in json.dumps(said) and str(old) in json.dumps(said) and "neocube retire" in json.dumps(said)
    code, words = passport(half_years, HALVES[0])
    assert code == 1 and "are not at" in words and "Traceback" not in words
    retire_selected(Selection(product="mangrove_features"), yes=True)
    again = build(half_years, AREA, HALVES[0])
    assert again["failed"] == [] and again["built"] > 0
    np.testing.assert_array_equal(open_snapshot(again["cube"]).features.values, before)
    assert all(str(new) in location for location in locations(ingested_settings, half_years).values())
    assert passport(half_years, HALVES[0])[0] == 0
