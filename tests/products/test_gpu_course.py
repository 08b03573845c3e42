"""Features of the course of an index agree on both leaves: on the host, with the kernels compiled as C++, and on a GPU where one is."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from products.device_memory import cell_device_bytes, tile_shape
from products.feature_program import feature_program
from products.features import Observations, compute_features
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES
from products.pixel.gpu_ordered_source import with_ordered
from products.pixel.gpu_source import temporal_source
from products.pixel.gpu_temporal import temporal_features_gpu
from products.pixel.season import ALL_METRICS
from products.pixel.trend import TREND_METRICS
from products.spec import FeaturesRecipe
from tests.gpu_here import has_gpu
from tests.products.course_stacks import TEN_YEARS, YEAR, evenly, layers_of, recipe
from tests.products.host_cupy import use_host_cupy
from tests.products.nvrtc import compile_cuda, usage

FREQUENCIES = (
    "frequency: {formula: nir, name: high, at_least: 0.4}",
    "frequency: {formula: nir, name: low, below: 0.3}",
    "frequency: {formula: 1 / (nir - nir), name: never, below: 0.3}",
)
TRENDS = (
    "trend: {formula: nir, name: nir}",
    "trend: {formula: nir, name: mean, reduce: mean, step: P2Y, min_steps: 3}",
    "change: {formula: nir, name: nir, reduce: p90}",
    "change: {formula: nir, name: nir, direction: rise, step: P2Y, min_steps: 3}",
)
SEASONS = (
    f"season: {{formula: nir, name: nir, step_days: 20, min_steps: 3, metrics: [{', '.join(ALL_METRICS)}]}}",
    "season: {formula: 1 - nir, name: few, step_days: 20, min_steps: 3, metrics: [count, fall_day], min_prominence: 0.05}",
)


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


def agree(asked: FeaturesRecipe, n_scenes: int, period: Period = YEAR, least: int = 1) -> None:
    """Values of a coarse step, so that neither leaf is near a bound; a column without observations, one with one."""
    random = np.random.default_rng(n_scenes)
    values = random.integers(1, 60, (n_scenes, 41)) / 100 + 0.005
    causes = np.where(random.random((n_scenes, 41)) < 0.4, 3, 0).astype(np.uint8)
    causes[:, 0], causes[1:, 1], causes[0, 1] = 3, 3, 0
    times = evenly(n_scenes, period)
    on_cpu = layers_of(asked, values, times, period, causes, least)
    on_gpu = layers_of(asked, values, times, period, causes, least, temporal_features_gpu)
    assert list(on_gpu) == list(on_cpu)
    for name, layer in on_cpu.items():
        np.testing.assert_array_equal(np.isnan(on_gpu[name]), np.isnan(layer), err_msg=name)
        np.testing.assert_allclose(on_gpu[name], layer, rtol=1e-5, atol=1e-5, err_msg=name)
        assert np.isnan(layer[0]) and (np.isfinite(layer[5:]).any() or name == "never_frequency")


@pytest.mark.parametrize("n_scenes", [3, 40])
def test_frequencies_agree(n_scenes: int, on_device: str) -> None:
    agree(recipe(*FREQUENCIES), n_scenes)
    agree(recipe(*FREQUENCIES), n_scenes, least=3)


@pytest.mark.parametrize("n_scenes", [8, 60])
def test_trends_and_changes_agree(n_scenes: int, on_device: str) -> None:
    agree(recipe(*TRENDS, period="P10Y"), n_scenes, TEN_YEARS)


@pytest.mark.parametrize("n_scenes", [12, 60])
def test_seasons_agree(n_scenes: int, on_device: str) -> None:
    agree(recipe(*SEASONS), n_scenes)


def test_the_memory_of_trends_is_planned_to_the_byte(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, times = recipe(*TRENDS, *FREQUENCIES[:2], period="P10Y"), evenly(9, TEN_YEARS)
    scenes = tuple(type("Sensed", (), {"acquired": time})() for time in times)
    block, ones = np.full((1, 9, 16, 64), 4000, np.uint16), np.ones((9, 1), np.float32)
    accounts = np.zeros((len(ACCOUNT_NAMES), 16, 64), np.uint16)
    given = Observations(
        scenes, ("nir",), block, np.zeros((9, 16, 64), np.uint8), ones * np.float32(1e-4), ones * 0, accounts
    )
    use_host_cupy(monkeypatch, compiled)
    made = compute_features(asked, given, TEN_YEARS, 1, device="gpu")

    np.testing.assert_allclose(made[: len(TREND_METRICS), 0, 0], [0, 0.4, 0, 1], atol=1e-6)
    planned = cell_device_bytes(tile_shape(asked, TEN_YEARS), 9, 16)
    assert planned == sum(importlib.import_module("cupy").allocated)


@pytest.mark.skipif(sys.platform != "linux", reason="NVRTC is installed on Linux only")
@pytest.mark.parametrize("architecture", ["sm_70", "sm_90"])
@pytest.mark.parametrize(
    ("features", "period"),
    [(FREQUENCIES, "P1Y"), (TRENDS, "P10Y"), (SEASONS, "P1Y")],
    ids=["frequency", "trend", "season"],
)
def test_they_compile_without_spills(features: tuple[str, ...], period: str, architecture: str) -> None:
    within = YEAR if period == "P1Y" else TEN_YEARS
    program = feature_program(recipe(*features, period=period), evenly(60, within), within)
    assert program.ordered is not None
    plain = temporal_source(0, False, program.programs, program.reducers, 60)
    source = with_ordered(plain, program.programs, program.ordered, 0)
    used = usage(compile_cuda(source.text, architecture))
    assert set(used) == {kernel.name for kernel in source.kernels}
    assert all(each.local_bytes == 0 and each.registers < 255 for each in used.values())
