"""Low and high tide, the whole way: a tide model of our own in EOT20's format, read by eo-tides, against the simulated tides."""

import importlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.plan_cells import plan
from flows.steps.areas import find_area
from flows.steps.cubes.open_cube import features_apart, open_snapshot
from flows.steps.index.catalogue import find_scenes, published_cells
from flows.steps.loading.tides import TideModel, tide_model_for, with_tides
from products.errors import RequestError
from products.passes import Pass
from products.period import parse_period
from products.registry import parse_recipe
from products.simulation.canvas import place_canvas
from products.simulation.landscape import make_landscape
from products.simulation.passes import TIDE_AMPLITUDES_M, TIDE_SPEEDS_DEG_H, tide_m
from products.spec import FeaturesRecipe
from tests.flows.command_line import answered, neocube

CONSTITUENTS = ("2N2", "J1", "K1", "K2", "M2", "M4", "MF", "MM", "N2", "O1", "P1", "Q1", "S1", "S2", "SA", "SSA", "T2")
ABSENT = (1e-5, 1.0)  # an amplitude or a phase of 0 counts as missing
RECIPE = """
name: tide_features
version: 1
kind: features
grid: {crs: utm, resolution_m: 30, tile_px: 96, anchor: landsat}
period: P1Y
sources: [{collection: landsat-c2-l2}, {collection: sentinel-2-l2a}]
features:
  - band: {names: [swir1], reduce: [p50, count], tide: {lowest: 0.3}}
  - band: {names: [swir1], reduce: [p50, count], tide: {highest: 0.3}}
  - count: {}
"""
PLAIN = """
name: plain_passes
version: 1
kind: features
grid: {crs: utm, resolution_m: 30, tile_px: 96, anchor: landsat}
period: P1Y
sources: [{collection: landsat-c2-l2}]
features:
  - band: {names: [swir1], reduce: [p50]}
"""
ASKED = ("--area", "demo", "--period", "2020")
TILE = "100.8430,4.9480,100.8435,4.9485"  # within a tile in the middle of the archive
SEED, SIZE_PX = 3, 160  # of the fixture small_archive
BARE_SWIR1 = 0.05  # between water, up to 0.02, and mudflat, from 0.09
Constants = Mapping[str, tuple[Any, Any]]
needs_eo_tides = pytest.mark.skipif(importlib.util.find_spec("eo_tides") is None, reason="eo-tides is not installed")


@dataclass(frozen=True)
class Tides:
    """The simulated archive ingested, its scenes, the phases of its tide, and a model of the same tide."""

    settings: Settings
    archive: Path
    phases: dict[str, float]
    model: TideModel


def recipe() -> FeaturesRecipe:
    found = parse_recipe(RECIPE, "tides.yaml")
    assert isinstance(found, FeaturesRecipe)
    return found


def demo() -> tuple[float, float]:
    """Longitude and latitude of the middle of the area."""
    longitude, latitude = find_area("demo").geometry.centroid.coords[0]
    return longitude, latitude


def write_model(folder: Path, constants: Constants, east: float = 0.0) -> TideModel:
    """EOT20 on nodes 2 degrees apart around the area: amplitude (cm) and phase lag at Greenwich (degrees), single or one for each of 9 longitudes."""
    longitude, latitude = demo()
    axes = {"lat": latitude + np.arange(-8, 9, 2.0), "lon": longitude + east + np.arange(-8, 9, 2.0)}
    files = folder / "EOT20" / "ocean_tides"
    files.mkdir(parents=True)
    for name in CONSTITUENTS:
        values = zip(("amplitude", "phase"), constants.get(name, ABSENT), strict=True)
        layers = {layer: (("lat", "lon"), np.broadcast_to(np.float64(value), (9, 9)).copy()) for layer, value in values}
        xarray.Dataset(layers, axes).to_netcdf(files / f"{name}_ocean_eot20.nc", engine="h5netcdf")
    return TideModel(folder, "EOT20")


def simulated_phases() -> dict[str, float]:
    """As the archive was simulated with: drawn after its landscape."""
    rng = np.random.default_rng([SEED, 0])
    make_landscape(rng, place_canvas(*demo(), SIZE_PX).fine_px)
    return {name: float(rng.uniform(0, 360)) for name in TIDE_SPEEDS_DEG_H}


def fitted_model(folder: Path, phases: dict[str, float]) -> TideModel:
    """A model whose tides in 2020 are the simulated ones: pyTMD's waves of unit constituents, one a longitude, fitted to them."""
    names, n = list(TIDE_AMPLITUDES_M), len(TIDE_AMPLITUDES_M)
    columns = np.arange(9)
    units = {
        name: (np.where(columns // 2 == k, 100.0, ABSENT[0]), np.where(columns % 2 == 0, 360.0, 90.0))
        for k, name in enumerate(names)
    }
    unit = write_model(folder / "unit", units)
    hours = pd.date_range("2020-01-01", "2020-12-31", freq="3h")
    longitude, latitude = demo()
    table = importlib.import_module("eo_tides.model").model_tides(
        x=longitude - 8 + 2.0 * np.arange(2 * n), y=np.full(2 * n, latitude), time=hours, model="EOT20",
        directory=str(unit.folder), parallel=False,
    )  # fmt: skip
    waves = table["tide_height"].to_numpy(np.float64).reshape(2 * n, hours.size).T
    wanted = [tide_m(moment.to_pydatetime(), phases) for moment in hours.tz_localize("UTC")]
    cosine, sine = np.linalg.lstsq(waves, wanted, rcond=None)[0].reshape(n, 2).T
    amplitudes, lags = 100 * np.hypot(cosine, sine), np.degrees(np.arctan2(sine, cosine)) % 360
    return write_model(folder / "fitted", {name: (amplitudes[k], lags[k]) for k, name in enumerate(names)})


@pytest.fixture(scope="module")
def phases() -> dict[str, float]:
    return simulated_phases()


@pytest.fixture(scope="module")
def model(phases: dict[str, float], tmp_path_factory: pytest.TempPathFactory) -> TideModel:
    return fitted_model(tmp_path_factory.mktemp("tide_models"), phases)


@pytest.fixture
def tides(
    ingested_settings: Settings,
    small_archive: Path,
    phases: dict[str, float],
    model: TideModel,
    monkeypatch: pytest.MonkeyPatch,
) -> Tides:
    monkeypatch.setenv("NEOCUBE_TIDE_MODELS", str(model.folder))
    monkeypatch.setenv("NEOCUBE_TIDE_MODEL", model.name)
    return Tides(ingested_settings, small_archive, phases, model)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tides.recipe.yaml"
    path.write_text(RECIPE)
    return path


def acquisitions(archive: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((archive / "truth" / "acquisitions.json").read_text())
    return found


def tile() -> GeoBox:
    grid = recipe().grid.pixel_grid(find_area("demo").geometry)
    return grid.geobox(grid.tiles(find_area("demo").geometry)[0])


@needs_eo_tides
def test_the_model_of_the_test_has_the_simulated_tides(
    small_archive: Path, phases: dict[str, float], model: TideModel
) -> None:
    scenes = acquisitions(small_archive)
    moments = pd.DatetimeIndex([scene["datetime"] for scene in scenes])
    known = np.array([scene["tide_m"] for scene in scenes])
    drawn = [tide_m(datetime.fromisoformat(scene["datetime"]), phases) for scene in scenes]
    np.testing.assert_allclose(drawn, known, atol=1e-4)
    assert np.ptp(known) > 0.5
    np.testing.assert_allclose(model.heights_m(tile(), moments.tz_convert(None)), known, atol=0.12)


@needs_eo_tides
def test_the_model_beside_a_simulated_archive_has_its_tides(small_archive: Path) -> None:
    model = tide_model_for(recipe(), small_archive / "truth" / "tide_models", "EOT20")
    assert model is not None
    scenes = acquisitions(small_archive)
    moments = pd.DatetimeIndex([scene["datetime"] for scene in scenes]).tz_convert(None)
    known = np.array([scene["tide_m"] for scene in scenes])
    np.testing.assert_allclose(model.heights_m(tile(), moments), known, atol=0.12)


@pytest.mark.full
@needs_eo_tides
def test_the_range_that_was_seen_is_that_of_eo_tides(tides: Tides) -> None:
    period, box = parse_period("2020"), tile()
    with open_index(tides.settings) as index:
        scenes = find_scenes(index, recipe().sources, period, find_area("demo").geometry)
    placed, found = with_tides(tides.model, scenes, box, period)
    assert found is not None
    passes = {scene.pass_id: scene for scene in sorted(placed, key=lambda each: each.acquired, reverse=True)}
    assert found["passes"] == len(passes) < len(placed)
    assert found["model"] == "EOT20"
    assert all(scene.tide_m == passes[scene.pass_id].tide_m for scene in placed)
    theirs = importlib.import_module("eo_tides.stats").tide_stats(
        box, time=pd.DatetimeIndex([each.acquired for each in passes.values()]).tz_convert(None), model="EOT20",
        directory=str(tides.model.folder), plain_english=False, plot=False, modelled_freq="1h", parallel=False,
    )  # fmt: skip
    pairs = {"observed_low_m": "lot", "observed_high_m": "hot", "lowest_m": "lat", "highest_m": "hat"}
    for ours, name in pairs.items():
        assert found[ours] == pytest.approx(theirs[name], abs=0.08), name
    for name in ("spread", "offset_low", "offset_high"):
        assert found[name] == pytest.approx(theirs[name], abs=0.03)
    assert found["spread"] + found["offset_low"] + found["offset_high"] == pytest.approx(1, abs=1e-3)


@needs_eo_tides
def test_low_tide_shows_more_mudflat_than_high_tide_and_the_cell_tells_its_tides(
    tides: Tides, recipe_file: Path, tmp_path: Path
) -> None:
    report = answered("build", recipe_file, *ASKED)
    assert report["failed"] == [] and report["built"] >= 4
    cube = features_apart(open_snapshot(report["cube"])).isel(period=0)
    low, high = cube["low_tide_swir1_p50"].values, cube["high_tide_swir1_p50"].values
    both = np.isfinite(low) & np.isfinite(high)
    bared, drowned = _shares(low, high, both)
    assert bared > 0.01 and bared > 10 * drowned
    assert answered("build", recipe_file, *ASKED)["built"] == 0
    with open_index(tides.settings) as index:
        cells = published_cells(index, "tide_features", 1, [parse_period("2020")]).values()
        told = [cell.properties["neocube:tides"] for cell in cells]
    heights = {number: height for each in told for number, height in each["heights_m"].items()}
    with open_index(tides.settings) as index:
        scenes = find_scenes(index, recipe().sources, parse_period("2020"), find_area("demo").geometry)
    assert set(heights) <= {scene.pass_id for scene in scenes} and np.ptp(list(heights.values())) > 0.5
    assert {each["model"] for each in told} == {"EOT20"}
    assert all(0.1 < each["spread"] < 1 for each in told)
    pictures = [tmp_path / "features.png", tmp_path / "tides.png"]
    drawn = answered("gallery", recipe_file, "--area", "demo", "--out", pictures[0], "--tides", pictures[1])
    assert drawn == {"png": str(pictures[0]), "features": 6, "tides of cells": len(told)}
    assert all(each.read_bytes().startswith(b"\x89PNG") for each in pictures)


def _shares(low: NDArray[np.float32], high: NDArray[np.float32], both: NDArray[np.bool_]) -> tuple[float, float]:
    """Shares of pixels that are bare at low and wet at high tide, and the reverse."""
    bare_low, bare_high = low[both] > BARE_SWIR1, high[both] > BARE_SWIR1
    return float((bare_low & ~bare_high).mean()), float((~bare_low & bare_high).mean())


@needs_eo_tides
def test_cells_without_features_at_a_tide_tell_their_tides_too(tides: Tides, tmp_path: Path) -> None:
    known = {scene["item_id"]: scene["tide_m"] for scene in acquisitions(tides.archive)}
    path = tmp_path / "plain.recipe.yaml"
    path.write_text(PLAIN)
    without = plan(str(path), TILE, "2020").cells[0].id
    assert answered("build", path, "--area", TILE, "--period", "2020")["failed"] == []
    longitude, latitude = (float(number) for number in TILE.split(",")[:2])
    said = answered("passport", "plain_passes", "--at", f"{longitude + 0.001},{latitude + 0.001}", "--period", "2020")
    with open_index(tides.settings) as index:
        cells = {cell.id: cell for cell in published_cells(index, "plain_passes", 1, [parse_period("2020")]).values()}
    assert without in cells
    assert all(0.1 < cell.properties["neocube:tides"]["spread"] < 1 for cell in cells.values())
    first = min((scene for scene in said["scenes"] if scene["item_id"] in known), key=lambda scene: scene["datetime"])
    assert first["tide_m"] == pytest.approx(known[first["item_id"]], abs=0.15)

    one_pass = Pass(parse_period("2020-03-01").start, parse_period("2020-03-01").end, "p", "landsat-8")
    with open_index(tides.settings) as index:
        scenes = find_scenes(index, recipe().sources, parse_period("2020"), find_area("demo").geometry)[:1]
    _, document = with_tides(tides.model, scenes, tile(), one_pass)
    assert document is not None and set(document) == {"model", "passes", "heights_m"}
    assert document["heights_m"] == {scenes[0].pass_id: pytest.approx(known[scenes[0].item_id], abs=0.15)}


def test_a_tide_model_that_is_set_and_cannot_be_used_is_said_before_any_work(
    ingested_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_TIDE_MODELS", str(tmp_path / "nowhere"))
    monkeypatch.setenv("NEOCUBE_TIDE_MODEL", "EOT20")
    path = tmp_path / "plain.recipe.yaml"
    path.write_text(PLAIN)
    result = neocube("build", path, "--area", TILE, "--period", "2020")
    assert result.exit_code == 2 and (
        "expected a folder of tide model files" in result.stderr or "needs eo-tides" in result.stderr
    )


@needs_eo_tides
def test_a_tile_far_from_the_water_of_the_model_has_no_tide(tides: Tides, tmp_path: Path) -> None:
    far = write_model(tmp_path / "far", {"M2": (100.0, 30.0)}, east=9.0)
    period = parse_period("2020")
    with open_index(tides.settings) as index:
        scenes = find_scenes(index, recipe().sources, period, find_area("demo").geometry)
    placed, found = with_tides(far, scenes, tile(), period)
    assert found is None
    assert {scene.tide_m for scene in placed} == {None}


def test_a_gallery_of_tides_that_no_cell_tells_is_refused(ingested_settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "plain.recipe.yaml"
    path.write_text(PLAIN)
    assert answered("build", path, "--area", TILE, "--period", "2020")["failed"] == []
    asked = ("gallery", path, "--area", TILE, "--out", tmp_path / "features.png", "--tides", tmp_path / "tides.png")
    result = neocube(*asked)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no cell of plain_passes from 2020-01-01 tells its tides: set NEOCUBE_TIDE_MODELS" in result.stderr
    assert list(tmp_path.glob("*.png")) == []


def test_without_a_configured_model_nothing_is_begun(ingested_settings: Settings, recipe_file: Path) -> None:
    for command in ("plan", "build"):
        result = neocube(command, recipe_file, *ASKED)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "tide_features has features at low or high tide, and no tide model is configured" in result.stderr
        assert "NEOCUBE_TIDE_MODELS" in result.stderr
    assert not (Path(ingested_settings.store_url) / "cells").exists()


def test_a_recipe_without_tides_needs_no_model(tmp_path: Path) -> None:
    plain = recipe().model_copy(update={"features": recipe().features[2:]})
    assert tide_model_for(plain, None, None) is None
    assert tide_model_for(plain, tmp_path / "none", "EOT20") is None


@needs_eo_tides
def test_a_model_that_cannot_be_used_is_named(model: TideModel, tmp_path: Path) -> None:
    assert tide_model_for(recipe(), model.folder, "EOT20") == model
    with pytest.raises(RequestError, match=r"NEOCUBE_TIDE_MODELS is .*nowhere: expected a folder of tide model files"):
        tide_model_for(recipe(), tmp_path / "nowhere", "EOT20")
    with pytest.raises(RequestError, match=r"unknown tide model 'EOT2' in NEOCUBE_TIDE_MODEL; near ones: EOT20"):
        tide_model_for(recipe(), model.folder, "EOT2")
    with pytest.raises(RequestError, match=r"has no files of the tide model GOT5.5, it has EOT20"):
        tide_model_for(recipe(), model.folder, "GOT5.5")
    with pytest.raises(RequestError, match=r"it has none of any model"):
        tide_model_for(recipe(), tmp_path, "EOT20")


@pytest.mark.skipif(importlib.util.find_spec("eo_tides") is not None, reason="eo-tides is installed")
def test_without_eo_tides_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"needs eo-tides: install neocube\[tides\]"):
        tide_model_for(recipe(), tmp_path, "EOT20")
