"""A whole recipe on the GPU leaf agrees with the CPU leaf, in the memory that is planned."""

import importlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from odc.geo.geom import box

from products.device_memory import cell_device_bytes, tile_shape
from products.errors import DeviceFull
from products.features import Observations, compute_features
from products.period import Period
from products.pixel.causes import ACCOUNT_NAMES
from products.registry import features_recipe, parse_recipe
from products.scene import Scene
from products.spec import FeaturesRecipe
from tests.products.host_cupy import use_host_cupy

YEAR = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
SIDE = 24


def recipe(*features: str) -> FeaturesRecipe:
    text = f"""
name: on_gpu
version: 1
kind: features
grid: {{crs: "EPSG:32647", resolution_m: 30, tile_px: {SIDE}}}
period: P1Y
sources:
  - {{collection: sentinel-2-l2a}}
  - {{collection: landsat-c2-l2}}
features:
"""
    found = parse_recipe(text + "".join(f"  - {each}\n" for each in features), "on_gpu.yaml")
    assert isinstance(found, FeaturesRecipe)
    return found


def observations(asked: FeaturesRecipe, n_scenes: int = 14) -> Observations:
    random = np.random.default_rng(8)
    side, bands = SIDE + 2 * asked.margin_px, asked.used_bands
    block = random.integers(300, 6000, (len(bands), n_scenes, side, side)).astype(np.uint16)
    causes = (random.random((n_scenes, side, side)) < 0.3).astype(np.uint8) * 3
    scenes = tuple(
        Scene(UUID(int=s), str(s), "p", "sentinel-2-l2a", "msi", "sentinel-2a", YEAR.start + timedelta(days=20 * s), str(s), "1", str(s),
              box(0, 0, 1, 1, "EPSG:4326"), {})
        for s in range(n_scenes)
    )  # fmt: skip
    accounts = np.zeros((len(ACCOUNT_NAMES), side, side), np.uint16)
    accounts[0], accounts[1] = n_scenes, (causes == 0).sum(axis=0)
    gain, bias = np.full((n_scenes, len(bands)), 1e-4, np.float32), np.full((n_scenes, len(bands)), 0.01, np.float32)
    return Observations(scenes, bands, block, causes, gain, bias, accounts)


def test_a_recipe_is_the_same_on_both_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipe(
        "geomedian: {bands: [blue, red, nir]}", "mads: {}", "index: {names: [NDVI], reduce: [p10, median, std]}", "count: {}",
        "band: {names: [swir1], reduce: [mean]}", "texture: {of: {index: MNDWI}, window_px: 3, measures: [contrast]}",
    )  # fmt: skip
    seen = observations(asked)
    on_cpu = compute_features(asked, seen, YEAR, 2)
    use_host_cupy(monkeypatch, tmp_path)
    on_gpu = compute_features(asked, seen, YEAR, 2, device="gpu")

    texture = asked.feature_names.index("mndwi_p50_contrast_3")
    plain = [layer for layer in range(len(on_cpu)) if layer != texture]
    np.testing.assert_allclose(on_gpu[plain], on_cpu[plain], atol=1e-5, rtol=1e-5)
    assert (
        np.isclose(on_gpu[texture], on_cpu[texture], atol=1e-5).mean() > 0.99
    )  # a grey level may fall to the other side


@pytest.mark.full
def test_features_that_need_the_order_of_time_are_the_same_on_both_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(
        "geomedian: {bands: [blue, red]}", "medoid: {bands: [nir, swir1]}", "best: {index: NDVI, bands: [red, green]}",
        "best: {index: MNDWI, take: min, bands: [blue]}", "harmonics: {index: NDVI, order: 1}",
        "harmonics: {index: MNDWI, order: 2, trend: true, sources: [sentinel-2-l2a]}", "season: {index: NDVI, step_days: 20}",
        "index: {names: [NDVI], reduce: [p50, count]}", "count: {}",
    )  # fmt: skip
    seen = observations(asked, 18)
    seen.causes[:, 0, :4] = 3
    seen.causes[:2, 0, 1:4] = 0
    on_cpu = compute_features(asked, seen, YEAR, 2)
    use_host_cupy(monkeypatch, tmp_path)
    on_gpu = compute_features(asked, seen, YEAR, 2, device="gpu")

    np.testing.assert_array_equal(np.isnan(on_gpu), np.isnan(on_cpu))
    for name, made, wanted in zip(asked.feature_names, on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(made, wanted, atol=NEAR.get(name.rpartition("_")[2], 1e-5), rtol=1e-5, err_msg=name)
    assert np.isfinite(on_gpu).any(axis=(1, 2)).all()
    planned = cell_device_bytes(tile_shape(asked, YEAR), 18, SIDE)
    assert planned == sum(importlib.import_module("cupy").allocated)


NEAR = {"1": 2e-3, "2": 2e-3, "start": 1e-3, "peak": 1e-3, "end": 1e-3, "length": 1e-3, "integral": 1e-3}  # days


def test_the_recipe_with_a_feature_of_every_kind_can_be_made_on_a_gpu() -> None:
    asked = features_recipe("every_feature")
    shape = tile_shape(asked, YEAR)
    assert (shape.n_features, shape.room_numbers) == (
        len(asked.feature_names) - 2 - 4 - 0,
        6 * 25,
    )  # less counts and texture


def test_the_planned_device_bytes_are_those_that_the_leaf_allocates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(
        "geomedian: {bands: [blue, red, nir]}", "mads: {}", "index: {names: [NDVI], reduce: [p10, std]}",
        "texture: {of: {index: MNDWI}, window_px: 3, measures: [contrast]}",
    )  # fmt: skip
    seen = observations(asked, 9)
    use_host_cupy(monkeypatch, tmp_path)
    compute_features(asked, seen, YEAR, 1, device="gpu")

    planned = cell_device_bytes(tile_shape(asked, YEAR), 9, SIDE + 2 * asked.margin_px)
    assert planned == sum(importlib.import_module("cupy").allocated) > 0


def test_a_full_device_takes_smaller_strips_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipe("geomedian: {bands: [blue, red, nir]}")
    seen, said = observations(asked, 9), list[str]()
    use_host_cupy(monkeypatch, tmp_path)
    whole = compute_features(asked, seen, YEAR, 1, device="gpu", say=said.append)
    use_host_cupy(monkeypatch, tmp_path, largest=2 * 3 * 9 * SIDE * 10, free=2**40)
    np.testing.assert_array_equal(compute_features(asked, seen, YEAR, 1, device="gpu", say=said.append), whole)
    assert said == [
        "the device has too little memory for strips of 24 rows: trying 12",
        "the device has too little memory for strips of 12 rows: trying 6",
    ]

    use_host_cupy(monkeypatch, tmp_path, largest=1000, free=2**40)
    with pytest.raises(DeviceFull, match="the device has too little memory for one row of 24 pixels"):
        compute_features(asked, seen, YEAR, 1, device="gpu", say=said.append)


def test_pinned_memory_that_cannot_be_had_halves_the_strips_and_other_errors_of_cuda_are_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe("geomedian: {bands: [blue, red, nir]}")
    seen, said = observations(asked, 9), list[str]()
    use_host_cupy(monkeypatch, tmp_path, largest_pinned=2 * 3 * 9 * SIDE * 12)
    compute_features(asked, seen, YEAR, 1, device="gpu", say=said.append)
    assert said == ["the device has too little memory for strips of 24 rows: trying 12"]

    use_host_cupy(monkeypatch, tmp_path, largest_pinned=0, pinned_status=700)
    with pytest.raises(RuntimeError, match="status 700"):
        compute_features(asked, seen, YEAR, 1, device="gpu", say=said.append)


def test_a_stack_that_the_gpu_cannot_sort_is_no_plan() -> None:
    with pytest.raises(DeviceFull, match="a stack of 3000 observations: the GPU takes at most 2048"):
        cell_device_bytes(tile_shape(recipe("count: {}", "band: {names: [red], reduce: [p50]}"), YEAR), 3000, SIDE)
