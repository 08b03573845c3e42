"""Scenes that lie beside the others are found, moved back as they are read, and said so; others are left as they are."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from scipy import ndimage

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.steps.areas import find_area
from flows.steps.cubes.cell_quality import quality_of
from flows.steps.cubes.strips import CellWork, make_content
from flows.steps.index.catalogue import find_scenes, published_cells
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.loading.coregistration import Coregistration, SceneShift, measure_shifts, middle_of
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import load_observations
from flows.steps.simulation.archive import Simulation, write_archive
from products.grid import PixelGrid
from products.identity import CellKey
from products.period import parse_period
from products.registry import features_recipe, parse_recipe
from products.scene import Scene
from products.spec import FeaturesRecipe
from products.window.registration import Shift
from tests.flows.scene_files import write_scene

SIDE, YEAR, AREA = 96, parse_period("2020"), "demo"
GEOBOX = GeoBox((SIDE, SIDE), Affine(30, 0, 500_010, 0, -30, 300_000), CRS("EPSG:32647"))
GROUND = GEOBOX.pad(10)
CLEAR, CLOUD = 21824, 22280
RECIPE = """
name: moved
version: 1
kind: features
grid: {crs: "EPSG:32647", resolution_m: 30, tile_px: 96}
period: P1Y
sources: [{collection: landsat-c2-l2, clear: {dilate_px: 1}}]
coregister: {reference: landsat-c2-l2, apply: APPLY}
features:
  - band: {names: [red, nir], reduce: [p50]}
"""
MakeScene = Callable[..., Scene]


def recipe(apply: str = "confident") -> FeaturesRecipe:
    found = parse_recipe(RECIPE.replace("APPLY", apply), "moved.yaml")
    assert isinstance(found, FeaturesRecipe)
    return found


def ground(rows: float, columns: float) -> NDArray[np.uint16]:
    """A smooth texture, its content moved down and right."""
    texture = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=GROUND.shape), 1.5, mode="wrap")
    return (12_000 + 20_000 * ndimage.shift(texture, (rows, columns), order=5, mode="wrap")).round().astype(np.uint16)


@pytest.fixture
def make_scene(tmp_path: Path) -> MakeScene:
    """Writes a scene of the ground, moved, on a day of its own."""

    def make(day: int, rows: float = 0, columns: float = 0, mask: int = CLEAR, noise: float = 60) -> Scene:
        rng = np.random.default_rng(day)
        nir = ground(rows, columns) + rng.normal(0, noise, GROUND.shape).round().astype(np.int64)
        layers = {"red": nir // 3, "nir": nir, "qa_pixel": np.full(GROUND.shape, mask), "qa_radsat": 0 * nir}
        acquired = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day)
        return write_scene(tmp_path, f"day_{day}", layers, GROUND, acquired)

    return make


def measured(
    scenes: list[Scene], apply: str = "confident", applied: dict[UUID, tuple[float, float]] | None = None
) -> Coregistration:
    return measure_shifts(recipe(apply), scenes, GEOBOX, YEAR, 2, RasterAccess(), applied)


def off(shift: SceneShift, rows: float, columns: float) -> float:
    return float(np.hypot(shift.measured.rows - rows, shift.measured.columns - columns))


def test_a_scene_that_lies_beside_the_others_is_moved_back_without_resampling(make_scene: MakeScene) -> None:
    beside = make_scene(5, 2, -1, noise=0)
    there = make_scene(6, noise=0)
    scenes = [*(make_scene(day) for day in range(5)), beside]
    found = measured(scenes)

    assert [shift.item_id for shift in found.shifts] == [scene.item_id for scene in scenes]
    assert all(off(shift, 0, 0) < 0.1 for shift in found.shifts[:-1])
    assert off(found.shifts[-1], 2, -1) < 0.1 and found.shifts[-1].measured.is_confident
    assert found.applied == {beside.id: (2.0, -1.0)}

    loaded = load_observations(recipe(), [beside], GEOBOX, 2, RasterAccess(), shifts=found.applied)
    same = load_observations(recipe(), [there], GEOBOX, 2, RasterAccess())
    assert (same.seen.causes == 0).all()
    np.testing.assert_array_equal(loaded.seen.block, same.seen.block)


def test_what_is_left_of_a_fraction_of_a_pixel_is_a_tenth(make_scene: MakeScene) -> None:
    beside = make_scene(5, -0.6, 1.3)
    scenes = [*(make_scene(day) for day in range(5)), beside]
    found = measured(scenes)
    again = measured(scenes, applied=found.applied)

    assert off(found.shifts[-1], -0.6, 1.3) < 0.1
    assert off(again.shifts[-1], 0, 0) < 0.1
    assert again.applied == {}


def test_shifts_are_measured_and_not_applied_where_the_recipe_says_never(make_scene: MakeScene) -> None:
    found = measured([*(make_scene(day) for day in range(5)), make_scene(5, 2, -1)], "never")
    assert off(found.shifts[-1], 2, -1) < 0.1
    assert found.applied == {}
    said = found.shifts[-1].document()
    assert (said["item_id"], said["is_applied"], said["valid_share"]) == ("day_5", False, 1.0)
    assert said["rows"] == pytest.approx(2, abs=0.1) and said["confidence"] > 0.8


def test_a_cloudy_scene_and_one_that_is_no_ground_are_left(make_scene: MakeScene) -> None:
    cloudy, noise = make_scene(5, 2, -1, mask=CLOUD), make_scene(6, 2, -1, noise=40_000)
    found = measured([*(make_scene(day) for day in range(5)), cloudy, noise])
    assert found.applied == {}
    assert json.loads(json.dumps(found.shifts[5].document())) == {
        "item_id": "day_5", "rows": None, "columns": None, "confidence": 0.0, "correlation": None, "valid_share": 0.0,
        "is_applied": False,
    }  # fmt: skip
    assert not found.shifts[6].measured.is_confident


def test_without_enough_of_the_reference_nothing_is_told(make_scene: MakeScene) -> None:
    found = measured([make_scene(0), make_scene(1, 2, -1)])
    assert [shift.measured.confidence for shift in found.shifts] == [0.0, 0.0]
    assert measure_shifts(
        recipe().model_copy(update={"coregister": None}), [make_scene(0)], GEOBOX, YEAR, 1, RasterAccess()
    ) == Coregistration()  # fmt: skip


def test_a_file_that_failed_when_it_was_measured_counts_as_failed(make_scene: MakeScene) -> None:
    scenes = [make_scene(day) for day in range(5)]
    Path(scenes[2].bands["nir"].href).unlink()
    assert set(measured(scenes).failed) == {(scenes[2].id, "nir")}


def test_the_middle_of_a_tile_is_measured() -> None:
    assert middle_of(GEOBOX) == GEOBOX
    wide = GEOBOX.pad(300)
    assert middle_of(wide).shape == (512, 512)
    assert middle_of(wide).extent.centroid.coords[0] == pytest.approx(wide.extent.centroid.coords[0])


def test_a_faint_shift_is_not_worth_resampling(make_scene: MakeScene) -> None:
    found = measured([*(make_scene(day) for day in range(5)), make_scene(5, 0.1, -0.1)])
    assert off(found.shifts[-1], 0.1, -0.1) < 0.08
    assert found.applied == {}


SIMULATED = """name: coregistered
version: 1
kind: features
grid: {crs: utm, resolution_m: 30, tile_px: 128, anchor: landsat}
period: P1Y
sources: [{collection: landsat-c2-l2, clear: {dilate_px: 1}}, {collection: sentinel-2-l2a, clear: {dilate_px: 1}}]
harmonise: {}
coregister: {reference: sentinel-2-l2a}
features:
  - index: {names: [NDVI], reduce: [p50]}
  - count: {}
"""


def recipe_file(folder: Path) -> str:
    (folder / "coregistered.recipe.yaml").write_text(SIMULATED)
    return str(folder / "coregistered.recipe.yaml")


def ingested(settings: Settings, folder: Path, simulation: Simulation) -> Path:
    """The truth of a simulated archive that is ingested."""
    write_archive(folder / "archive", simulation)
    with open_index(settings) as index:
        ingest_archive(index, str(folder / "archive"))
    return folder / "archive" / "truth"


@pytest.mark.full
def test_after_coregistration_the_known_shifts_of_the_simulation_are_gone(
    embedded_settings: Settings, tmp_path: Path
) -> None:
    truth = ingested(embedded_settings, tmp_path, Simulation(find_area(AREA), YEAR, 47, 160, "harsh", 6))
    faults = json.loads((truth / "faults.json").read_text())
    known = {fault["item_id"]: fault["shift_px"] for fault in faults if fault["kind"] == "misregistration"}
    wanted = features_recipe(recipe_file(tmp_path))
    with rasterio.open(truth / "classes.tif") as file:
        middle = GeoBox(file.shape, file.transform, str(file.crs))[16:144, 16:144]
    with open_index(embedded_settings) as index:
        scenes = find_scenes(index, wanted.sources, YEAR, middle.extent)
    before = measure_shifts(wanted, scenes, middle, YEAR, 2, RasterAccess())
    after = measure_shifts(wanted, scenes, middle, YEAR, 2, RasterAccess(), before.applied)

    assert {shift.item_id for shift in before.shifts if shift.applied} == set(known) and len(known) == 2
    for was, left in zip(before.shifts, after.shifts, strict=True):
        if was.item_id in known:
            share = 1 if was.item_id.startswith("L") else 20 / 30  # pixels of the near infrared of a product's pixel
            assert off(was, *(share * px for px in known[was.item_id])) < 0.1  # 0.07 and 0.06 when this was written
            assert off(left, 0, 0) < 0.1 < off(was, 0, 0)  # 0.06 and 0.04


def test_the_shifts_of_all_scenes_are_with_the_cell(embedded_settings: Settings, tmp_path: Path) -> None:
    day = parse_period("2020-02-27/2020-02-27")
    ingested(embedded_settings, tmp_path, Simulation(find_area(AREA), day, 5, 96, "none", None))
    assert build(recipe_file(tmp_path), AREA, "2020")["failed"] == []
    with open_index(embedded_settings) as index:
        cells = published_cells(index, "coregistered", 1, [YEAR]).values()
    for cell in cells:
        shifts = cell.properties["neocube:quality"]["shifts"]
        assert 2 <= len(shifts) <= 4
        assert all(shift["rows"] is None and not shift["is_applied"] for shift in shifts)  # of one pass is no reference


@pytest.mark.parametrize("strip_px", [16, 48, 96])
def test_moved_scenes_give_the_same_pixels_whole_and_in_strips(make_scene: MakeScene, strip_px: int) -> None:
    beside, grid = make_scene(5, -0.6, 1.3), PixelGrid("EPSG:32647", 30.0, SIDE, 0.0)
    scenes = (*(make_scene(day) for day in range(2)), beside)
    tile = max(grid.tiles(GEOBOX.extent), key=lambda tile: grid.geobox(tile).extent.intersection(GEOBOX.extent).area)
    registered = Coregistration((SceneShift(beside.id, "day_5", Shift(-0.6, 1.3, 0.9, 0.9, 1.0), (-0.6, 1.3)),))
    work = CellWork(
        recipe(), grid, CellKey("moved", 1, tile, YEAR), scenes, (), 2, RasterAccess(), SIDE, registered=registered
    )
    whole = make_content(work, lambda *_: True)
    strips = make_content(replace(work, strip_px=strip_px), lambda *_: True)
    assert whole.layers is not None and strips.layers is not None
    np.testing.assert_array_equal(strips.layers, whole.layers)
    assert np.isfinite(whole.layers).any()
    unmoved = make_content(replace(work, registered=Coregistration()), lambda *_: True)
    assert not np.array_equal(unmoved.layers, whole.layers, equal_nan=True)
    quality = quality_of(recipe(), scenes, strips, registered)
    assert quality == quality_of(recipe(), scenes, whole, registered)
    assert quality["shifts"][0]["is_applied"] is True


def test_a_shift_that_is_not_told_is_null() -> None:
    shift = SceneShift(UUID(int=1), "item", Shift(float("nan"), float("nan"), 0.0, float("nan"), 0.1), None)
    assert shift.document()["rows"] is None
    assert replace(shift, applied=(1.0, 0.0)).document()["is_applied"] is True
