"""The figures of the service: what the index, the store and an unreachable part say, by known values, on each kind of index."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from datacube_config.connection import Index, open_index
from datacube_config.errors import StorageUnavailable
from datacube_config.settings import Settings
from flows.steps.cubes.cells import CellDraft, Spent, cell_path, publish_cell
from flows.steps.index.catalogue import scene_of
from flows.steps.index.follow_ups import TRAIN, FollowUp, finish, note
from flows.steps.index.index_setup import add_product
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.service.gpu_figures import gpu_readings
from flows.steps.service.index_figures import CORE_SECONDS, index_readings, newest_cells
from flows.steps.service.metrics import metrics_path, write_metrics
from flows.steps.service.prefect_figures import PrefectAccess
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.service_metrics import METRICS, Reading
from flows.steps.service.service_readings import cost_readings, read_service, reconcile_readings, storage_readings
from flows.steps.storage import open_storage
from flows.steps.upkeep.reconcile_report import gauges_of
from products.identity import NAMESPACE, CellKey
from products.scene import Scene
from products.template import odc_product_definition
from tests.flows.published_product import GRID, PERIODS, TEMPLATE, TILES, PublishedProduct, known_arrays, window

Found = dict[tuple[str, ...], float]
MSI = "sentinel2_msi_l2a"
UNREAD = {"neocube:manifest": {"failed": [{"band": "red", "cause": "not there"}]}, "neocube:decoded_bytes": 3000}
READ = {"neocube:manifest": {"failed": []}, "neocube:decoded_bytes": 1000}


def by_labels(readings: Sequence[Reading]) -> Found:
    """Values by metric and the values of its labels, in the order of METRICS."""
    found = {
        (each.metric, *(each.labels[name] for name in METRICS[each.metric].labels)): each.value for each in readings
    }
    assert len(found) == len(readings), "two readings of one metric have the same labels"
    return found


def publish_two(index: Index, settings: Settings, sources: Sequence[Scene]) -> list[UUID]:
    """Two cells of the known product, made of one scene each: an unread one that took 6 s, and one that took 2 s."""
    add_product(index.dc, odc_product_definition(TEMPLATE))
    arrays, numbers = known_arrays(), []
    for tile, scene, seconds, facts in zip(TILES, sources, (6.0, 2.0), (UNREAD, READ), strict=False):
        key = CellKey(TEMPLATE.product, TEMPLATE.version, tile, PERIODS[0])
        spent = Spent(time.monotonic() - seconds, 2, {"loading": seconds / 2, "computing": seconds / 4})
        number = uuid5(NAMESPACE, key.label)
        draft = CellDraft(number, key, TEMPLATE, GRID, "digest", {"scene": [scene.id]}, facts, spent)
        content = {name: array[:1, ..., *window(tile)] for name, array in arrays.items()}
        assert publish_cell(index, open_storage(settings), draft, content)
        numbers.append(number)
    return numbers


def test_scenes_and_cells_are_counted_as_they_are_now_by_each_driver(
    any_settings: Settings, small_archive: Path
) -> None:
    with open_index(any_settings) as index:
        ingest_archive(index, str(small_archive))
        scenes = [scene_of(each) for each in index.dc.index.datasets.search(product=MSI)]
        publish_two(index, any_settings, scenes)
        before = by_labels(index_readings(index))
        index.dc.index.datasets.archive([scenes[0].id])
        after = by_labels(index_readings(index))

    place, cells = "sentinel-2-l2a", ("known_features", "features")
    newest = max(scene.acquired for scene in scenes).timestamp()
    assert before["neocube_scenes", place, "active"] == before["neocube_scenes_last_day", place] == len(scenes) >= 2
    assert before["neocube_scenes", place, "archived"] == 0
    assert before["neocube_scene_newest_timestamp_seconds", str(small_archive), place] == pytest.approx(
        newest, abs=1e-3
    )
    assert before["neocube_scene_added_timestamp_seconds", place] == pytest.approx(time.time(), abs=600)
    assert before["neocube_archive_items", str(small_archive), place, "indexed"] == len(scenes)
    assert before["neocube_cells", *cells, "active"] == before["neocube_cells_last_day", *cells] == 2
    assert (before["neocube_cells_unread", *cells], before["neocube_cells_stale", *cells]) == (1, 0)
    assert before["neocube_cell_build_seconds", "known_features", "median"] == pytest.approx(4, abs=2)
    assert before["neocube_cell_stage_seconds", "known_features", "loading"] == 2
    assert before["neocube_cell_stage_seconds", "known_features", "computing"] == 1
    assert before["neocube_cell_decoded_bytes", "known_features", "median"] == 2000
    assert before["neocube_cell_decoded_bytes", "known_features", "p95"] == 2900
    assert before["neocube_cells_last_day_core_seconds", "known_features"] == pytest.approx(2 * (6 + 2), abs=8)

    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert after["neocube_scenes", place, "archived"] == after["neocube_cells_stale", *cells] == 1
    assert after["neocube_archive_items", str(small_archive), place, "archived"] == 1
    assert {key[0] for key in changed} <= {
        "neocube_scenes",
        "neocube_scene_newest_timestamp_seconds",
        "neocube_archive_items",
        "neocube_cells_stale",
    }


def test_core_time_has_its_price() -> None:
    readings = [Reading(CORE_SECONDS, 7200, {"product": "a"}), Reading("neocube_cubes", 1, {"product": "a"})]
    (cost,) = cost_readings(readings, 0.05, "EUR")
    assert (cost.value, cost.labels) == (pytest.approx(0.1), {"product": "a", "currency": "EUR"})


def test_work_that_is_due_counts_until_it_is_done(index: Index) -> None:
    training = FollowUp(TRAIN, "a model on a cube", {"recipe": "mangrove_extent"})
    none = by_labels(index_readings(index))
    assert none["neocube_follow_ups", "train"] == none["neocube_follow_ups", "map"] == 0
    note(index, training)
    due = by_labels(index_readings(index))
    assert (due["neocube_follow_ups", "train"], due["neocube_follow_ups", "map"]) == (1, 0)
    assert due["neocube_follow_up_oldest_timestamp_seconds", "train"] == pytest.approx(
        datetime.now(UTC).timestamp(), abs=60
    )
    finish(index, training)
    assert by_labels(index_readings(index)) == none


def test_the_store_says_what_its_newest_cell_takes(published: PublishedProduct) -> None:
    storage = open_storage(published.settings)
    newest = newest_cells(published.index)
    found = by_labels(storage_readings(storage, newest))
    folder = Path(cell_path(storage, "known_features", UUID(newest["known_features"])))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert found["neocube_cell_stored_bytes", "known_features"] == size > 0
    assert 0 < found["neocube_storage_free_bytes",] < found["neocube_storage_size_bytes",]


def test_the_store_on_s3_says_what_its_newest_cell_takes_and_no_room(published_on_s3: PublishedProduct) -> None:
    storage = open_storage(published_on_s3.settings)
    found = by_labels(storage_readings(storage, newest_cells(published_on_s3.index)))
    assert list(found) == [("neocube_cell_stored_bytes", "known_features")]
    assert found["neocube_cell_stored_bytes", "known_features"] > 0


def test_reading_the_figures_writes_nothing_into_the_store(published: PublishedProduct, tmp_path: Path) -> None:
    root = Path(open_storage(published.settings).root)
    before = root.stat().st_mtime_ns
    (storage,) = (part for part in read_service(published.settings, None) if part.part == "storage")
    assert (storage.silence, root.stat().st_mtime_ns) == ("", before)
    new = Settings(home=tmp_path)
    assert by_labels(storage_readings(open_storage(new), {}))["neocube_storage_free_bytes",] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_gone_with_its_cells_is_down(tmp_path: Path) -> None:
    cell = {"known_features": "00000000-0000-0000-0000-000000000000"}
    with pytest.raises(StorageUnavailable, match=f"cannot read the store {tmp_path}/store: .*check NEOCUBE_STORE_URL"):
        storage_readings(open_storage(Settings(home=tmp_path)), cell)


def test_a_bucket_that_is_not_there_is_down(published_on_s3: PublishedProduct) -> None:
    storage = replace(open_storage(published_on_s3.settings), root="s3://no-such-bucket/store")
    with pytest.raises(StorageUnavailable, match="cannot read the store s3://no-such-bucket/store: .*bucket"):
        storage_readings(storage, {})


def test_an_object_store_that_does_not_answer_is_down_and_the_others_are_read(published: PublishedProduct) -> None:
    nowhere = {"store_url": "s3://none/store", "s3_endpoint_url": f"http://127.0.0.1:{free_port()}"}
    keys = {"s3_access_key_id": "key", "s3_secret_access_key": "secret"}
    settings = Settings.model_validate({"home": published.settings.home, **nowhere, **keys})
    silent = {part.part: part.silence for part in read_service(settings, None) if part.part != "gpu"}
    assert silent["index"] == "" and "cannot read the store s3://none/store: Could not connect" in silent["storage"]


def test_a_part_that_does_not_answer_is_down_and_the_others_are_read(tmp_path: Path) -> None:
    nowhere = f"postgresql://odc:secret@127.0.0.1:{free_port()}/none"
    settings = Settings.model_validate({"home": tmp_path, "index_url": nowhere})
    parts = read_service(settings, PrefectAccess(f"http://127.0.0.1:{free_port()}/api"))
    readings = by_labels([reading for part in parts for reading in part.readings])
    assert [readings["neocube_up", part] for part in ("index", "storage", "prefect")] == [0, 1, 0]
    assert {each[0] for each in readings if "gpu" not in each[0]} == {
        "neocube_up",
        "neocube_read_seconds",
        "neocube_storage_free_bytes",
        "neocube_storage_size_bytes",
    }
    assert [bool(part.silence) for part in parts[:3]] == [True, False, True]
    assert "secret" not in parts[0].silence


def test_a_passed_threshold_of_a_reconciliation_is_a_figure(tmp_path: Path) -> None:
    report = {"collections": [], "freshness": [], "counts": {"missing": 3}}
    nowhere = f"postgresql://odc:secret@127.0.0.1:{free_port()}/none"
    now = datetime.now(UTC)
    for archive, alarms in (("here", ["too old", "too few"]), ('a "b"', [])):
        write_metrics(
            metrics_path(tmp_path, "reconcile"), gauges_of(report | {"alarms": alarms}, now), ("archive", archive)
        )
    parts = {
        part.part: part
        for part in read_service(Settings.model_validate({"home": tmp_path, "index_url": nowhere}), None)
    }
    found = by_labels(parts["reconcile"].readings)
    assert (found["neocube_up", "reconcile"], parts["reconcile"].silence) == (1, "")
    assert (found["neocube_reconcile_alarms", "here"], found["neocube_reconcile_alarms", 'a "b"']) == (2, 0)
    assert found["neocube_reconcile_finished_timestamp_seconds", "here"] == pytest.approx(now.timestamp(), abs=1)


def test_a_file_of_reconciliations_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.prom").write_text("neocube_reconcile_alarms{archive= 3\n")
    with pytest.raises(OSError, match=r"cannot read .*x\.prom: .*: delete it, the next `neocube reconcile` writes it"):
        reconcile_readings(tmp_path / "x.prom")


def driver_program(folder: Path, script: str) -> str:
    """A program that stands in for the driver's, on a machine that may have none."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_gpu_says_what_it_does_and_one_that_does_not_say_is_left_out(tmp_path: Path) -> None:
    program = driver_program(tmp_path, "printf '0, 35, 1024, 81559\\n1, [N/A], 2, 81559\\n'")
    assert by_labels(gpu_readings(program)) == {
        ("neocube_gpu_utilization_ratio", "0"): pytest.approx(0.35),
        ("neocube_gpu_memory_used_bytes", "0"): 2**30,
        ("neocube_gpu_memory_size_bytes", "0"): 81559 * 2**20,
        ("neocube_gpu_memory_used_bytes", "1"): 2**21,
        ("neocube_gpu_memory_size_bytes", "1"): 81559 * 2**20,
    }


@pytest.mark.parametrize("status", [6, 9])
def test_a_driver_without_a_gpu_is_no_failure(tmp_path: Path, status: int) -> None:
    assert gpu_readings(driver_program(tmp_path, f"echo No devices were found; exit {status}")) == []


def test_a_driver_that_fails_is_told_in_its_words(tmp_path: Path) -> None:
    program = driver_program(tmp_path, "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    with pytest.raises(OSError, match="nvidia-smi failed: Failed to initialize NVML"):
        gpu_readings(program)


@pytest.mark.parametrize(
    ("metric", "labels", "words"),
    [
        ("neocube_sceens", {}, "expected a metric of METRICS, got 'neocube_sceens'"),
        ("neocube_scenes", {"collection": "a"}, r"neocube_scenes: expected the labels \('collection', 'state'\)"),
    ],
)
def test_a_reading_of_no_known_metric_or_with_other_labels_is_refused(
    metric: str, labels: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Reading(metric, 1, labels)
