"""`neocube assess`: a sample of a published map, its files, what is refused, and estimates of a known map."""

import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import geopandas
import numpy as np
import pytest
import shapely
from click.testing import Result
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geom import box
from sqlalchemy import text

from datacube_config.connection import open_index
from datacube_config.settings import Settings, get_settings
from flows.assess_map import assess_map, table_rows
from flows.steps.areas import find_area
from flows.steps.cubes.cells import CellDraft, publish_cell, retire_cell
from flows.steps.cubes.cube_plan import CubePlan
from flows.steps.cubes.snapshot import assemble, publish_cube
from flows.steps.index.catalogue import published_cells
from flows.steps.index.index_setup import add_product, init_index
from flows.steps.learning.assessment import SampleOrder, draw_sample
from flows.steps.learning.map_population import count_strata, map_population
from flows.steps.storage import open_storage
from products.grid import PixelGrid, Tile
from products.identity import CellKey, SourceKey, cell_id
from products.learning.maps import map_template
from products.learning.recipe import ModelRecipe
from products.period import Period
from products.template import odc_product_definition
from tests.flows.command_line import neocube, refused
from tests.flows.geojson_files import write_shapes

SIDE = 64
CLASSES = ("mangrove", "water", "other")
RECIPE = ModelRecipe.model_validate(
    {
        "name": "coast_model", "version": 1, "kind": "model", "features": "coast_features",
        "samples": {"classes": list(CLASSES)}, "map": {"name": "coast_map"},
    }
)  # fmt: skip
GRID = PixelGrid("EPSG:32647", 30.0, SIDE, 15.0)
TILES = tuple(Tile("EPSG:32647", -276, column) for column in (359, 360))
YEARS = tuple(Period(datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)) for year in (2016, 2020))
MOSAIC = GRID.mosaic(TILES)


@dataclass(frozen=True)
class Mapped:
    """A home with a map of two years, and what it should have been, (year, y, x)."""

    home: Path
    cube: str
    area: Path
    map: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def truth() -> NDArray[np.uint8]:
    """Water, mangrove, other from west to east; in the second year water has taken some columns of mangrove."""
    rows, columns = np.mgrid[0:SIDE, 0 : 2 * SIDE]
    wave = columns + 4 * np.sin(rows / 9)
    years = [np.digitize(wave, (edge, 90)).choose([2, 1, 3]) for edge in (40, 44)]
    return np.stack(years).astype(np.uint8)


def flawed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A map with one pixel in ten wrong, and a corner without data."""
    rng = np.random.default_rng(8)
    wrong = rng.random(codes.shape) < 0.1
    found = np.where(wrong, codes % 3 + 1, codes).astype(np.uint8)
    found[:, :4, :5] = 0
    return found


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    folder = tmp_path_factory.mktemp("assessed")
    settings, known, template = Settings(home=folder / "home"), truth(), map_template(RECIPE)
    codes = flawed(known)
    init_index(settings, folder)
    with open_index(settings) as index:
        storage = open_storage(settings)
        add_product(index.dc, odc_product_definition(template))
        for number, tile in enumerate(TILES):
            for year, period in enumerate(YEARS):
                window = codes[year : year + 1, :, number * SIDE : (number + 1) * SIDE]
                arrays = {each.name: np.zeros(each.shape(SIDE), each.dtype) for each in template.arrays} | {
                    "map_class": window
                }
                key = CellKey(template.product, template.version, tile, period)
                identity = cell_id(key, [SourceKey("cell", "1")], RECIPE.digest())
                draft = CellDraft(identity, key, template, GRID, RECIPE.digest(), {}, {"neocube:simulated": True})
                publish_cell(index, storage, draft, arrays)
        cells = published_cells(index, template.product, template.version, YEARS)
        area = write_shapes(folder / "coast.geojson", [MOSAIC.pad(-2).extent.to_crs(CRS("EPSG:4326"))])
        far = write_shapes(folder / "far.geojson", [box(101.5, 4.9, 101.6, 5.0, CRS("EPSG:4326"))])
        cube, _ = (
            publish_cube(index, storage, CubePlan(template, find_area(str(file)).name, GRID, TILES, YEARS, cells))
            for file in (area, far)
        )
    return Mapped(settings.home, cube, area, codes, known)


@pytest.fixture
def run(mapped: Mapped, neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NEOCUBE_HOME", str(mapped.home))
    return lambda *words: neocube("assess", *words)


def designed(run: Any, mapped: Mapped, out: Path, *more: object) -> dict[str, Any]:
    result = run("design", "coast_map", "--area", mapped.area, "--out", out, "--json", *(more or ("--period", "2020")))
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def interpret(mapped: Mapped, sample: Path, name: Any = None) -> geopandas.GeoDataFrame:
    """Fill in the true class of each point."""
    table = geopandas.read_file(sample)
    x0, y0 = MOSAIC.affine.c, MOSAIC.affine.f
    columns, rows = ((table.geometry.x - x0) // 30).astype(int), ((y0 - table.geometry.y) // 30).astype(int)
    codes = mapped.truth[:, rows, columns] - 1
    table["reference"] = [(name or (lambda _, now: CLASSES[now]))(first, now) for first, now in codes.T]
    return table


def rewrite(table: geopandas.GeoDataFrame, sample: Path) -> None:
    sample.unlink()
    table.to_file(sample)


def test_strata_are_counted_exactly_inside_the_area(run: Any, mapped: Mapped, tmp_path: Path) -> None:
    document = designed(run, mapped, tmp_path / "a.gpkg")
    inside = mapped.map[1, 2:-2, 2:-2]
    assert [each["pixel_count"] for each in document["strata"]] == np.bincount(inside.ravel())[1:].tolist()
    design = json.loads(Path(document["design"]).read_text())
    assert design["unmapped_pixel_count"] == (inside == 0).sum() > 0
    assert sum(each["weight"] for each in document["strata"]) == pytest.approx(1.0)
    assert document["simulated"] is True
    assert set(design["cells"]) and len(design["points"]) == document["points"]


def test_a_map_of_sites_far_apart_is_counted_and_drawn_from_at_its_sites(
    run: Any, mapped: Mapped, tmp_path: Path
) -> None:
    far, lacking = Tile("EPSG:32647", -4000, 150), Tile("EPSG:32647", -4001, 150)
    template, settings = map_template(RECIPE), Settings(home=mapped.home)
    with open_index(settings) as index:
        known = published_cells(index, template.product, template.version, YEARS)
        laid_out = zip((TILES[0], far), TILES, strict=True)
        there = {(at.label, year.label): known[tile.label, year.label] for at, tile in laid_out for year in YEARS}
        path, tiles = str(tmp_path / "far.zarr"), (lacking, far, TILES[0])
        assemble(open_storage(settings), path, CubePlan(template, "far", GRID, tiles, YEARS, there))
        sites = [GRID.geobox(tile).extent.to_crs(CRS("EPSG:4326")) for tile in (TILES[0], far)]
        area = find_area(str(write_shapes(tmp_path / "sites.geojson", sites)))
        population = map_population(path, {}, area, ["2020"])
    design = draw_sample(population, SampleOrder(200, 0.01, 0.85, 50, 0), True)
    assert [each["pixel_count"] for each in design["strata"]] == np.bincount(mapped.map[1].ravel())[1:].tolist()
    assert design["unmapped_pixel_count"] == (mapped.map[1] == 0).sum()
    boxes = {tile: GRID.geobox(tile) for tile in (TILES[0], far)}
    drawn = {
        tile: [each for each in design["points"] if geobox.extent.geom.contains(shapely.Point(each[2:]))]
        for tile, geobox in boxes.items()
    }
    assert sum(map(len, drawn.values())) == 200 and all(drawn.values())
    for (tile, geobox), codes in zip(boxes.items(), (mapped.map[1, :, :SIDE], mapped.map[1, :, SIDE:]), strict=True):
        for _, name, x, y in drawn[tile]:
            column, row = map(int, ~geobox.affine * (x, y))
            assert name == CLASSES[codes[row, column] - 1]
    everywhere = count_strata(map_population(path, {}, None, ["2020"]))
    assert everywhere.unmapped == (mapped.map[1] == 0).sum() + SIDE * SIDE


def test_a_sample_is_points_in_the_crs_of_the_map_with_an_empty_reference(
    run: Any, mapped: Mapped, tmp_path: Path
) -> None:
    for name in ("a.gpkg", "a.geojson"):
        document = designed(run, mapped, tmp_path / name, "--period", "2020", "--points", 200)
        table = geopandas.read_file(document["sample"])
        assert table.crs.to_epsg() == 32647
        assert (len(table), set(table["reference"].fillna(""))) == (200, {""})
        columns = ((table.geometry.x - MOSAIC.affine.c) // 30).astype(int)
        rows = ((MOSAIC.affine.f - table.geometry.y) // 30).astype(int)
        assert [CLASSES[code - 1] for code in mapped.map[1, rows, columns]] == list(table["stratum"])
        (tmp_path / "a.design.json").unlink()


def test_the_same_seed_draws_the_same_sample_and_never_over_an_old_one(
    run: Any, mapped: Mapped, tmp_path: Path
) -> None:
    one, two, other = (
        designed(run, mapped, tmp_path / name, "--period", "2020", "--points", 180, "--seed", seed)
        for name, seed in (("a.gpkg", 4), ("b.gpkg", 4), ("c.gpkg", 5))
    )
    assert one["digest"] == two["digest"] != other["digest"]
    refused(
        run("design", "coast_map", "--area", mapped.area, "--period", "2020", "--out", tmp_path / "a.gpkg"),
        "a.gpkg is there already, and may hold interpreted points",
    )


def test_estimates_hold_the_truth_of_a_known_map(run: Any, mapped: Mapped, tmp_path: Path) -> None:
    sample = tmp_path / "a.gpkg"
    designed(run, mapped, sample, "--period", "2020", "--points", 600)
    rewrite(interpret(mapped, sample), sample)
    result = run("estimate", "coast_map", sample, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    known = mapped.truth[1, 2:-2, 2:-2]
    known = known[mapped.map[1, 2:-2, 2:-2] > 0]
    for code, each in enumerate(document["areas"], start=1):
        low, high = each["area"]["interval_95"]
        assert low < (known == code).sum() * 0.09 < high
        assert high - low < 60
    low, high = document["accuracy"]["overall"]["interval_95"]
    assert low < 0.9 < high
    assert document["score"] == "regression score"
    assert json.loads(Path(document["json"]).read_text())["areas"] == document["areas"]
    assert Path(document["picture"]).read_bytes().startswith(b"\x89PNG")
    shown = run("estimate", mapped.cube, sample)
    assert (
        shown.exit_code == 0
        and "(pixel count " in shown.stdout
        and "note: The map was made from simulated" in shown.stdout
    )


def test_the_flow_leaves_a_row_for_each_class(run: Any, mapped: Mapped, tmp_path: Path) -> None:
    sample = tmp_path / "a.gpkg"
    designed(run, mapped, sample, "--period", "2020", "--points", 160)
    rewrite(interpret(mapped, sample), sample)
    document = assess_map.fn("coast_map", str(sample))
    rows = table_rows(document)
    assert [row["class"] for row in rows] == list(CLASSES)
    assert set(rows[0]) == {"class", "pixel count", "area, ha", "95 % interval", "users", "producers"}
    assert document["areas"][0]["area"]["interval_95"] == rows[0]["95 % interval"]


def test_change_has_strata_of_its_own(run: Any, mapped: Mapped, tmp_path: Path) -> None:
    sample = tmp_path / "change.gpkg"
    document = designed(run, mapped, sample, "--period", "2016", "--until", "2020", "--points", 900, "--least", 40)
    names = [each["name"] for each in document["strata"]]
    assert names[:3] == ["mangrove", "mangrove to water", "mangrove to other"] and len(names) == 9
    counted = {each["name"]: each["pixel_count"] for each in document["strata"]}
    pairs = mapped.map[:, 2:-2, 2:-2]
    assert counted["mangrove to water"] == ((pairs[0] == 1) & (pairs[1] == 2)).sum()
    words = lambda first, now: CLASSES[first] if first == now else f"{CLASSES[first]} to {CLASSES[now]}"  # noqa: E731
    rewrite(interpret(mapped, sample, words), sample)
    answer = json.loads(run("estimate", "coast_map", sample, "--json").stdout)
    lost = next(each for each in answer["areas"] if each["class"] == "mangrove to water")
    true = mapped.truth[:, 2:-2, 2:-2]
    assert (
        lost["area"]["interval_95"][0] < ((true[0] == 1) & (true[1] == 2)).sum() * 0.09 < lost["area"]["interval_95"][1]
    )
    assert lost["pixel_count_ha"] > lost["area"]["interval_95"][1]


def test_missing_unknown_moved_and_foreign_points_are_refused_by_number(
    run: Any, mapped: Mapped, tmp_path: Path
) -> None:
    sample = tmp_path / "a.gpkg"
    designed(run, mapped, sample, "--period", "2020", "--points", 160)
    refused(run("estimate", "coast_map", sample), "points ", "without a reference class: interpret every point")
    table = interpret(mapped, sample)
    for column, row, value, words in (
        ("reference", 3, "swamp", "unknown reference 'swamp': expected one of mangrove, water, other"),
        ("reference", 7, " ", f"point {table['id'][7]} without a reference class"),
        ("stratum", 5, "x", f"point {table['id'][5]} moved or changed stratum"),
        ("design", 5, "x", "is no whole sample of the design beside it: expected its 160 points, each once"),
    ):
        changed = table.copy()
        changed.loc[row, column] = value
        rewrite(changed, sample)
        refused(run("estimate", "coast_map", sample), words)
    rewrite(table.iloc[1:], sample)
    refused(run("estimate", "coast_map", sample), "is no whole sample of the design beside it")
    rewrite(table.set_geometry(table.translate(xoff=30)), sample)
    refused(run("estimate", "coast_map", sample), "and 155 more moved or changed stratum")
    rewrite(table.to_crs("EPSG:4326"), sample)
    refused(run("estimate", "coast_map", sample), "is in EPSG:4326: expected EPSG:32647")
    rewrite(table.drop(columns="reference"), sample)
    refused(run("estimate", "coast_map", sample), "has no column reference")


def test_a_sample_of_another_map_or_a_changed_design_is_refused(run: Any, mapped: Mapped, tmp_path: Path) -> None:
    sample = tmp_path / "a.gpkg"
    document = designed(run, mapped, sample, "--period", "2020", "--points", 160)
    refused(run("estimate", "other_map", sample), "is a sample of coast_map, not of other_map")
    refused(run("estimate", "coast_map", tmp_path / "none.gpkg"), f"no sample at {tmp_path}/none.gpkg")
    path = Path(document["design"])
    design = json.loads(path.read_text())
    path.write_text(json.dumps(design | {"crs": "EPSG:32648"}))
    refused(run("estimate", "coast_map", sample), "was changed since the sample was drawn")
    path.write_text("{")
    refused(run("estimate", "coast_map", sample), "a.design.json cannot be read")
    path.unlink()
    refused(run("estimate", "coast_map", sample), "no design at")


def test_a_map_that_another_year_joined_is_still_the_map_of_its_sample(
    mapped: Mapped, neocube_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    subprocess.run(["cp", "-a", str(mapped.home), str(neocube_home)], check=True)
    template, area = map_template(RECIPE), find_area(str(mapped.area)).name
    monkeypatch.setenv("NEOCUBE_STORE_URL", str(neocube_home / "store"))
    settings, sample = get_settings(), tmp_path / "a.gpkg"

    def run(*words: object) -> Result:
        return neocube("assess", *words)

    def put(*periods: Period) -> None:
        with open_index(settings) as index:
            cells = published_cells(index, template.product, template.version, periods)
            publish_cube(index, open_storage(settings), CubePlan(template, area, GRID, TILES, periods, cells))

    def forget() -> None:
        with open_index(settings) as index, index.engine.begin() as connection:
            connection.execute(text("delete from neocube.cube_pointer"))

    forget()
    put(YEARS[1])
    design = designed(run, mapped, sample, "--points", 160)
    rewrite(interpret(mapped, sample), sample)
    alone = json.loads(run("estimate", "coast_map", sample, "--json").stdout)
    put(YEARS[0])
    result = run("estimate", "coast_map", sample, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["areas"] == alone["areas"]
    again = designed(run, mapped, tmp_path / "b.gpkg", "--period", "2020", "--points", 160)
    assert (again["cells"], again["strata"]) == (2, design["strata"])
    refused(run("design", "coast_map", "--area", mapped.area), "the map has the periods 2016, 2020: choose one")
    with open_index(settings) as index:
        retire_cell(index, published_cells(index, template.product, 1, YEARS[1:])[TILES[0].label, "2020"].id, "a test")
    forget()
    put(YEARS[1])
    refused(
        run("estimate", "coast_map", sample), "from other cells of 2020 than", "1 of 2 were replaced or retired since"
    )
    forget()
    put(YEARS[0])
    refused(run("estimate", "coast_map", sample), "was drawn from cells of 2020, of which", "holds none")


def test_a_snapshot_that_is_not_there_is_said_in_one_line(run: Any, mapped: Mapped, tmp_path: Path) -> None:
    gone, sample = tmp_path / "gone.zarr", tmp_path / "a.gpkg"
    refused(run("design", gone, "--out", sample), f"no cube at {gone}: expected a snapshot")
    designed(run, mapped, sample, "--period", "2020", "--points", 160)
    rewrite(interpret(mapped, sample), sample)
    refused(run("estimate", gone, sample), f"no cube at {gone}: expected a snapshot")


def test_a_map_made_anew_needs_a_new_sample(run: Any, mapped: Mapped, tmp_path: Path) -> None:
    from products.scene_recipe import canonical_digest

    sample = tmp_path / "a.gpkg"
    path = Path(designed(run, mapped, sample, "--period", "2020", "--points", 160)["design"])
    design = json.loads(path.read_text()) | {"cells": [str(uuid4())]}
    design.pop("digest")
    path.write_text(json.dumps(design | {"digest": canonical_digest(design)}))
    refused(run("estimate", "coast_map", sample), "from other cells of 2020 than", "assess the old map by its path")


def test_wrong_requests_for_a_design_say_what_is_expected(run: Any, mapped: Mapped, tmp_path: Path) -> None:
    asked = ("design", "coast_map", "--area", mapped.area)
    refused(run(*asked), "the map has the periods 2016, 2020: choose one with --period")
    refused(run(*asked, "--period", "2019"), "the map has no period 2019: expected of 2016, 2020")
    refused(run(*asked, "--period", "2020", "--until", "2016"), "expected two periods in order, got 2020 and then 2016")
    refused(run(*asked, "--until", "2020"), "expected --period, the earlier one, with --until 2020")
    refused(run(*asked, "--period", "2020", "--points", "20"), "expected between 150 points, 50 (or all pixels)")
    refused(run(*asked, "--period", "2020", "--out", tmp_path / "a.csv"), "expected --out as a file .gpkg or .geojson")
    refused(run("design", "coast_map", "--period", "2020"), "expected an area with a product's name")
    far = mapped.area.with_name("far.geojson")
    refused(
        run("design", "coast_map", "--area", far, "--period", "2020"),
        "no pixel of coast_map has a class inside the area",
    )
