"""Gap-filled series of the GPU leaf agree with the CPU leaf and the reference; what needs the order of time compiles without spills."""

import importlib
import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from products.cell_content import compute_layers
from products.device_memory import cell_device_bytes, cell_pinned_bytes, tile_shape
from products.feature_program import feature_program, programs
from products.features import Observations
from products.period import parse_period
from products.pixel.causes import ACCOUNT_NAMES
from products.pixel.gpu_ordered_source import pass_source, series_source, with_ordered
from products.pixel.gpu_series import series_layers_gpu
from products.pixel.gpu_source import temporal_source
from products.pixel.gpu_strips import Given, run_strips
from products.pixel.gpu_temporal import band_order
from products.pixel.series import series_layers
from products.pixel.series_reference import filled
from products.pixel.temporal import moved_operands
from products.registry import features_recipe, parse_recipe
from products.series import filling, series_arrays
from products.series_spec import SeriesRecipe
from products.spec import FeaturesRecipe
from tests.gpu_here import has_gpu
from tests.products.host_cupy import use_host_cupy
from tests.products.nvrtc import compile_cuda, usage

YEAR = parse_period("2021")
METHODS = ("linear", "{method: whittaker, smoothness: 3}", "{method: harmonic, order: 2, trend: true}")
ARCHITECTURES = ("sm_70", "sm_90")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="NVRTC is installed on Linux only")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def on_device(request: pytest.FixtureRequest, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "gpu" and not has_gpu():
        pytest.skip("no CUDA device, or cupy is not installed")
    if request.param == "host":
        use_host_cupy(monkeypatch, compiled)
    return str(request.param)


def recipe(fill: str, more: str = "", tile_px: int = 16) -> SeriesRecipe:
    text = f"""
name: series
version: 1
kind: series
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: {tile_px}}}
period: P1Y
step: P16D
sources: [{{collection: sentinel-2-l2a}}]
bands: [red, nir]
indices: [NDVI]
fill: {fill}
{more}
"""
    found = parse_recipe(text, "series.yaml")
    assert isinstance(found, SeriesRecipe)
    return found


def seen(days: list[float], shape: tuple[int, int] = (16, 16)) -> tuple[Any, ...]:
    """Block, causes, gain and bias of red and nir with a season; the first column has none used, the second one, the third two."""
    random = np.random.default_rng(4)
    season = np.cos(2 * np.pi * (np.array(days) - 200) / 365)[:, None, None]
    red = 2000 - 800 * season + random.normal(0, 60, (len(days), *shape))
    nir = 3000 + 900 * season + random.normal(0, 60, (len(days), *shape))
    causes = np.where(random.random((len(days), *shape)) < 0.4, 3, 0).astype(np.uint8)
    for column in range(3):
        causes[column:, :, column] = 3
        causes[:column, :, column] = 0
    terms = (np.full((len(days), 2), value, np.float32) for value in (1e-4, -0.1))
    return np.stack([red, nir]).clip(1).astype(np.uint16), causes, *terms


def table(asked: SeriesRecipe) -> NDArray[np.float64]:
    return programs([(formula, ()) for _, formula in asked.formulas()], {("red", ()): 0, ("nir", ()): 1})


def dates(n: int) -> list[float]:
    return sorted(np.random.default_rng(n).uniform(0, 365, n).tolist())


def times(days: list[float]) -> list[datetime]:
    return [YEAR.start + timedelta(days=day) for day in days]


@pytest.mark.parametrize(("fill", "more"), [*((fill, "") for fill in METHODS), (METHODS[1], "margin: P32D")])
def test_every_series_agrees_with_the_cpu_leaf_and_the_reference(fill: str, more: str, on_device: str) -> None:
    asked, days = recipe(fill, more), dates(34)
    given, made = seen(days), filling(asked, times(days), YEAR)
    on_cpu = series_layers(*given, table(asked), made, 2, 1)
    on_gpu = series_layers_gpu(*given, table(asked), made, 2)

    np.testing.assert_array_equal(np.isnan(on_gpu), np.isnan(on_cpu))
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-5, atol=2e-6)
    series, observed = series_arrays(asked, on_gpu)
    assert np.isnan(series[..., :2]).all() and np.isfinite(series[..., 3:]).all()
    assert (observed[..., 1].sum(axis=0) == 1).all()
    for y, x in ((0, 5), (7, 9), (15, 15)):
        used = np.flatnonzero(given[1][:, y, x] == 0)
        values = given[0][0, used, y, x] * 1e-4 - 0.1
        wanted = filled(values, used, made)[made.margin : made.middles.size - made.margin]
        np.testing.assert_allclose(series[:, 0, y, x], wanted, rtol=2e-5, atol=2e-6)


def test_strips_of_a_series_are_the_whole_and_no_scene_is_missing(on_device: str) -> None:
    asked, days = recipe(METHODS[1]), dates(9)
    given, made = seen(days, (5, 16)), filling(asked, times(days), YEAR)
    whole = series_layers_gpu(*given, table(asked), made, 1)
    memory = cell_device_bytes(tile_shape(asked, YEAR), 9, 2)
    np.testing.assert_array_equal(series_layers_gpu(*given, table(asked), made, 1, memory), whole)

    nothing = (given[0][:, :0], given[1][:0], given[2][:0], given[3][:0])
    series, observed = series_arrays(asked, series_layers_gpu(*nothing, table(asked), filling(asked, [], YEAR), 1))
    assert np.isnan(series).all() and not observed.any()


@pytest.mark.parametrize("fill", METHODS)
def test_the_memory_of_a_series_is_planned_to_the_byte(
    fill: str, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, days = recipe(fill), dates(11)
    scenes = tuple(type("Sensed", (), {"acquired": time})() for time in times(days))
    accounts = np.zeros((len(ACCOUNT_NAMES), 16, 16), np.uint16)
    given = Observations(scenes, ("red", "nir"), *seen(days), accounts)
    use_host_cupy(monkeypatch, compiled)
    layers = compute_layers(asked, given, YEAR, 1, device="gpu")

    tile = tile_shape(asked, YEAR)
    assert layers.shape == (asked.n_layers, 16, 16)
    assert cell_device_bytes(tile, 11, 16) == sum(importlib.import_module("cupy").allocated)
    assert cell_pinned_bytes(tile, 11, 16) == 2 * 256 * (11 * 5 + 4 * asked.n_layers)


def ordered_source(text: str, n_scenes: int) -> Any:
    asked = features_recipe(text) if "\n" not in text else parse_recipe(text, "ordered.yaml")
    assert isinstance(asked, FeaturesRecipe)
    made = feature_program(asked, [datetime(2021, 1, 1 + day % 28, tzinfo=UTC) for day in range(n_scenes)], YEAR)
    assert made.ordered is not None
    order = band_order(made.geomedian_bands, made.programs, made.ordered)
    moved = moved_operands(made.programs, order)
    plain = temporal_source(len(made.geomedian_bands), made.with_mads, moved, made.reducers, n_scenes)
    return with_ordered(plain, moved, made.ordered.with_bands(order), 0)


HEAVY = """
name: heavy
version: 1
kind: features
grid: {crs: "EPSG:32647", resolution_m: 30, tile_px: 64}
period: P1Y
sources: [{collection: sentinel-2-l2a}]
features:
  - medoid: {bands: [blue, green, red, rededge1, rededge2, rededge3, nir, nir_narrow, swir1, swir2]}
  - harmonics: {index: NDVI, order: 4, trend: true}
  - season: {index: EVI}
"""


def no_spills(source: Any, architecture: str) -> None:
    used = usage(compile_cuda(source.text, architecture))
    assert set(used) == {kernel.name for kernel in source.kernels}
    assert {name: each.local_bytes for name, each in used.items()} == dict.fromkeys(used, 0)
    assert max(each.registers for each in used.values()) < 255


@on_linux
@pytest.mark.parametrize("text", [HEAVY, pytest.param("every_feature", marks=pytest.mark.full)], ids=["heavy", "every"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_that_need_the_order_of_time_compile_without_spills(text: str, architecture: str) -> None:
    no_spills(ordered_source(text, 60), architecture)


FILLS = (
    METHODS[1],
    "{method: harmonic, order: 4, trend: true}",
    *(pytest.param(fill, marks=pytest.mark.full) for fill in METHODS[::2]),
)


@on_linux
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_series_compile_without_spills(fill: str, architecture: str) -> None:
    asked = recipe(fill)
    no_spills(series_source(table(asked), filling(asked, times(dates(20)), YEAR), 20), architecture)


@on_linux
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_passes_compile_without_spills(architecture: str) -> None:
    no_spills(pass_source(10, 4), architecture)


def test_another_thread_than_that_of_the_last_pixel_leaves_it_alone(on_device: str) -> None:
    """Threads beyond the last pixel end: 5 pixels are less than a warp."""
    block, causes = np.full((1, 2, 1, 5), 7, np.uint16), np.zeros((2, 1, 5), np.uint8)
    ones = np.ones((2, 1), np.float32)
    given = Given(block, causes, np.array([0]), ones, 0 * ones, np.zeros(0))
    np.testing.assert_array_equal(run_strips(pass_source(1, 2), given, 1), np.full((1, 1, 5), 7, np.float32))
