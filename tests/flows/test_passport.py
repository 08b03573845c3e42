"""The passport of a pixel says what its cell's accounts say, scene by scene."""

import json
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from click.testing import CliRunner
from odc.geo.geom import point

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.cli import main
from flows.plan_cells import plan
from flows.steps.cubes.cells import CellDraft, publish_cell
from flows.steps.cubes.passport import _find_place
from flows.steps.index.catalogue import published_cells
from flows.steps.index.index_setup import add_product
from flows.steps.storage import open_storage
from products.errors import RequestError
from products.grid import PixelGrid
from products.identity import KERNEL_VERSIONS, CellKey
from products.period import parse_period
from products.spec import FeaturesRecipe
from products.template import ArrayTemplate, CellTemplate, odc_product_definition

AREA, YEAR = "demo", "2020"
PLACES = ["100.845,4.95", "100.8351,4.9413", "100.8547,4.9572"]


def answered(*arguments: str, exit_code: int = 0) -> Any:
    result = CliRunner().invoke(main, ["passport", *arguments, "--json"])
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout) if exit_code == 0 else result.stderr


def test_each_scene_of_a_pixel_has_its_fate_and_they_add_up_to_the_accounts(
    ingested_settings: Settings, small_recipe: Path
) -> None:
    build(str(small_recipe), AREA, YEAR)
    with open_index(ingested_settings) as index:
        cells = {
            str(cell.id): cell for cell in published_cells(index, "mangrove_features", 1, [parse_period(YEAR)]).values()
        }
    made = plan(str(small_recipe), AREA, YEAR)
    for at in PLACES:
        said = answered(str(small_recipe), "--at", at, "--period", YEAR)
        cell = cells[said["cell"]["id"]]
        longitude, latitude = map(float, at.split(","))
        tile = next(each.key.tile for each in made.cells if each.key.tile.label == said["cell"]["tile"])
        here = point(longitude, latitude, "EPSG:4326").to_crs(made.grid.crs)
        assert made.grid.geobox(tile).extent.contains(here)

        fates = Counter(scene["fate"] for scene in said["scenes"])
        assert fates.pop("not_expected", 0) + said["counts"]["expected"] == len(said["scenes"]) > 0
        assert dict(fates) == {name: n for name, n in said["counts"].items() if n and name != "expected"}
        assert [scene["used"] for scene in said["scenes"]] == [scene["fate"] == "used" for scene in said["scenes"]]
        assert said["quality"] == cell.properties["neocube:quality"]
        assert said["recipe"] == {
            "name": "mangrove_features",
            "version": 1,
            "digest": cell.properties["neocube:digest"],
        }
        assert said["code"]["kernels"] == dict(KERNEL_VERSIONS) and said["model"] is None


def test_without_its_recipe_the_fates_of_scenes_are_unknown(ingested_settings: Settings, small_recipe: Path) -> None:
    build(str(small_recipe), AREA, YEAR)
    said = answered("mangrove_features", "--at", PLACES[0], "--period", YEAR)  # in tiles of 256 pixels, not 96
    assert said["counts"]["expected"] > 0
    assert {(scene["used"], scene["fate"]) for scene in said["scenes"]} == {(None, None)}


def test_in_words_it_says_cell_shares_and_scenes(ingested_settings: Settings, small_recipe: Path) -> None:
    build(str(small_recipe), AREA, YEAR)
    result = CliRunner().invoke(main, ["passport", str(small_recipe), "--at", PLACES[0], "--period", YEAR])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("cell ") and "mangrove_features 2020" in lines[0]
    shares = next(line for line in lines if line.startswith("used in the cell: "))
    assert all(f"% {sensor}" in shares for sensor in ("etm", "msi", "oli"))
    assert any(line.startswith("2020-") and "S2" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing", "--at", PLACES[0], "--period", YEAR), "no product 'nothing' in the index"),
        (("mangrove_features", "--at", "10", "--period", YEAR), "expected at as LON,LAT in degrees"),
        (("mangrove_features", "--at", "200,5", "--period", YEAR), "expected at as LON,LAT in degrees"),
        (("mangrove_features", "--at", PLACES[0], "--period", "20x"), "expected a period"),
        (("mangrove_features", "--at", "10,5", "--period", YEAR), "there are 0: build it, or ask for another place"),
    ],
)
def test_a_wrong_question_is_refused(
    arguments: tuple[str, ...], words: str, ingested_settings: Settings, small_recipe: Path
) -> None:
    with open_index(ingested_settings) as index:
        from flows.steps.index.index_setup import add_product
        from products.registry import features_recipe
        from products.template import features_template, odc_product_definition

        add_product(index.dc, odc_product_definition(features_template(features_recipe(str(small_recipe)))))
    assert words in answered(*arguments, exit_code=2)


def test_a_cell_across_the_antimeridian_is_found_from_both_sides(embedded_settings: Settings) -> None:
    grid, at = PixelGrid("EPSG:32701", 30.0, 64, 15.0), (180.0, -16.8)
    (tile,) = grid.tiles(point(*at, "EPSG:4326").buffer(1e-7))
    template = CellTemplate("known", 1, "known", (ArrayTemplate("features", "feature", ("red",), "float32", np.nan),))
    key = CellKey("known", 1, tile, parse_period(YEAR))
    with open_index(embedded_settings) as index:
        add_product(index.dc, odc_product_definition(template))
        draft = CellDraft(uuid4(), key, template, grid, "digest", {}, {})
        publish_cell(index, open_storage(embedded_settings), draft, {"features": np.ones((1, 1, 64, 64), "f4")})
        columns = {
            _find_place(index, "known", (longitude, at[1]), key.period, lambda _: None).pixel.affine.c
            for longitude in (179.9995, -179.9995, 180.0005)
        }
        with pytest.raises(RequestError, match="there are 0: build it"):
            _find_place(index, "known", (-179.5, at[1]), key.period, lambda _: None)
    assert len(columns) == 2


def test_of_cells_that_overlap_the_one_that_a_build_of_the_period_makes_is_found(embedded_settings: Settings) -> None:
    recipe = FeaturesRecipe.model_validate(
        {
            "name": "known",
            "version": 1,
            "kind": "features",
            "grid": {"crs": "EPSG:32647", "resolution_m": 30, "tile_px": 64},
            "period": {"length": "P2Y", "step": "P1Y"},
            "sources": [{"collection": "landsat-c2-l2"}],
            "features": [{"geomedian": {"bands": ["red", "nir"]}}],
        }
    )
    at = (100.845, 4.95)
    ground = point(*at, "EPSG:4326").buffer(1e-7)
    grid = recipe.grid.pixel_grid(ground)
    (tile,) = grid.tiles(ground)
    template = CellTemplate("known", 1, "known", (ArrayTemplate("features", "feature", ("red",), "float32", np.nan),))
    with open_index(embedded_settings) as index:
        add_product(index.dc, odc_product_definition(template))
        for period in recipe.periods_in(parse_period("2019/2022")):
            draft = CellDraft(uuid4(), CellKey("known", 1, tile, period), template, grid, "digest", {}, {})
            publish_cell(index, open_storage(embedded_settings), draft, {"features": np.ones((1, 1, 64, 64), "f4")})
        for year in ("2019", "2020", "2021", "2022"):
            found = _find_place(index, "known", at, parse_period(year), lambda _: recipe)
            assert found.cell.period == recipe.periods_in(parse_period(year))[0].label


def test_a_period_of_several_cells_is_refused(ingested_settings: Settings, small_recipe: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "halves.recipe.yaml"
    recipe.write_text(small_recipe.read_text().replace("P1Y", "P6M").replace("mangrove_features", "halves"))
    build(str(recipe), AREA, YEAR)
    assert r"there are 2 (2020-01" in answered(str(recipe), "--at", PLACES[0], "--period", YEAR, exit_code=2)
    assert answered(str(recipe), "--at", PLACES[0], "--period", "2020-01/2020-06")["cell"]["product"] == "halves"
