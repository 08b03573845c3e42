"""Window features of a GPU build: computed on the device strip by strip, in any array library, as on the CPU."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from products.device_memory import window_bytes
from products.errors import DeviceFull
from products.window import device_strips as strips
from products.window.terrain import MEASURES as TERRAIN
from products.window.texture import HISTOGRAM_MEASURES
from products.window.texture import MEASURES as TEXTURE
from products.window_features import ON_CPU, DeviceContext, device_measures, window_device_bytes, window_features
from products.window_spec import WindowStep
from tests.products.host_cupy import use_host_cupy
from tests.products.window_recipes import DISTANCE_LINE, SIDE, TERRAIN_LINE, TEXTURE_LINE, given, recipe


@pytest.mark.parametrize("strip_pixels", [2**20, 700])
def test_window_features_are_the_same_on_both_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strip_pixels: int
) -> None:
    asked = recipe(TEXTURE_LINE, TERRAIN_LINE, DISTANCE_LINE)
    layers, rasters = given(asked)
    here = window_features(asked, layers, rasters, ON_CPU)
    use_host_cupy(monkeypatch, tmp_path)
    monkeypatch.setattr(strips, "STRIP_PIXELS", strip_pixels)
    sent: list[tuple[int, ...]] = []
    cupy = importlib.import_module("cupy")
    array = cupy.array
    monkeypatch.setattr(cupy, "array", lambda values: (sent.append(values.shape), array(values))[1])
    there = window_features(asked, layers, rasters, DeviceContext("gpu"))

    assert list(there) == list(here) == [name for step in asked.features[1:] for name in step.names()]
    for name, layer in here.items():
        assert there[name].dtype == np.float32 and there[name].shape == (SIDE, SIDE) == layer.shape
        np.testing.assert_allclose(there[name], layer, rtol=1e-6, atol=8e-6, err_msg=name)
        assert np.isfinite(layer).mean() > 0.3, name
    widths = [shape[1] for shape in sent]
    assert set(widths) == {SIDE + 4, SIDE + 8}  # texture, terrain; not the distance
    assert len(sent) == 2 if strip_pixels > 700 else len(sent) > 6
    assert sum(shape[0] - 4 for shape in sent if shape[1] == SIDE + 4) == SIDE


def test_the_measures_of_the_whole_histogram_stay_on_the_host() -> None:
    texture, terrain, distance = (
        step for step in recipe(TEXTURE_LINE, TERRAIN_LINE, DISTANCE_LINE).features if isinstance(step, WindowStep)
    )
    assert set(device_measures(texture)) == set(TEXTURE) - HISTOGRAM_MEASURES
    assert device_measures(terrain) == TERRAIN and device_measures(distance) == ()


def test_a_full_device_takes_smaller_strips_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, said = recipe(TERRAIN_LINE), list[str]()
    layers, rasters = given(asked)
    here = window_features(asked, layers, rasters)
    use_host_cupy(monkeypatch, tmp_path, largest=4 * 48 * 20)
    there = window_features(asked, layers, rasters, DeviceContext("gpu", said.append))
    assert said == [
        "the device has too little memory for window features of 40 rows: trying 20",
        "the device has too little memory for window features of 20 rows: trying 10",
    ]
    for name, layer in here.items():
        np.testing.assert_allclose(there[name], layer, rtol=1e-6, atol=8e-6, err_msg=name)

    use_host_cupy(monkeypatch, tmp_path, largest=100)
    with pytest.raises(DeviceFull, match="too little memory for one row of 40 pixels of a window feature"):
        window_features(asked, layers, rasters, DeviceContext("gpu", said.append))


def test_the_device_memory_of_window_features_is_planned() -> None:
    assert window_bytes(recipe(DISTANCE_LINE), SIDE) == 0 == window_bytes(recipe(), SIDE)
    asked = recipe(TERRAIN_LINE)
    assert window_bytes(asked, 8) == 256 * (8 + 8) * (SIDE + 8)
    wide = window_device_bytes(asked, 10_000, 10_000)
    assert 0.9 * 256 * 2**20 < wide <= 256 * 2**20
    assert window_device_bytes(asked, 10_000, 2**21) == 256 * 2**21 * 9  # a row and its halo
