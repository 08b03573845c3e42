"""Building features: what is made, what is left, what becomes stale."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.batch_runners import Batch, Outcome, _submitted, run_in_processes
from flows.build_here import build
from flows.cli import main
from flows.plan_cells import plan
from flows.steps.cubes.cube_pointers import CubeKey, current_cube
from flows.steps.index.catalogue import find_scenes, published_cells
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.tile_block import in_written_order, load_observations
from products.errors import RequestError
from products.period import parse_period
from products.registry import features_recipe

AREA = "demo"
YEAR = "2020"


def cells_of(settings: Settings) -> dict[tuple[str, str], UUID]:
    with open_index(settings) as index:
        found = published_cells(index, "mangrove_features", 1, [parse_period(YEAR)])
    return {place: cell.id for place, cell in found.items()}


@contextmanager
def a_scene_of_few_cells(settings: Settings, recipe: Path) -> Iterator[tuple[Index, UUID, set[UUID]]]:
    """A scene that some of the planned cells read, and the ids of those cells."""
    made = plan(str(recipe), AREA, YEAR)
    readers: dict[UUID, set[UUID]] = {}
    for cell in made.cells:
        for scene in cell.scenes:
            readers.setdefault(scene.id, set()).add(cell.id)
    scene = min(readers, key=lambda number: (len(readers[number]), number))
    assert 0 < len(readers[scene]) < len(made.cells)
    with open_index(settings) as index:
        yield index, scene, readers[scene]


def files(root: str) -> dict[str, float]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(Path(root).rglob("*")) if path.is_file()}


def test_a_second_build_does_nothing(ingested_settings: Settings, small_recipe: Path) -> None:
    first = build(str(small_recipe), AREA, YEAR)
    assert first["built"] == len(cells_of(ingested_settings)) >= 4
    assert first["failed"] == [] and first["unread"] == []
    before = files(ingested_settings.store_url)
    second = build(str(small_recipe), AREA, YEAR)
    assert (second["built"], second["fresh"], second["bytes_read"]) == (0, first["built"], 0)
    assert second["cube"] == first["cube"]
    assert files(ingested_settings.store_url) == before


@pytest.mark.full
def test_only_the_cells_of_a_retired_scene_are_rebuilt_and_its_return_restores_them(
    ingested_settings: Settings, small_recipe: Path
) -> None:
    build(str(small_recipe), AREA, YEAR)
    before = cells_of(ingested_settings)
    with a_scene_of_few_cells(ingested_settings, small_recipe) as (index, scene, touched):
        index.dc.index.datasets.archive([scene])
    without = build(str(small_recipe), AREA, YEAR)
    assert without["built"] == len(touched)
    between = cells_of(ingested_settings)
    assert {before[place] for place in before if between[place] != before[place]} == touched
    with open_index(ingested_settings) as index:
        index.dc.index.datasets.restore([scene])
    written = files(f"{ingested_settings.store_url}/cells")
    again = build(str(small_recipe), AREA, YEAR)
    assert again["built"] == len(touched)
    assert cells_of(ingested_settings) == before
    assert files(f"{ingested_settings.store_url}/cells") == written


def test_cells_that_were_made_before_come_back_without_reading_imagery(
    ingested_settings: Settings, small_recipe: Path
) -> None:
    build(str(small_recipe), AREA, YEAR)
    before = cells_of(ingested_settings)
    with a_scene_of_few_cells(ingested_settings, small_recipe) as (index, scene, touched):
        index.dc.index.datasets.archive([scene])
    assert build(str(small_recipe), AREA, YEAR)["restored"] == 0
    with open_index(ingested_settings) as index:
        index.dc.index.datasets.restore([scene])
    lost = min(touched)
    shutil.rmtree(Path(ingested_settings.store_url) / "cells" / "mangrove_features" / str(lost))
    again = CliRunner().invoke(main, ["build", str(small_recipe), "--area", AREA, "--period", YEAR, "--json"])
    report = json.loads(again.stdout)
    assert (report["built"], report["restored"]) == (len(touched), len(touched) - 1)
    assert cells_of(ingested_settings) == before
    read = {cell["id"] for cell in report["cells"] if cell["published"]}
    assert read == {str(cell) for cell in touched}
    assert all(cell["used"] > 0 for cell in report["cells"])
    with open_index(ingested_settings) as index:
        index.dc.index.datasets.archive([scene])
    build(str(small_recipe), AREA, YEAR)
    with open_index(ingested_settings) as index:
        index.dc.index.datasets.restore([scene])
    whole = build(str(small_recipe), AREA, YEAR)
    assert (whole["restored"], whole["bytes_read"]) == (len(touched), 0)
    assert cells_of(ingested_settings) == before


def test_a_cell_that_loses_all_its_scenes_is_archived(ingested_settings: Settings, small_recipe: Path) -> None:
    build(str(small_recipe), AREA, YEAR)
    period, recipe = parse_period(YEAR), features_recipe(str(small_recipe))
    with open_index(ingested_settings) as index:
        made = plan(str(small_recipe), AREA, YEAR)
        scenes = find_scenes(index, recipe.sources, period, made.grid.geobox(made.cells[0].key.tile).extent)
        index.dc.index.datasets.archive([scene.id for cell in made.cells for scene in cell.scenes])
    assert scenes
    report = build(str(small_recipe), AREA, YEAR)
    assert report["retired"] == len(made.cells)
    assert cells_of(ingested_settings) == {}


def test_a_cell_keeps_every_scene_as_lineage_and_comes_back_with_them(
    any_settings: Settings, small_archive: Path, small_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any_settings.index_url is not None:
        monkeypatch.setenv("NEOCUBE_INDEX_URL", any_settings.index_url.get_secret_value())
        monkeypatch.setenv("NEOCUBE_INDEX_DRIVER", any_settings.index_driver)
    with open_index(any_settings) as index:
        ingest_archive(index, str(small_archive))
    made = plan(str(small_recipe), AREA, YEAR)
    assert build(str(small_recipe), AREA, YEAR)["built"] == len(made.cells)
    with open_index(any_settings) as index:
        for cell in made.cells:
            scene = cell.scenes[0].id
            derived = index.dc.index.datasets.get_derived(scene) if index.driver == "postgres" else []
            if index.driver == "postgres":
                assert cell.id in {dataset.id for dataset in derived}
            else:
                tree = index.dc.index.lineage.get_source_tree(cell.id)
                assert {child.dataset_id for part in tree.children.values() for child in part} == {
                    s.id for s in cell.scenes
                }
    assert build(str(small_recipe), AREA, YEAR)["built"] == 0
    before = cells_of(any_settings)
    with a_scene_of_few_cells(any_settings, small_recipe) as (index, away, touched):
        index.dc.index.datasets.archive([away])
    with pytest.raises(RequestError, match=f"{len(touched)} of {len(before)} cells are stale, expected at most 0%"):
        build(str(small_recipe), AREA, YEAR, max_stale=0)
    assert cells_of(any_settings) == before
    assert build(str(small_recipe), AREA, YEAR, max_stale=1)["built"] == len(touched)
    between = cells_of(any_settings)
    assert {before[place] for place in before if between[place] != before[place]} == touched
    with open_index(any_settings) as index:
        index.dc.index.datasets.restore([away])
    assert build(str(small_recipe), AREA, YEAR)["built"] == len(touched)
    assert cells_of(any_settings) == before


@pytest.mark.full
def test_tile_size_workers_and_threads_do_not_change_pixels(
    ingested_settings: Settings, small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = opened(build(str(small_recipe), AREA, YEAR)["cube"])
    other = tmp_path / "other.recipe.yaml"
    other.write_text(
        small_recipe.read_text()
        .replace("name: mangrove_features", "name: wide_features")
        .replace("tile_px: 96", "tile_px: 128")
    )
    monkeypatch.setenv("NEOCUBE_DECODE_THREADS", "1")
    report = build(str(other), AREA, YEAR, workers=2)
    assert report["failed"] == []
    two = opened(report["cube"])
    same_x, same_y = np.intersect1d(one.x, two.x), np.intersect1d(one.y, two.y)
    assert len(same_x) >= 64 and len(same_y) >= 64
    for name in ("features", "accounts"):
        left, right = (
            cube[name].sel(x=same_x, y=same_y).transpose("period", ..., "y", "x").values for cube in (one, two)
        )
        np.testing.assert_array_equal(left, right)


def test_an_unread_asset_is_unread_and_the_cell_stays_stale_until_it_is_read(
    embedded_settings: Settings,
    small_archive: Path,
    small_recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(small_archive, archive)
    with open_index(embedded_settings) as index:
        ingest_archive(index, str(archive))
        broken = clearest_asset(index, small_recipe)
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setenv("NEOCUBE_FAILURE_BUDGET", "1")
    report = build(str(small_recipe), AREA, YEAR)
    assert report["failed"] == []
    assert {Path(entry["cause"].split("cannot read ")[1].split(":")[0]).name for entry in report["unread"]} == {
        broken.name
    }
    accounts = opened(report["cube"]).accounts
    assert int(accounts.sel(cause="unread").sum()) > 0
    assert bool((accounts.sel(cause="expected") == accounts.drop_sel(cause="expected").sum("cause")).all())
    stale = [cell for cell in plan(str(small_recipe), AREA, YEAR).cells if cell.state == "stale"]
    assert stale
    again = build(str(small_recipe), AREA, YEAR)
    assert (again["built"], again["fresh"]) == (0, report["built"])
    broken.write_bytes(whole)
    assert build(str(small_recipe), AREA, YEAR)["built"] == len(stale)
    assert all(cell.state == "fresh" for cell in plan(str(small_recipe), AREA, YEAR).cells)


def test_more_unread_than_the_budget_fails_the_cell_and_names_the_file(
    embedded_settings: Settings,
    small_archive: Path,
    small_recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(small_archive, archive)
    with open_index(embedded_settings) as index:
        ingest_archive(index, str(archive))
        broken = clearest_asset(index, small_recipe)
    broken.write_bytes(b"II*\0 this is no image")
    monkeypatch.setenv("NEOCUBE_FAILURE_BUDGET", "0")
    report = build(str(small_recipe), AREA, YEAR)
    assert report["failed"]
    assert "the failure budget is 0.0%" in report["failed"][0]["cause"] and broken.name in report["failed"][0]["cause"]
    assert len(cells_of(embedded_settings)) == report["built"]


class DeadlyBatch(Batch):
    """Cells whose process ends when it is handed them."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (137,)


def test_a_build_whose_worker_is_killed_assembles_what_there_is_and_names_the_rest(
    ingested_settings: Settings, small_recipe: Path
) -> None:
    def last_one_kills(settings: Settings, work: Sequence[Batch]) -> Iterator[list[Outcome]]:
        *cells, last = [replace(batch, cells=(cell,)) for batch in work for cell in batch.cells]
        deadly = DeadlyBatch(**{field.name: getattr(last, field.name) for field in fields(Batch)})
        before = replace(last, cells=(cells[0].cells[0], *last.cells))
        yield from run_in_processes(1)(settings, [*cells, deadly, before])

    report = build(str(small_recipe), AREA, YEAR, run_batches=last_one_kills)
    n_cells = len(cells_of(ingested_settings))
    assert report["built"] == n_cells >= 3 and report["cube"] is not None
    assert {each["cause"][:44] for each in report["failed"]} == {"a process of this build ended before its tim"}
    assert len({each["cell"] for each in report["failed"]}) == 1
    again = build(str(small_recipe), AREA, YEAR)
    assert (again["built"], again["fresh"], again["failed"]) == (1, n_cells, [])


def test_a_batch_for_processes_of_which_one_died_before_fails_as_those_that_they_had() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(BrokenProcessPool, match="terminated abruptly"):
            pool.submit(os._exit, 137).result()
        found = _submitted(pool, cast(Settings, None), cast(Batch, None))
    assert isinstance(found.exception(), BrokenProcessPool)


def test_another_recipe_under_the_same_name_and_version_is_refused(
    ingested_settings: Settings, small_recipe: Path, tmp_path: Path
) -> None:
    build(str(small_recipe), AREA, YEAR)
    changed = tmp_path / "changed.recipe.yaml"
    changed.write_text(small_recipe.read_text().replace("dilate_px: 2", "dilate_px: 1"))
    for ask in (plan, build):
        with pytest.raises(RequestError, match="mangrove_features version 1 was built from another recipe"):
            ask(str(changed), AREA, YEAR)
    commented = tmp_path / "commented.recipe.yaml"
    commented.write_text("# a comment\n" + small_recipe.read_text().replace("title: Annual", "title: Yearly"))
    assert build(str(commented), AREA, YEAR)["built"] == 0


def test_a_cube_is_a_new_snapshot_when_a_cell_changes(ingested_settings: Settings, small_recipe: Path) -> None:
    first = build(str(small_recipe), AREA, YEAR)["cube"]
    pixels = opened(first).features.values
    with a_scene_of_few_cells(ingested_settings, small_recipe) as (index, scene, _):
        index.dc.index.datasets.archive([scene])
    second = build(str(small_recipe), AREA, YEAR)["cube"]
    assert second != first
    np.testing.assert_array_equal(opened(first).features.values, pixels)
    with open_index(ingested_settings) as index:
        area = plan(str(small_recipe), AREA, YEAR).area.name
        current = current_cube(index, CubeKey("mangrove_features", 1, area, "EPSG:32647"))
    assert current is not None and current.snapshot_url == f"file://{second}"


def opened(url: str) -> Any:
    return xr.open_zarr(url).load()


def clearest_asset(index: Index, recipe: Path) -> Path:
    """The red band of the scene with the most clear pixels."""
    wanted = features_recipe(str(recipe))
    made = plan(str(recipe), AREA, YEAR)
    cell = made.cells[0]
    loaded = load_observations(wanted, cell.scenes, made.grid.geobox(cell.key.tile), 1, RasterAccess())
    clear = (loaded.seen.causes == 0).sum(axis=(1, 2))
    return Path(in_written_order(cell.scenes)[int(clear.argmax())].bands["red"].href)
