"""What a cell says of its quality: each sensor's share, and how sensors agree on one day, before and after they are harmonised."""

import json
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.steps.areas import find_area
from flows.steps.cubes.cell_quality import shares_of
from flows.steps.index.catalogue import published_cells
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.simulation.archive import Simulation, write_archive
from products.period import parse_period
from products.registry import features_recipe

AREA, YEAR = "demo", "2020"


@pytest.fixture
def of_one_day(embedded_settings: Settings, tmp_path: Path) -> Settings:
    """An index of what Landsat 8 and Sentinel-2A saw on 2020-02-27."""
    period = parse_period("2020-02-27/2020-02-27")
    write_archive(tmp_path / "archive", Simulation(find_area(AREA), period, 5, 96, "none", None))
    with open_index(embedded_settings) as index:
        assert ingest_archive(index, str(tmp_path / "archive")).added == 4
    return embedded_settings


def qualities(settings: Settings, recipe: Path) -> list[dict[str, Any]]:
    """What the rows of the cells say, after looking that the stores say the same."""
    name = features_recipe(str(recipe)).name
    with open_index(settings) as index:
        cells = list(published_cells(index, name, 1, [parse_period(YEAR)]).values())
    assert cells
    for cell in cells:
        stored = json.loads(Path(cell.location.removeprefix("file://")).read_text())["attributes"]
        assert stored["neocube:quality"] == cell.properties["neocube:quality"]
        used = sum(each["used"] for each in cell.properties["neocube:quality"]["sensors"].values())
        assert used == cell.properties["neocube:accounts"]["used"]
    return [cell.properties["neocube:quality"] for cell in cells]


def test_each_sensor_s_share_is_with_the_cell_and_in_the_cube(ingested_settings: Settings, small_recipe: Path) -> None:
    report = build(str(small_recipe), AREA, YEAR)
    found = qualities(ingested_settings, small_recipe)
    assert {name for quality in found for name in quality["sensors"]} == {"etm", "msi", "oli"}

    said = xr.open_zarr(report["cube"]).attrs["neocube:sensors"]
    assert said == {YEAR: shares_of(found)}
    assert sum(each["share"] for each in said[YEAR].values()) == pytest.approx(1, abs=2e-4)
    assert sum(each["used"] for each in said[YEAR].values()) == sum(cell["used"] for cell in report["cells"])


def test_same_day_pairs_agree_better_once_they_are_harmonised(of_one_day: Settings, small_recipe: Path) -> None:
    assert build(str(small_recipe), AREA, YEAR)["failed"] == []
    for quality in qualities(of_one_day, small_recipe):
        pairs = {pair["band"]: pair for pair in quality["same_day_pairs"]}
        assert set(pairs) == {"blue", "green", "red", "nir", "swir1", "swir2"}
        assert {(*pair["sensors"],) for pair in pairs.values()} == {("msi", "oli")}
        assert pairs["red"]["n"] > 100
        for band in ("blue", "red"):  # whose lines are farthest from 1 : 1 on this ground
            assert abs(pairs[band]["after"]["bias"]) < abs(pairs[band]["before"]["bias"])
            assert pairs[band]["after"]["rmsd"] < pairs[band]["before"]["rmsd"]


def test_without_harmonising_after_is_before(of_one_day: Settings, small_recipe: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "raw.recipe.yaml"
    lines = [line for line in small_recipe.read_text().splitlines() if not line.startswith("harmonise")]
    recipe.write_text("\n".join(lines).replace("name: mangrove_features", "name: raw_features"))
    build(str(recipe), AREA, YEAR)
    for quality in qualities(of_one_day, recipe):
        assert quality["same_day_pairs"]
        assert all(pair["after"] == pair["before"] for pair in quality["same_day_pairs"])
