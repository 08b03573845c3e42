"""Series built: cells of a period with several times, a cube with a regular axis, read three ways."""

import json
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray
from click.testing import CliRunner

import flows
from datacube_config.connection import open_index
from datacube_config.settings import get_settings
from flows.build_here import build
from flows.cli import main
from flows.plan_cells import plan
from flows.steps.cubes.exporting import export_cube
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import load_observations
from flows.steps.pictures.cube import as_periods, coverage_picture, quicklook_picture
from flows.steps.pictures.tiles import Layers
from products.errors import RequestError
from products.period import parse_period
from products.registry import DEFINITIONS
from products.series import compute_series, series_arrays
from products.series_spec import SeriesRecipe

AREA, YEAR, NAME = "demo", "2020", "coastal_series"


@pytest.fixture(scope="module")
def series_recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The recipe of the definitions with steps of three months and tiles of 96 pixels."""
    text = (DEFINITIONS / f"{NAME}.recipe.yaml").read_text()
    path = tmp_path_factory.mktemp("recipe") / "series.recipe.yaml"
    path.write_text(
        text.replace("tile_px: 256", "tile_px: 96").replace("P16D", "P3M").replace("[NDVI, MNDWI]", "[NDVI]")
    )
    return str(path)


@pytest.fixture(scope="module")
def built_home(tmp_path_factory: pytest.TempPathFactory, ingested_home: Path, series_recipe: str) -> tuple[Path, str]:
    """A home in which the series of the year is built, and the cube; only to be read."""
    home = tmp_path_factory.mktemp("built") / "home"
    subprocess.run(["cp", "-a", str(ingested_home), str(home)], check=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NEOCUBE_HOME", str(home))
        report = build(series_recipe, AREA, YEAR)
    assert report["built"] > 1 and report["failed"] == []
    return home, report["cube"]


@pytest.fixture
def cube_url(built_home: tuple[Path, str], neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The cube; the settings in force are those of the built home."""
    monkeypatch.setenv("NEOCUBE_HOME", str(built_home[0]))
    return built_home[1]


def test_a_series_is_built_once_and_opens_with_a_regular_axis(cube_url: str, series_recipe: str) -> None:
    made = plan(series_recipe, AREA, YEAR)
    assert {cell.state for cell in made.cells} == {"fresh"}
    assert build(series_recipe, AREA, YEAR)["cube"] == cube_url
    cube = flows.open_cube(NAME, area=AREA)
    assert set(cube.data_vars) == {"red", "nir", "ndvi", "observed", "accounts"}
    quarters = np.array(["2020-01-01", "2020-04-01", "2020-07-01", "2020-10-01", "2021-01-01"], "datetime64[ns]")
    np.testing.assert_array_equal(cube.time.values, quarters[:-1])
    np.testing.assert_array_equal(cube.time_end.values, quarters[1:])
    np.testing.assert_array_equal(cube.observed.sum("time").values, cube.accounts.sel(cause="used").values[0])
    summer = flows.open_cube(NAME, area=AREA, period="2020-07")
    assert (summer.sizes["time"], summer.sizes["period"]) == (1, 1)
    np.testing.assert_array_equal(summer.ndvi.values, cube.ndvi.values[2:3])
    with pytest.raises(RequestError, match="no time of 2015: it has 4, from 2020-01-01 to 2021-01-01"):
        flows.open_cube(NAME, area=AREA, period="2015")
    assert isinstance(made.recipe, SeriesRecipe)
    cell = made.cells[0]
    seen = load_observations(made.recipe, cell.scenes, made.grid.geobox(cell.key.tile), 1, RasterAccess()).seen
    series, observed = series_arrays(made.recipe, compute_series(made.recipe, seen, cell.key.period, 1))
    box = made.grid.geobox(cell.key.tile)
    here = cube.sel(x=box.coordinates["x"].values, y=box.coordinates["y"].values)
    for layer, name in enumerate(made.recipe.layer_names):
        np.testing.assert_array_equal(here[name].values, series[:, layer])
    np.testing.assert_array_equal(here.observed.values, observed)
    is_seen = observed.any(axis=0)
    assert np.isfinite(series[:, :, is_seen]).all() and (observed[:, is_seen] == 0).any()


def test_dc_load_and_the_files_of_an_export_have_the_steps_of_the_cube(cube_url: str, tmp_path: Path) -> None:
    cube = open_snapshot(cube_url).load()
    with open_index(get_settings()) as index:
        loaded = index.dc.load(product=NAME, measurements=["ndvi_1", "red_4", "observed_4"], like=cube.odc.geobox)
    np.testing.assert_array_equal(loaded.ndvi_1.values[0], cube.series.sel(feature="ndvi").values[0])
    np.testing.assert_array_equal(loaded.red_4.values[0], cube.series.sel(feature="red").values[3])
    np.testing.assert_array_equal(loaded.observed_4.values[0], cube.observed.values[3])
    names = [Path(name).name for name in export_cube(cube_url, {}, str(tmp_path / "cogs"), "cog")["files"]]
    starts = ("2020-01-01--2020-04-01", "2020-04-01--2020-07-01", "2020-07-01--2020-10-01", "2020-10-01--2021-01-01")
    stem = f"{NAME}_demo_"
    wanted = [f"{stem}2020_accounts.tif", *(f"{stem}{one}{of}.tif" for one in starts for of in ("", "_observed"))]
    assert names == sorted(wanted)
    with rasterio.open(tmp_path / "cogs" / f"{stem}{starts[1]}.tif") as file:
        np.testing.assert_array_equal(file.read(), cube.series.values[1])
    shown = as_periods(open_snapshot(cube_url))
    best = int(cube.observed.sum(["y", "x"]).argmax("time"))
    np.testing.assert_array_equal(shown.features.values, cube.series.values[best])
    assert coverage_picture(open_snapshot(cube_url))[:4] == quicklook_picture(open_snapshot(cube_url))[:4] == b"\x89PNG"
    (netcdf,) = export_cube(cube_url, {}, str(tmp_path / "netcdf"), "netcdf")["files"]
    with xarray.open_dataset(netcdf, engine="h5netcdf") as file:
        np.testing.assert_array_equal(file.ndvi.values, cube.series.sel(feature="ndvi").values)
        np.testing.assert_array_equal(file.time.values, cube.time.values)


def test_the_gallery_of_a_series_shows_its_features_and_steps(
    cube_url: str, series_recipe: str, tmp_path: Path
) -> None:
    picture = tmp_path / "series.png"
    answer = CliRunner().invoke(main, ["gallery", series_recipe, "--area", AREA, "--out", str(picture)])
    assert answer.exit_code == 0, answer.output
    cube = open_snapshot(cube_url)
    assert answer.stdout == f"{cube.sizes['feature']} features, {cube.sizes['time']} steps in {picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_map_of_a_request_shows_the_best_observed_step_and_has_its_cell(cube_url: str) -> None:
    layers, cube = Layers(cube_url), open_snapshot(cube_url).load()
    best = int(cube["observed"].sum(["y", "x"]).argmax("time"))
    (first,) = layers.sites[0][0]["feature"].values
    np.testing.assert_array_equal(layers.sites[0][0].values[0], cube["series"].sel(feature=first).values[best])
    assert layers.period_at(*layers.bounds[:2]) == parse_period(YEAR)


def test_the_passport_of_a_series_says_what_each_scene_gave(cube_url: str, series_recipe: str) -> None:
    arguments = ["passport", series_recipe, "--at", "100.845,4.95", "--period", YEAR, "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    fates = Counter(scene["fate"] for scene in said["scenes"])
    assert fates.pop("not_expected", 0) + said["counts"]["expected"] == len(said["scenes"]) > 0
    assert dict(fates) == {name: n for name, n in said["counts"].items() if n and name != "expected"}
