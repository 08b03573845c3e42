"""The flows as Prefect runs, on a real server: states, names, artifacts, and follow-ups done once."""

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow

from datacube_config.connection import database_url, open_index
from datacube_config.settings import Settings
from flows.build_cube import build_cube
from flows.build_here import build
from flows.failed_work import WorkFailed
from flows.ingest import ingest
from flows.map_area import map_area
from flows.request_product import recipe_argument, request_product
from flows.run_artifacts import MOST_IMAGE_BYTES, leave_build
from flows.run_events import CUBE_PUBLISHED, MODEL_PUBLISHED, SCENES_ARRIVED
from flows.steps.areas import find_area
from flows.steps.index.catalogue import find_scenes
from flows.steps.index.follow_ups import MAP, TRAIN, outstanding
from flows.steps.service.exposition import metrics_endpoint
from flows.steps.service.prefect_figures import PrefectAccess, failed_runs, prefect_readings
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.service_readings import read_service
from flows.tend import FollowUpsFailed, tend
from flows.tend_here import tend_here
from flows.train_on_tables import train_on_tables
from products.errors import RequestError
from products.period import parse_period
from products.registry import features_recipe
from products.sensors import SENSORS
from tests.flows.prefect_server import prefect_server, send_what_waits
from tests.flows.prometheus_server import running_prometheus, unlike_our_page

REQUEST = {"recipe": "mangrove_features", "area": "demo", "period": "2020", "train": "mangrove_extent"}


@dataclass(frozen=True)
class Served:
    """A home whose index holds the small archive, and the API of its Prefect server."""

    settings: Settings
    url: str
    labels: str
    archive: Path

    def asked(self, what: str, filters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """What the API has of a kind."""
        answer = httpx.post(f"{self.url}/{what}/filter", json=filters or {}, timeout=60)
        answer.raise_for_status()
        found = answer.json()
        return list(found["events"] if what == "events" else found)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, initialised_home: Path, small_archive: Path) -> Iterator[Served]:
    """A private Prefect server, and a home and an archive of its own, ingested by a run, for the tests of this file."""
    home = tmp_path_factory.mktemp("served") / "home"
    archive = shutil.copytree(small_archive, home.parent / "archive")
    subprocess.run(["cp", "-a", str(initialised_home), str(home)], check=True)
    settings = Settings(home=home)
    with pytest.MonkeyPatch.context() as patch, database_url(settings), prefect_server(home) as server:
        patch.setenv("NEOCUBE_HOME", str(home))
        patch.setenv("DO_NOT_TRACK", "1")
        ingest(str(archive))
        yield Served(settings, server.url, str(small_archive / "truth" / "labels.geojson"), archive)


@pytest.fixture(scope="module")
def requested(served: Served) -> dict[str, Any]:
    """What a request gave that trains, maps and keeps up."""
    found = request_product(**REQUEST, labels=served.labels, keep_up=True)
    send_what_waits()
    return dict(found)


def change_the_cube(settings: Settings) -> None:
    """Retire one scene and build again, without Prefect, so that nobody is told."""
    recipe, ground = features_recipe(REQUEST["recipe"]), find_area(REQUEST["area"]).geometry
    with open_index(settings) as index:
        scene = find_scenes(index, recipe.sources, parse_period(REQUEST["period"]), ground)[0]
        index.dc.index.datasets.archive([scene.id])
    assert build(REQUEST["recipe"], REQUEST["area"], REQUEST["period"])["built"] >= 1


def test_a_request_builds_trains_and_maps(served: Served, requested: dict[str, Any]) -> None:
    assert requested["built"]["built"] >= 1
    assert requested["trained"]["metrics"]["holdout"]["overall"] >= 0.9
    assert Path(requested["mapped"]["cube"].removeprefix("file://")).is_dir()
    with open_index(served.settings) as index:
        assert outstanding(index, TRAIN) == outstanding(index, MAP) == []


def test_runs_are_named_by_what_they_do(served: Served, requested: dict[str, Any]) -> None:
    runs = {run["name"]: run["state_type"] for run in served.asked("flow_runs")}
    names = ["request-demo-2020", "build-mangrove_features-demo-2020", "train-mangrove_extent-demo-2020"]
    assert [runs[name] for name in [*names, f"map-demo-2020-{requested['trained']['model']}"]] == ["COMPLETED"] * 4


@pytest.mark.usefixtures("requested")
def test_the_figures_of_the_runs_are_those_of_the_api(served: Served) -> None:
    readings = prefect_readings(PrefectAccess(served.url), datetime.now(UTC))
    values = {(each.metric, *each.labels.values()): each.value for each in readings}
    flows = {flow["id"]: flow["name"] for flow in served.asked("flows")}
    ended = Counter((flows[run["flow_id"]], run["state_type"].lower()) for run in served.asked("flow_runs"))
    counted = {key[1:]: value for key, value in values.items() if key[0] == "neocube_flow_runs_last_day"}
    assert counted == ended and ended["build-cube", "completed"] >= 1
    assert {value for key, value in values.items() if key[0] == "neocube_flow_runs"} == {0}, "no run is due or running"
    assert values["neocube_cell_failures_last_day", REQUEST["recipe"]] == 0
    assert values["neocube_flow_completed_timestamp_seconds", "build-cube"] == pytest.approx(time.time(), abs=3600)


def with_a_worker_and_a_gpu(served: Served, folder: Path) -> Path:
    """A work pool with a worker that has just said that it is there; a folder with what says what a GPU does."""
    httpx.post(f"{served.url}/work_pools/", json={"name": "neocube", "type": "process"}).raise_for_status()
    beat = f"{served.url}/work_pools/neocube/workers/heartbeat"
    httpx.post(beat, json={"name": "one", "heartbeat_interval_seconds": 600}).raise_for_status()
    driver = folder / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 0, 35, 1024, 81559\n")
    driver.chmod(0o755)
    return folder


@pytest.mark.full
@pytest.mark.usefixtures("requested")
def test_prometheus_answers_every_panel_with_what_the_run_left(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(with_a_worker_and_a_gpu(served, tmp_path)), prepend=os.pathsep)
    parts = read_service(served.settings, PrefectAccess(served.url))
    with metrics_endpoint(lambda: parts, "127.0.0.1", free_port()) as url, running_prometheus(tmp_path, url) as ask:
        assert unlike_our_page(ask, [reading for part in parts for reading in part.readings]) == {}
        cells = {dict(labels)["product"]: value for labels, value in ask('neocube_cells{state="active"}').items()}
        scenes = sum(ask('neocube_scenes{state="active"}').values())
        online = ask('neocube_workers{status="online"}')
    with open_index(served.settings) as index:
        active = Counter(row.product.name for row in index.dc.index.datasets.search())
    assert cells == {name: active[name] for name in cells} and cells["mangrove_features"] >= 1
    assert scenes == sum(
        count for name, count in active.items() if name in {sensor.product for sensor in SENSORS.values()}
    )
    assert list(online.values()) == [1]


@pytest.mark.usefixtures("requested")
def test_runs_leave_tables_progress_and_pictures(served: Served) -> None:
    left = {each["key"]: each for each in served.asked("artifacts")}
    kinds = {key: each["type"] for key, each in left.items()}
    tables = {"ingest": "table", "build-cells": "table", "map-areas": "table"}
    pictures = {"build-coverage": "image", "build-quicklook": "image", "map": "image"}
    assert kinds == {
        "ingest-progress": "progress",
        "build-progress": "progress",
        "map-progress": "progress",
        "model-card": "markdown",
        "request": "markdown",
        **tables,
        **pictures,
    }
    assert [left[f"{what}-progress"]["data"] for what in ("ingest", "build", "map")] == [100, 100, 100]
    counts = {row["what"]: row["value"] for row in json.loads(left["ingest"]["data"])}
    found = counts["found"]
    assert int(found) >= 8 and counts["added"] == found
    assert left["ingest-progress"]["description"] == f"{served.archive}: {found} items, {found} added"
    for picture in pictures:
        assert left[picture]["data"].startswith("data:image/png;base64,")
        assert len(left[picture]["data"]) < 1.4 * MOST_IMAGE_BYTES


@pytest.mark.usefixtures("requested")
def test_a_request_sends_one_event_for_its_cube_and_one_for_its_model(served: Served) -> None:
    end = time.monotonic() + 60
    sent: list[str] = []
    while len(sent) < 3 and time.monotonic() < end:  # the server stores events in batches
        sent = [event["event"] for event in served.asked("events") if event["event"].startswith("neocube.")]
        time.sleep(0.5)
    assert sorted(sent) == [CUBE_PUBLISHED, MODEL_PUBLISHED, SCENES_ARRIVED]


@pytest.mark.usefixtures("requested")
def test_what_a_request_has_done_is_not_done_again() -> None:
    assert tend() == {"done": [], "failed": [], "elsewhere": []}


@pytest.mark.full
@pytest.mark.usefixtures("requested")
def test_a_cube_that_changes_without_an_event_is_made_good_by_tend(served: Served) -> None:
    change_the_cube(served.settings)
    done = tend()["done"]
    assert [each["kind"] for each in done] == ["train", "map"]
    assert tend_here() == {"done": [], "failed": [], "elsewhere": []}


@pytest.mark.full
@pytest.mark.usefixtures("requested")
def test_a_follow_up_that_fails_stays_due_and_names_its_cause(served: Served, tmp_path: Path) -> None:
    labels = shutil.copy(served.labels, tmp_path / "labels.geojson")
    request_product(**REQUEST, labels=str(labels), keep_up=True)
    change_the_cube(served.settings)
    Path(labels).unlink()
    with pytest.raises(FollowUpsFailed, match=r"labels\.geojson"):
        tend()
    with open_index(served.settings) as index:
        assert [work.parameters["labels"] for work in outstanding(index, TRAIN)] == [str(labels)]


def test_a_recipe_is_asked_for_by_name_or_as_text_and_never_as_a_path(tmp_path: Path) -> None:
    assert recipe_argument("mangrove_features", tmp_path) == "mangrove_features"
    with pytest.raises(RequestError, match="expected the name of a recipe or its whole YAML text, got '/etc/passwd'"):
        recipe_argument("/etc/passwd", tmp_path)
    with pytest.raises(RequestError, match="expected kind"):
        recipe_argument("name: x\nkind: nonsense\n", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_given_as_text_is_kept_in_the_home(tmp_path: Path, small_recipe: Path) -> None:
    kept = recipe_argument(small_recipe.read_text(), tmp_path)
    assert Path(kept).is_relative_to(tmp_path)
    assert features_recipe(kept) == features_recipe(str(small_recipe))


def test_a_model_that_learns_from_other_features_is_refused_before_anything_is_built(
    served: Served, small_recipe: Path
) -> None:
    with pytest.raises(RequestError, match="the model mangrove_extent learns from mangrove_features version 1"):
        request_product(**{**REQUEST, "recipe": small_recipe.read_text()}, labels=served.labels)
    with pytest.raises(RequestError, match="names no labels: give a label file"):
        request_product(**REQUEST)


def ended(served: Served, name: str) -> str:
    """How the newest run of that name ended."""
    runs = [run for run in served.asked("flow_runs") if run["name"] == name]
    return str(max(runs, key=lambda run: run["start_time"])["state_type"])


@pytest.mark.usefixtures("requested")
def test_an_ingest_that_leaves_files_unmirrored_ends_failed(served: Served, tmp_path: Path) -> None:
    gone = next(served.archive.rglob("LC08*/*_SR_B4.TIF"))
    gone.rename(tmp_path / gone.name)
    with pytest.raises(WorkFailed, match="not mirrored LC08") as failure:
        ingest(str(served.archive), mirror={"root": str(tmp_path / "mirror"), "bands": "red"})
    (tmp_path / gone.name).rename(gone)
    assert failure.value.report["mirror"]["failed"] and failure.value.report["mirror"]["copied"]
    assert ended(served, f"ingest-{served.archive}") == "FAILED"


@pytest.mark.usefixtures("requested")
def test_a_build_with_failed_cells_ends_failed_and_wakes_nobody(
    served: Served, small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "failing.recipe.yaml"
    recipe.write_text(small_recipe.read_text().replace("name: mangrove_features", "name: failing_features"))
    band = next(served.archive.rglob("LC08*/*_SR_B4.TIF"))
    whole = band.read_bytes()
    band.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setenv("NEOCUBE_FAILURE_BUDGET", "0")
    with pytest.raises(WorkFailed, match=r"failing_features 2020 .*the failure budget is 0\.0%") as failure:
        build_cube(str(recipe), "demo", "2020")
    band.write_bytes(whole)
    assert failure.value.report["failed"]
    assert ended(served, f"build-{recipe}-demo-2020") == "FAILED"
    tables = [each["data"] for each in served.asked("artifacts") if each["key"] == "build-cells"]
    assert any("failed: " in table and "failing_features" in table for table in tables)
    access = PrefectAccess(served.url)
    failures = {
        tuple(each.labels.values()): each.value
        for each in prefect_readings(access, datetime.now(UTC))
        if "cell_failures" in each.metric
    }
    assert failures[str(recipe),] == len(failure.value.report["failed"])
    assert [each["run"] for each in failed_runs(access, 1)] == [f"build-{recipe}-demo-2020"]
    send_what_waits()
    assert [event for event in served.asked("events") if str(recipe) in json.dumps(event["payload"])] == []


@pytest.mark.usefixtures("requested")
def test_a_map_with_failed_cells_ends_failed(served: Served) -> None:
    with open_index(served.settings) as index:
        index.dc.index.datasets.archive([each.id for each in index.dc.index.datasets.search(product="mangrove_map")])
        model = next(iter(index.dc.index.datasets.search(product="mangrove_extent"))).id
    cells = Path(served.settings.store_url) / "cells" / "mangrove_features"
    cells.rename(cells.with_name("hidden"))
    with pytest.raises(RuntimeError, match="no cube at file://"):
        map_area(str(model), "demo", "2020")
    cells.with_name("hidden").rename(cells)
    assert ended(served, f"map-demo-2020-{model}") == "FAILED"


def test_a_trial_on_tables_leaves_its_card_and_picture(served: Served, tmp_path: Path) -> None:
    for number, name in enumerate(("north", "south")):
        rows = [f"{x},{'b' if x > number else 'a'}" for x in range(-9, 10)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,kind", *rows]))
    recipe = tmp_path / "sides.recipe.yaml"
    recipe.write_text(
        "name: sides\nversion: 1\nkind: model\nestimator: linear\n"
        "table: {target: kind, features: [x], classes: {left: [a], right: [b]}}\n"
    )
    document = train_on_tables(str(recipe), [str(tmp_path / "north.csv"), str(tmp_path / "south.csv")])
    left = {each["key"]: each for each in served.asked("artifacts") if (each["key"] or "").startswith("table-")}
    assert {key: each["type"] for key, each in left.items()} == {"table-card": "markdown", "table-trial": "image"}
    assert left["table-card"]["data"].startswith("# sides, version 1") and document["trained"]
    assert left["table-trial"]["description"] == f"Model sides {document['model']}"


def test_the_pictures_of_a_build_are_of_what_it_was_asked_for(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    report = {"cells": [], "failed": [], "unread": [], "built": 0, "fresh": 1}
    flow(leave_build)(report | {"cube": "/grown.zarr", "asked_cube": "/asked.zarr"}, served.settings)
    (said,) = (each.getMessage() for each in caplog.records if each.getMessage().startswith("no pictures of"))
    assert said.startswith("no pictures of /asked.zarr: ")
