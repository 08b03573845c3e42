"""Observations built: every pass with its date and causes, nothing made twice, and only the pass of a new scene."""

import json
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import rasterio
import xarray
from click.testing import CliRunner
from odc.geo.geom import point

import flows
from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.cli import main
from flows.plan_cells import plan
from flows.planning import Plan
from flows.steps.cubes.cube_times import utc
from flows.steps.cubes.exporting import export_cube
from flows.steps.cubes.odc_reader import BY_PASS
from flows.steps.cubes.open_cube import open_snapshot
from flows.steps.cubes.passport import passport_of
from flows.steps.cubes.pinning import pin_snapshot
from flows.steps.cubes.strips import CellWork, make_content
from flows.steps.index.catalogue import published_passes
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import load_observations
from flows.steps.pictures.cube import as_periods, coverage_picture, quicklook_picture
from flows.steps.pictures.tiles import Layers
from flows.steps.storage import open_storage
from products.errors import RequestError
from products.period import Period, parse_period
from products.pixel.causes import ACCOUNT_NAMES, NOT_EXPECTED, Cause
from products.registry import DEFINITIONS, scene_recipe
from tests.flows.build_stages import STAGES
from tests.flows.file_digests import digests
from tests.flows.killing import killed_by

AREA, YEAR, NAME = "demo", "2020", "coastal_observations"


@dataclass(frozen=True)
class Built:
    """A home with passes, and the path of their cube."""

    settings: Settings
    cube: str


@pytest.fixture(scope="module")
def passes_recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The recipe of the definitions with two bands, two platforms and tiles of 96 pixels."""
    text = (DEFINITIONS / f"{NAME}.recipe.yaml").read_text()
    text = text.replace("tile_px: 256", "tile_px: 96").replace("blue, green, red, nir, swir1, swir2", "red, nir")
    text = text.replace("landsat-c2-l2, ", "landsat-c2-l2, platforms: [landsat-8], ")
    text = text.replace("sentinel-2-l2a, ", "sentinel-2-l2a, platforms: [sentinel-2a], ")
    path = tmp_path_factory.mktemp("recipe") / "observations.recipe.yaml"
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def built_home(tmp_path_factory: pytest.TempPathFactory, ingested_home: Path, passes_recipe: str) -> tuple[Path, str]:
    """A home in which all passes of the year are built, and the cube; only to be read."""
    home = tmp_path_factory.mktemp("built") / "home"
    subprocess.run(["cp", "-a", str(ingested_home), str(home)], check=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NEOCUBE_HOME", str(home))
        report = build(passes_recipe, AREA, YEAR)
    assert (report["failed"], report["unread"]) == ([], [])
    return home, report["cube"]


@pytest.fixture
def built(built_home: tuple[Path, str], neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> Built:
    """The settings in force are those of the built home."""
    home, cube = built_home
    monkeypatch.setenv("NEOCUBE_HOME", str(home))
    return Built(Settings(home=home), cube)


def days_of(passes: Sequence[Period]) -> str:
    """The days of some passes, the last included, as on the command line."""
    return f"{passes[0].start.date()}/{passes[-1].start.date()}"


def cells_of(settings: Settings) -> dict[tuple[str, str], UUID]:
    with open_index(settings) as index:
        found = published_passes(index, NAME, 1, [parse_period(YEAR)])
    return {place: cell.id for place, cell in found.items()}


def test_every_pass_over_a_tile_is_a_cell_and_the_cube_has_its_date(built: Built, passes_recipe: str) -> None:
    made = plan(passes_recipe, AREA, YEAR)
    assert {cell.state for cell in made.cells} == {"fresh"}
    assert (build(passes_recipe, AREA, YEAR)["built"], len(made.to_build)) == (0, 0)
    assert cells_of(built.settings) == {(c.key.tile.label, c.key.period.label): c.id for c in made.cells}
    cube = flows.open_cube(NAME, area=AREA)
    assert set(cube.data_vars) == {"red", "nir", "cause"}
    assert cube.red.dims == cube.cause.dims == ("time", "y", "x")
    scenes = sorted((s for cell in made.cells for s in cell.scenes), key=lambda s: s.acquired, reverse=True)
    sensed = {scene.pass_id: scene.acquired for scene in scenes}
    assert list(cube.pass_id.values) == sorted(sensed, key=lambda one: sensed[one])
    times = [np.datetime64(sensed[one].replace(tzinfo=None), "ns") for one in cube.pass_id.values]
    assert list(cube.time.values) == times
    assert [one.split("/")[0] for one in cube.pass_id.values] == list(cube.platform.values)
    march = flows.open_cube(NAME, area=AREA, period=str(times[0])[:10])
    assert 1 <= march.sizes["time"] < cube.sizes["time"]
    with pytest.raises(RequestError, match=r"no time of 2015: it has \d+, from 2020-\d\d-\d\d to 2020-\d\d-\d\d"):
        flows.open_cube(NAME, area=AREA, period="2015")


def test_passes_that_are_built_later_or_earlier_join_the_cube(
    built: Built, ingested_home: Path, passes_recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = plan(passes_recipe, AREA, YEAR).periods
    early, late = days_of(passes[: len(passes) // 2]), f"{passes[len(passes) // 2].start.date()}/2020-12-31"
    for number, parts in enumerate(((early, late), (late, early))):
        home = tmp_path / str(number)
        subprocess.run(["cp", "-a", str(ingested_home), str(home)], check=True)
        monkeypatch.setenv("NEOCUBE_HOME", str(home))
        cubes = [build(passes_recipe, AREA, part)["cube"] for part in parts]
        assert Path(cubes[-1]).name == Path(built.cube).name
        whole, grown = xarray.open_zarr(built.cube), xarray.open_zarr(cubes[-1])
        assert list(grown.pass_id.values) == list(whole.pass_id.values)
        assert list(grown.platform.values) == list(whole.platform.values)
        np.testing.assert_array_equal(grown.time.values, whole.time.values)
        np.testing.assert_array_equal(grown.cause.values, whole.cause.values)
        assert grown.attrs["neocube:missing"] == whole.attrs["neocube:missing"] == []


def test_a_cube_keeps_what_was_sensed_beneath_clouds_and_says_why_it_is_masked(
    built: Built, passes_recipe: str
) -> None:
    cube = xarray.open_zarr(built.cube).load()
    made, recipe = plan(passes_recipe, AREA, YEAR), scene_recipe(passes_recipe)
    assert set(np.unique(cube.cause)) >= {Cause.USED, Cause.CLOUD, Cause.DILATED, NOT_EXPECTED}
    assert np.isfinite(cube.reflectance.where(cube.cause == Cause.CLOUD)).sum() > 0
    assert not np.isfinite(cube.reflectance.where(cube.cause == NOT_EXPECTED)).any()
    for cell in made.cells[::5]:
        box = made.grid.geobox(cell.key.tile)
        seen = load_observations(recipe, cell.scenes, box, 1, RasterAccess()).seen
        here = cube.sel(x=box.coordinates["x"].values, y=box.coordinates["y"].values)
        here = here.isel(time=list(cube.pass_id.values).index(cell.key.period.label))
        np.testing.assert_array_equal(here.cause.values, seen.causes.min(axis=0))
        gain, bias = (terms.T[:, :, None, None] for terms in (seen.gain, seen.bias))
        given = np.where((seen.causes != NOT_EXPECTED) & (seen.block > 0), seen.block * gain + bias, -9)
        known = np.isfinite(here.reflectance.values)
        np.testing.assert_allclose(here.reflectance.values[known], given.max(axis=1)[known], rtol=1e-6)


def test_the_passport_of_a_pass_says_its_one_observation(built: Built, passes_recipe: str) -> None:
    place = (100.845, 4.95)
    cube = xarray.open_zarr(built.cube)
    x, y = point(*place, "EPSG:4326").to_crs(cube.odc.crs).coords[0]
    causes = cube.cause.sel(x=x, y=y, method="nearest").load()
    days = Counter(str(time)[:10] for time in cube.time.values)
    alone = {str(each.time.values)[:10]: int(each) for each in causes if days[str(each.time.values)[:10]] == 1}
    clear = next(day for day, cause in alone.items() if cause == Cause.USED)
    masked = next(day for day, cause in alone.items() if cause not in (Cause.USED, NOT_EXPECTED))
    for day in (clear, masked):
        said = CliRunner().invoke(main, ["passport", passes_recipe, "--at", "100.845,4.95", "--period", day, "--json"])
        assert said.exit_code == 0, said.output
        document, fate = json.loads(said.stdout), Cause(alone[day]).name.lower()
        assert {name: n for name, n in document["counts"].items() if n} == {"expected": 1, fate: 1}
        assert tuple(document["counts"]) == ACCOUNT_NAMES
        assert {scene["fate"] for scene in document["scenes"]} - {"not_expected"} == {fate}
    words = CliRunner().invoke(main, ["passport", NAME, "--at", "100.845,4.95", "--period", clear])
    assert words.exit_code == 0, words.output
    assert "here: 1 expected, 1 used" in words.stdout.splitlines()


@contextmanager
def without_a_pass(settings: Settings, made: Plan) -> Iterator[set[UUID]]:
    """The scenes of the second pass retired; the ids of the cells that they make."""
    cells = [cell for cell in made.cells if cell.key.period.label == made.periods[1].label]
    scenes = list({scene.id for cell in cells for scene in cell.scenes})
    with open_index(settings) as index:
        index.dc.index.datasets.archive(scenes)
    yield {cell.id for cell in cells}
    with open_index(settings) as index:
        index.dc.index.datasets.restore(scenes)


def test_a_new_scene_adds_its_pass_only_and_one_that_goes_takes_it_away(
    ingested_settings: Settings, passes_recipe: str
) -> None:
    days = days_of(plan(passes_recipe, AREA, YEAR).periods[:2])
    made = plan(passes_recipe, AREA, days)
    with without_a_pass(ingested_settings, made) as cells:
        first = build(passes_recipe, AREA, days)
        before = set(cells_of(ingested_settings).values())
        assert cells.isdisjoint(before) and len(before) == first["built"]
    second = build(passes_recipe, AREA, days)
    assert second["built"] == len(cells) > 0
    assert set(cells_of(ingested_settings).values()) == before | cells
    with without_a_pass(ingested_settings, made):
        third = build(passes_recipe, AREA, days)
        assert (third["built"], third["retired"]) == (0, len(cells))
        assert set(cells_of(ingested_settings).values()) == before
        assert third["cube"] == first["cube"] != second["cube"]


def test_the_map_of_a_request_shows_the_clearest_pass_and_says_what_a_pixel_of_it_is_made_of(
    built: Built, passes_recipe: str
) -> None:
    layers, cube = Layers(built.cube), open_snapshot(built.cube).load()
    clearest = int((cube["cause"] == Cause.USED).sum(["y", "x"]).argmax("time"))
    np.testing.assert_array_equal(layers.sites[0][0].values, cube["reflectance"].values[clearest][:1])
    west, south, east, north = layers.bounds
    at, recipe = ((west + east) / 2, (south + north) / 2), scene_recipe(passes_recipe)
    assert layers.period_at(*at).contains(utc(cube["time"].values[clearest]))
    with open_index(built.settings) as index:
        storage = open_storage(built.settings)
        said = passport_of(index, storage, NAME, lambda _: recipe, at, layers.period_at(*at), 1, RasterAccess())
    assert said["scenes"] and {scene["platform"] for scene in said["scenes"]} == {
        str(cube["platform"].values[clearest])
    }


def test_dc_load_reads_the_passes_that_a_cube_has(built: Built) -> None:
    cube = open_snapshot(built.cube).load()
    with open_index(built.settings) as index:
        loaded = index.dc.load(product=NAME, like=cube.odc.geobox, group_by=BY_PASS)
    np.testing.assert_array_equal(loaded.time.values, cube.time.values)
    np.testing.assert_array_equal(loaded.cause.values, cube.cause.values)
    for layer, band in enumerate(("red", "nir")):
        np.testing.assert_array_equal(loaded[band].values, cube.reflectance.values[:, layer])


def test_a_day_is_part_of_the_year_and_does_not_have_to_settle(
    ingested_settings: Settings, passes_recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_SETTLE_DAYS", "36500")
    made = plan(passes_recipe, AREA, YEAR)
    day = made.periods[0].start.date().isoformat()
    part = build(passes_recipe, AREA, day)
    assert 0 < part["built"] < len(made.cells)
    fresh = {cell.id for cell in plan(passes_recipe, AREA, YEAR).cells if cell.state == "fresh"}
    assert fresh == set(cells_of(ingested_settings).values())


@pytest.mark.full
def test_an_unread_band_leaves_no_pixel_of_the_scene_and_the_pass_stays_stale(
    embedded_settings: Settings,
    small_archive: Path,
    passes_recipe: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(small_archive, archive)
    with open_index(embedded_settings) as index:
        ingest_archive(index, str(archive))
    cell = next(cell for cell in plan(passes_recipe, AREA, YEAR).cells if len(cell.scenes) == 1)
    day = days_of([cell.key.period])
    broken = Path(cell.scenes[0].bands["red"].href)
    whole = broken.read_bytes()
    broken.write_bytes(b"II*\0 this is no image")
    monkeypatch.setenv("NEOCUBE_FAILURE_BUDGET", "1")
    report = build(passes_recipe, AREA, day)
    assert {Path(each["cause"].split("cannot read ")[1].split(":")[0]).name for each in report["unread"]} == {
        broken.name
    }
    cube = open_snapshot(report["cube"]).load()
    axes = plan(passes_recipe, AREA, day).grid.geobox(cell.key.tile).coordinates
    here = cube.sel(x=axes["x"].values, y=axes["y"].values)
    here = here.isel(time=list(cube.pass_id.values).index(cell.key.period.label))
    assert {Cause.UNREAD} <= set(np.unique(here.cause)) <= {Cause.UNREAD, Cause.NODATA, NOT_EXPECTED}
    assert not np.isfinite(here.reflectance).any()
    stale = [cell for cell in plan(passes_recipe, AREA, day).cells if cell.state == "stale"]
    assert {each.key.period.label for each in stale} == {cell.key.period.label}
    broken.write_bytes(whole)
    assert build(passes_recipe, AREA, day)["built"] == len(stale)


@pytest.mark.usefixtures("ingested_settings")
def test_strips_give_the_same_pass(passes_recipe: str) -> None:
    made = plan(passes_recipe, AREA, YEAR)
    cell = max(made.cells, key=lambda cell: len(cell.scenes))
    work = CellWork(made.recipe, made.grid, cell.key, cell.scenes, (), 1, RasterAccess(), 96)
    whole, strips = (make_content(replace(work, strip_px=rows), lambda *_: True) for rows in (96, 32))
    np.testing.assert_array_equal(strips.layers, whole.layers)
    np.testing.assert_array_equal(strips.accounts, whole.accounts)


def test_a_cube_of_passes_is_exported_and_pinned(built: Built, passes_recipe: str, tmp_path: Path) -> None:
    made = plan(passes_recipe, AREA, YEAR)
    cube = open_snapshot(built.cube).load()
    files = export_cube(built.cube, {}, str(tmp_path / "cogs"), "cog")["files"]
    label = made.periods[0].label.replace("/", "_")
    assert [Path(name).name for name in files if label in name] == [
        f"{NAME}_demo_{label}.tif",
        f"{NAME}_demo_{label}_cause.tif",
    ]
    with rasterio.open(tmp_path / "cogs" / f"{NAME}_demo_{label}.tif") as file:
        np.testing.assert_array_equal(file.read(), cube.reflectance.values[0])
        assert file.descriptions == ("red", "nir")
    for picture in (coverage_picture, quicklook_picture):
        assert picture(open_snapshot(built.cube)).startswith(b"\x89PNG")
    shown = as_periods(open_snapshot(built.cube))
    used = (cube.cause == Cause.USED).sum("time")
    np.testing.assert_array_equal(shown.accounts.sel(cause="used").values[0], used)
    (netcdf,) = export_cube(built.cube, {}, str(tmp_path / "netcdf"), "netcdf")["files"]
    with xarray.open_dataset(netcdf, engine="h5netcdf") as file:
        np.testing.assert_array_equal(file.nir.values, cube.reflectance.values[:, 1])
        np.testing.assert_array_equal(file.time.values, cube.time.values)
        assert file.cause.attrs["flag_values"].tolist() == [*range(12), 255]
    with open_index(built.settings) as index:
        now = made.periods[0].end
        pinned = pin_snapshot(index, open_storage(built.settings), built.cube, "first", now)
    item = json.loads((Path(pinned["snapshot"]).parent / "item.json").read_text())
    assert item["properties"]["start_datetime"] == made.periods[0].start.isoformat().replace("+00:00", "Z")
    assert [band["name"] for band in item["assets"]["cube"]["bands"]] == ["red", "nir"]
    assert item["properties"]["cube:dimensions"]["time"]["type"] == "temporal"


@pytest.mark.full
@pytest.mark.parametrize("stage", ["with a cell written, not verified", "after the commit of the first cell"])
def test_a_killed_build_of_passes_run_again_leaves_the_same_bytes(
    stage: str, ingested_settings: Settings, passes_recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = plan(passes_recipe, AREA, YEAR).periods[0].start.date().isoformat()
    assert killed_by(lambda: build(passes_recipe, AREA, day), STAGES[stage]) == signal.SIGKILL
    build(passes_recipe, AREA, day)
    resumed = digests(Path(ingested_settings.store_url))
    with open_index(ingested_settings) as index:
        index.dc.index.datasets.archive(list(cells_of(ingested_settings).values()))
    shutil.rmtree(ingested_settings.store_url)
    build(passes_recipe, AREA, day)
    assert digests(Path(ingested_settings.store_url)) == resumed


def test_the_gallery_of_passes_shows_them_and_those_of_a_month_alone(
    built: Built, passes_recipe: str, tmp_path: Path
) -> None:
    times = open_snapshot(built.cube)["time"].values.astype("datetime64[M]")
    month = str(times[-1])
    for asked, n_passes in (((), times.size), (("--period", month), int((times == times[-1]).sum()))):
        picture = tmp_path / "new" / f"{n_passes}.png"
        answer = CliRunner().invoke(
            main, ["gallery", passes_recipe, "--area", AREA, *asked, "--out", str(picture), "--json"]
        )
        assert answer.exit_code == 0, answer.output
        assert json.loads(answer.stdout) == {"png": str(picture), "passes": n_passes}
        assert picture.read_bytes().startswith(b"\x89PNG")
