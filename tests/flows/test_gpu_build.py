"""The device of a build: chosen, planned, refused in one line; the same cells come from a GPU, or from its kernels compiled for the host."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from numpy.typing import NDArray

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.cli import main
from flows.plan_cells import chosen_device, plan
from flows.planning import Plan
from flows.steps.cubes.dask_cluster import check_gpus
from products.errors import RequestError
from tests.gpu_here import has_gpu
from tests.products.host_cupy import use_host_cupy

AREA, YEAR = "100.8425,4.9475,100.8475,4.9525", "2020"  # a few tiles in the middle of the archive
RECIPE = """name: on_device
version: 1
kind: features
grid: {crs: utm, resolution_m: 30, tile_px: 32, anchor: landsat}
period: P1Y
sources: [{collection: landsat-c2-l2, clear: {dilate_px: 2}}, {collection: sentinel-2-l2a}]
harmonise: {}
features:
  - geomedian: {bands: [red, nir]}
  - mads: {}
  - index: {names: [NDVI], reduce: [p10, p50, std]}
  - count: {}
"""
# docs/gpu.md: against the CPU leaf, beside 1e-5 of the value; of few observations the geomedian may be a flat minimum, and its MADs with it
NEAR = {"red": 4e-6, "nir": 4e-6, "smad": 4e-6, "emad": 4e-6, "bcmad": 4e-6}
INDEX_NEAR, FLAT_NEAR, FLAT_SHARE = 2e-6, 2e-2, 0.02
UseGpu = Callable[..., None]


without_gpu = pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "on_device.recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def use_gpu(request: pytest.FixtureRequest, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> UseGpu:
    """Makes a GPU visible: its stand-in on the host, or the one that is there."""
    if request.param == "gpu" and not has_gpu():
        pytest.skip("no CUDA device, or cupy is not installed")
    return lambda: use_host_cupy(monkeypatch, compiled) if request.param == "host" else None


def arrays_of(settings: Settings, made: Plan) -> dict[str, NDArray[Any]]:
    """Features by name, and the accounts, of all cells of a plan, one after the other, as the store has them."""
    cells = [zarr.open_group(f"{settings.store_url}/cells/on_device/{cell.id}", mode="r") for cell in made.cells]
    features, accounts = (np.concatenate([cell[name][:] for cell in cells]) for name in ("features", "accounts"))
    return {name: features[:, i] for i, name in enumerate(made.recipe.feature_names)} | {"accounts": accounts}


def forget(settings: Settings, made: Plan) -> None:
    """Take the cells of a plan out of the index."""
    with open_index(settings) as index:
        index.dc.index.datasets.archive([cell.id for cell in made.cells])
        index.dc.index.datasets.purge([cell.id for cell in made.cells])


@pytest.mark.full
def test_cpu_and_gpu_build_the_same_cells_to_the_stated_tolerances(
    ingested_settings: Settings, recipe: str, use_gpu: UseGpu
) -> None:
    on_cpu = build(recipe, AREA, YEAR, device="cpu")
    planned = plan(recipe, AREA, YEAR, "cpu")
    here = arrays_of(ingested_settings, planned)
    forget(ingested_settings, planned)

    use_gpu()
    assert [cell.id for cell in plan(recipe, AREA, YEAR, "gpu").cells] == [cell.id for cell in planned.cells]
    on_gpu = build(recipe, AREA, YEAR)
    assert (on_gpu["device"], on_gpu["device_reason"]) == ("gpu", "auto: a CUDA device is available")
    assert on_gpu["failed"] == []
    assert on_gpu["built"] == on_cpu["built"] >= 1
    there = arrays_of(ingested_settings, planned)
    np.testing.assert_array_equal(there["accounts"], here["accounts"])
    assert np.isfinite(here["red"]).mean() > 0.2
    for name in ("ndvi_p10", "ndvi_p50", "ndvi_std"):
        np.testing.assert_allclose(there[name], here[name], rtol=1e-5, atol=INDEX_NEAR, err_msg=name)
    for name, near in NEAR.items():
        np.testing.assert_allclose(there[name], here[name], atol=FLAT_NEAR, err_msg=name)
        is_near = np.isclose(there[name], here[name], rtol=1e-5, atol=near, equal_nan=True)
        assert is_near.mean() > 1 - FLAT_SHARE, (
            f"{name}: {(~is_near).mean():.3%}, {np.nanmax(abs(there[name] - here[name]))}"
        )
    with open_index(ingested_settings) as index:
        rows = [index.dc.index.datasets.get(cell.id).metadata_doc["properties"] for cell in planned.cells]
    assert {row["neocube:device"] for row in rows} == {"gpu"}


@pytest.mark.full
def test_a_cell_that_returns_on_another_device_keeps_its_bytes(
    ingested_settings: Settings, recipe: str, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(recipe, AREA, YEAR, device="cpu")
    shards = sorted(Path(ingested_settings.store_url, "cells").rglob("c/*/*/*/*"))
    before = [path.read_bytes() for path in shards]
    with open_index(ingested_settings) as index:
        index.dc.index.datasets.archive([cell.id for cell in plan(recipe, AREA, YEAR).cells])

    use_host_cupy(monkeypatch, compiled)
    report = build(recipe, AREA, YEAR, device="gpu")
    assert (report["failed"], report["built"]) == ([], len(plan(recipe, AREA, YEAR).cells))
    assert [path.read_bytes() for path in shards] == before != []


@pytest.mark.full
def test_a_full_device_takes_smaller_strips_and_the_report_says_so(
    ingested_settings: Settings, recipe: str, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = plan(recipe, AREA, YEAR).cells
    use_host_cupy(monkeypatch, compiled, largest=32 * 20 * 2 * max(len(cell.scenes) for cell in cells) * 2, free=2**40)
    report = build(recipe, AREA, YEAR, device="gpu")
    assert report["failed"] == []
    assert len(report["notes"]) == len(cells)
    assert all("the device has too little memory for strips of 32 rows: trying 16" in note for note in report["notes"])

    use_host_cupy(monkeypatch, compiled, largest=64, free=2**40)
    forget(ingested_settings, plan(recipe, AREA, YEAR))
    lost = build(recipe, AREA, YEAR, device="gpu")
    assert len(lost["failed"]) == len(cells)
    assert "the device has too little memory for one row of 32 pixels" in lost["failed"][0]["cause"]
    assert "does not fit even in strips of 16 rows" in lost["failed"][0]["cause"]


def test_the_plan_has_the_memory_of_a_gpu_and_its_pinned_twin(
    ingested_settings: Settings, recipe: str, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = plan(recipe, AREA, YEAR, "cpu").document(0, "EUR")
    assert (on_cpu["device"], on_cpu["device_reason"], on_cpu["device_bytes"]) == ("cpu", "asked for", 0)
    use_host_cupy(monkeypatch, compiled)
    made = plan(recipe, AREA, YEAR, "gpu")
    document, most = made.document(0, "EUR"), max(len(cell.scenes) for cell in made.cells)
    pinned = 2 * 32 * 32 * (most * (2 * 2 + 1) + 4 * 8)
    assert document["device_bytes"] == pinned + 8 * 2 * most
    assert document["host_bytes"] == on_cpu["host_bytes"] + pinned


def test_a_device_without_room_for_a_row_is_refused_or_left(
    ingested_settings: Settings, recipe: str, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_host_cupy(monkeypatch, compiled, free=1000)
    with pytest.raises(
        RequestError,
        match="the device gpu was asked for, but one row of 32 pixels, .* bytes of device memory, 800 are free",
    ):
        plan(recipe, AREA, YEAR, "gpu")
    made = plan(recipe, AREA, YEAR)
    assert made.device == "cpu" and made.device_reason.startswith("auto: one row of 32 pixels")


@without_gpu
@pytest.mark.parametrize("command", ["plan", "build"])
def test_a_gpu_that_is_not_there_is_refused_in_one_line(command: str, ingested_settings: Settings, recipe: str) -> None:
    done = CliRunner().invoke(main, [command, recipe, "--area", AREA, "--period", YEAR, "--device", "gpu"])
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("neocube: the device gpu was asked for, but ") and line.endswith(
        "; use --device cpu, or auto"
    )
    said = CliRunner().invoke(main, ["plan", recipe, "--area", AREA, "--period", YEAR])
    assert "on the cpu (auto: " in said.stdout.splitlines()[-1]


def test_workers_elsewhere_use_a_gpu_only_where_it_is_asked_for() -> None:
    assert chosen_device("gpu", elsewhere=True).device == "gpu"
    left = chosen_device("auto", elsewhere=True)
    assert (left.device, left.reason) == (
        "cpu",
        "auto: workers elsewhere compute on a GPU where --device gpu asks for it",
    )
    check_gpus({"a": "", "b": ""})
    with pytest.raises(
        RequestError, match="on the Dask worker b no CUDA device is available; use --device cpu, or workers with a GPU"
    ):
        check_gpus({"a": "", "b": "no CUDA device is available"})
