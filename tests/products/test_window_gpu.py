"""The window kernels on a CUDA device give what they give on the CPU."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from products.window import device_strips, terrain, texture
from products.window.distance import signed_distance_m
from products.window.morphology import dilate, opened
from products.window.registration import measure_shift
from products.window.sliding import array_namespace
from products.window_features import DeviceContext, window_features
from tests.products.window_recipes import DISTANCE_LINE, TERRAIN_LINE, TEXTURE_LINE, given, recipe

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cupy() -> ModuleType:
    """CuPy, on a machine with a CUDA device."""
    module: ModuleType = pytest.importorskip("cupy", reason="no CUDA device: CuPy is not installed")
    if not module.cuda.is_available():
        pytest.skip("no CUDA device")
    return module


def image(seed: int = 0, size: int = 128) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed)
    values = random.random((size, size)).astype(np.float32)
    values[random.random(values.shape) < 0.05] = np.nan
    return values


def test_an_array_of_the_gpu_tells_its_library(cupy: ModuleType) -> None:
    assert array_namespace(cupy.zeros(2)) is cupy


def test_texture_is_the_same(cupy: ModuleType) -> None:
    found = texture.texture(cupy.asarray(image()), texture.MEASURES, 7, 0.0, 1.0, 8)
    for measure, expected in texture.texture(image(), texture.MEASURES, 7, 0.0, 1.0, 8).items():
        np.testing.assert_allclose(found[measure].get(), expected, rtol=1e-6, atol=1e-6, err_msg=measure)


def test_terrain_is_the_same(cupy: ModuleType) -> None:
    found = terrain.terrain(cupy.asarray(100 * image()), terrain.MEASURES, 30.0, 5)
    for measure, expected in terrain.terrain(100 * image(), terrain.MEASURES, 30.0, 5).items():
        np.testing.assert_allclose(found[measure].get(), expected, rtol=1e-6, atol=1e-5, err_msg=measure)


def test_masks_and_distances_are_the_same(cupy: ModuleType) -> None:
    mask = image(1) > 0.98
    there = cupy.asarray(mask)
    np.testing.assert_array_equal(dilate(there, 3.5).get(), dilate(mask, 3.5))
    np.testing.assert_array_equal(opened(~there, 2).get(), opened(~mask, 2))
    np.testing.assert_array_equal(signed_distance_m(there, 30.0, 300.0).get(), signed_distance_m(mask, 30.0, 300.0))


def test_shifts_are_the_same(cupy: ModuleType) -> None:
    reference = image(2)
    moved = np.roll(reference, (2, -3), axis=(0, 1))
    here, there = measure_shift(moved, reference), measure_shift(cupy.asarray(moved), cupy.asarray(reference))
    assert (there.rows, there.columns) == pytest.approx((here.rows, here.columns), abs=1e-6)
    assert there.confidence == pytest.approx(here.confidence, abs=1e-6)


def test_window_features_of_a_build_are_the_same(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipe(TEXTURE_LINE, TERRAIN_LINE, DISTANCE_LINE)
    layers, rasters = given(asked)
    here = window_features(asked, layers, rasters)
    monkeypatch.setattr(device_strips, "STRIP_PIXELS", 700)
    for name, layer in window_features(asked, layers, rasters, DeviceContext("gpu")).items():
        np.testing.assert_allclose(layer, here[name], rtol=1e-6, atol=1e-5, err_msg=name)


def test_the_planned_device_memory_is_enough_for_window_features(cupy: ModuleType) -> None:
    values = np.random.default_rng(4).random((1024, 1024)).astype(np.float32)
    pool = cupy.get_default_memory_pool()
    measures = [measure for measure in texture.MEASURES if measure not in texture.HISTOGRAM_MEASURES]
    kernels: dict[int, device_strips.Kernel] = {
        3: lambda there: texture.texture(there, measures, 7, 0.0, 1.0, 32),
        5: lambda there: terrain.terrain(there, terrain.MEASURES, 30.0, 11),
    }
    for halo, kernel in kernels.items():
        pool.free_all_blocks()
        before = pool.total_bytes()
        device_strips.device_strips(values, halo, kernel)
        assert pool.total_bytes() - before <= device_strips.strip_bytes(1024, 1024, halo)
