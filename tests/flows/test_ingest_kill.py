"""An ingest killed with SIGKILL at any stage and run again, or run beside another, leaves what one undisturbed run leaves."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import flows.steps.index.scene_index
import flows.steps.ingesting.harvest
import flows.steps.ingesting.harvest_files
import flows.steps.ingesting.ingest_archive
import flows.steps.ingesting.known_items
import flows.steps.ingesting.quarantine
import flows.steps.ingesting.take_items
from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.areas import find_area
from flows.steps.index.scene_index import list_scenes
from flows.steps.ingesting.ingest_archive import IngestReport, ingest_archive
from tests.flows.hostile_stac import Fault, HostileStac, hostile_stac
from tests.flows.killing import after, before, fork, killed_by

Item = dict[str, Any]
State = dict[str, list[Any]]


take, cursor = flows.steps.ingesting.take_items, flows.steps.ingesting.harvest.HarvestCursor
STAGES = {
    "before the first batch is sifted": before(take, "sift"),
    "with a page normalised, not indexed": before(take, "take_scenes", 2),
    "inside the transaction of a page": before(flows.steps.index.scene_index, "record_reasons", 2),
    "with a page committed, quarantine as it was": before(take, "release", 2),
    "before what was refused is kept": before(take, "keep", 2),
    "before items are remembered": before(take, "remember", 3),
    "with items remembered, the page not stored": before(cursor, "keep_page", 3),
    "after the page is stored": after(cursor, "keep_page", 3),
    "at the end of the listing": before(cursor, "complete"),
    "after the end": after(cursor, "complete"),
}


@pytest.fixture(scope="module")
def items(shared_data: Path) -> list[Item]:
    """26 items of two tiles: one of them in two renditions, one without a geometry, one without a band."""
    found: list[Item] = []
    for name in ("c1/13TDE_2024_10_items.json", "v0/S2_36MYB_2020_16_items.json"):
        found += json.loads((shared_data / "stac/earth_search" / name).read_text())["features"]
    found = [item | {"collection": "sentinel-2-c1-l2a"} for item in found]
    better = json.loads(json.dumps(found[0]))
    name = better["properties"]["s2:product_uri"].replace("_N0510_", "_N0511_")
    better |= {"id": f"{better['id']}_b"}
    better["properties"] |= {"s2:processing_baseline": "05.11", "s2:product_uri": name}
    del found[5]["assets"]["red"]
    return [*found, better, found[1] | {"id": "nowhere", "geometry": None}]


@pytest.fixture(scope="module")
def api(items: list[Item]) -> Iterator[HostileStac]:
    with hostile_stac(items) as stac:
        yield stac


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, initialised_home: Path, api: HostileStac
) -> tuple[IngestReport, State]:
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    subprocess.run(["cp", "-a", str(initialised_home), str(home)], check=True)
    report = ingest(Settings(home=home), api.url)
    assert (report.found, len(report.quarantined)) == (28, 2)
    assert report.added + report.replaced == 25
    return report, state(Settings(home=home))


def ingest(settings: Settings, archive: str, **options: Any) -> IngestReport:
    with open_index(settings) as index:
        return ingest_archive(index, archive, radiometric_check="off", **options)


def state(settings: Settings) -> State:
    """What ingest left, without the times and the number of tries."""
    with open_index(settings) as index:
        return {
            "scenes": sorted(json.dumps(row, sort_keys=True) for row in list_scenes(index)),
            "quarantine": rows(index, "select archive, item_id, cause from neocube.quarantine"),
            "known": rows(
                index,
                "select archive, collection, item_id, encode(digest, 'hex'), cast(dataset_id as text), gone_at is null "
                "from neocube.known_item",
            ),
            "harvest": rows(index, "select archive, mark, cast(high_water as text), next_page from neocube.harvest"),
        }


def rows(index: Index, query: str) -> list[Any]:
    with index.engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(text(query)))


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_ingest_run_again_leaves_the_same_index(
    stage: str, undisturbed: tuple[IngestReport, State], embedded_settings: Settings, api: HostileStac
) -> None:
    assert killed_by(lambda: ingest(embedded_settings, api.url), STAGES[stage]) == signal.SIGKILL
    report = ingest(embedded_settings, api.url)
    assert report.stopped == []
    assert state(embedded_settings) == undisturbed[1]


IN_ONE_TRANSACTION = "inside the transaction of a page"


@pytest.mark.parametrize(
    "stage",
    [
        IN_ONE_TRANSACTION,
        *(pytest.param(each, marks=pytest.mark.full) for each in STAGES if each != IN_ONE_TRANSACTION),
    ],
)
def test_a_killed_ingest_into_postgis_run_again_leaves_the_same_index(
    stage: str, undisturbed: tuple[IngestReport, State], postgis_settings: Settings, api: HostileStac
) -> None:
    assert killed_by(lambda: ingest(postgis_settings, api.url), STAGES[stage]) == signal.SIGKILL
    assert ingest(postgis_settings, api.url).stopped == []
    assert state(postgis_settings) == undisturbed[1]


def test_an_ingest_killed_again_and_again_comes_to_its_end(
    undisturbed: tuple[IngestReport, State], embedded_settings: Settings, api: HostileStac
) -> None:
    api.searches.clear()
    for _ in range(5):
        assert killed_by(lambda: ingest(embedded_settings, api.url), after(cursor, "keep_page")) == signal.SIGKILL
    report = ingest(embedded_settings, api.url)
    assert (report.resumed, report.pages) == (True, 1)
    assert len(api.searches) == 6
    assert state(embedded_settings) == undisturbed[1]


@pytest.mark.parametrize("kind", ["embedded_settings", "postgis_settings"])
def test_ingests_of_overlapping_areas_at_once_leave_the_same_index(
    kind: str, request: pytest.FixtureRequest, undisturbed: tuple[IngestReport, State], api: HostileStac
) -> None:
    settings: Settings = request.getfixturevalue(kind)
    areas = [None, "-110,30,-100,50", "-180,-90,180,90"]
    children = [
        fork(lambda area=area: ingest(settings, api.url, area=find_area(area) if area else None)) for area in areas
    ]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    left, alone = state(settings), undisturbed[1]
    assert {name: left[name] for name in ("scenes", "quarantine", "known")} == {
        name: alone[name] for name in ("scenes", "quarantine", "known")
    }
    assert len(left["harvest"]) == 3
    assert all(row[3] is None for row in left["harvest"])


def test_two_ingests_of_the_same_from_a_bad_api_leave_the_same_index(
    undisturbed: tuple[IngestReport, State], embedded_settings: Settings, items: list[Item], api: HostileStac
) -> None:
    throttled = Fault("status", 429, "slow down", {"retry-after": "1"})
    api.searches.clear()
    api.faults = {2: Fault("cut"), 4: throttled, 7: Fault("same page"), 9: Fault("garbled")}
    children = [fork(lambda: ingest(embedded_settings, api.url)) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    api.faults = {}
    assert state(embedded_settings) == undisturbed[1]


FOLDER_STAGES = {
    "before the first batch is sifted": before(take, "sift"),
    "with a batch normalised, not indexed": before(take, "take_scenes", 2),
    "inside the transaction of a batch": before(flows.steps.index.scene_index, "record_reasons", 2),
    "with a batch committed, its items not remembered": before(take, "remember", 2),
    "with what was lost half marked": after(flows.steps.ingesting.harvest_files, "mark_gone"),
    "at the end of the listing": before(cursor, "complete"),
    "after the end": after(cursor, "complete"),
}


@pytest.fixture(scope="module")
def folder(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The items as files of a folder."""
    root = tmp_path_factory.mktemp("folder") / "archive"
    root.mkdir()
    for number, item in enumerate(items):
        (root / f"{number:02}.json").write_text(json.dumps(item | {"links": []}))
    return root


def ingest_folder(settings: Settings, folder: Path) -> IngestReport:
    """The ingest of a folder in batches of five items."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("flows.steps.archives.items.PAGE_ITEMS", 5)
        return ingest(settings, str(folder))


@pytest.fixture(scope="module")
def home_of_more(tmp_path_factory: pytest.TempPathFactory, initialised_home: Path, folder: Path) -> Path:
    """A home that knows two items of the folder which are not there any more, and one whose content has changed since."""
    home = tmp_path_factory.mktemp("more") / "home"
    subprocess.run(["cp", "-a", str(initialised_home), str(home)], check=True)
    kept = {name: (folder / name).read_text() for name in ("03.json", "20.json", "08.json")}
    changed = json.loads(kept["08.json"])
    changed["properties"]["eo:cloud_cover"] = 1.5
    away = [path for path in folder.iterdir() if path.name not in kept]
    for path in away:
        path.rename(path.with_suffix(".away"))
    try:
        (folder / "08.json").write_text(json.dumps(changed))
        for number, name in ((3, "3x.json"), (20, "20x.json")):
            lost = json.loads(kept[f"{number:02}.json"])
            lost["id"] += "_lost"
            lost["properties"]["s2:product_uri"] = (
                lost["properties"].get("s2:product_uri", "").replace("_N0510_", "_N0509_")
            )
            (folder / name).write_text(json.dumps(lost))
        assert ingest_folder(Settings(home=home), folder).found == 5
    finally:
        for name in ("3x.json", "20x.json"):
            (folder / name).unlink()
        (folder / "08.json").write_text(kept["08.json"])
        for path in away:
            path.with_suffix(".away").rename(path)
    return home


@pytest.fixture(scope="module")
def undisturbed_folder(
    tmp_path_factory: pytest.TempPathFactory, home_of_more: Path, folder: Path
) -> tuple[IngestReport, State]:
    home = tmp_path_factory.mktemp("undisturbed-folder") / "home"
    subprocess.run(["cp", "-a", str(home_of_more), str(home)], check=True)
    report = ingest_folder(Settings(home=home), folder)
    assert (report.found, len(report.quarantined), len(report.gone)) == (28, 2, 2)
    return report, state(Settings(home=home))


@pytest.mark.parametrize("stage", FOLDER_STAGES)
def test_a_killed_ingest_of_a_folder_run_again_leaves_the_same_index(
    stage: str, undisturbed_folder: tuple[IngestReport, State], home_of_more: Path, neocube_home: Path, folder: Path
) -> None:
    subprocess.run(["cp", "-a", str(home_of_more), str(neocube_home)], check=True)
    settings = Settings(home=neocube_home)
    assert killed_by(lambda: ingest_folder(settings, folder), FOLDER_STAGES[stage]) == signal.SIGKILL
    assert ingest_folder(settings, folder).stopped == []
    assert state(settings) == undisturbed_folder[1]
    # and once more: what is known is left alone
    again = ingest_folder(settings, folder)
    assert (again.added, again.replaced, again.gone) == (0, 0, [])
    assert state(settings) == undisturbed_folder[1]


@pytest.mark.parametrize("kind", ["embedded_settings", "postgis_settings"])
def test_an_item_that_changes_between_a_killed_run_and_the_next_revises_its_scene(
    kind: str, request: pytest.FixtureRequest, items: list[Item], tmp_path: Path
) -> None:
    settings: Settings = request.getfixturevalue(kind)
    name, item = tmp_path / "item.json", json.loads(json.dumps(items[0] | {"links": []}))
    name.write_text(json.dumps(item))
    assert killed_by(lambda: ingest(settings, str(tmp_path)), before(take, "remember")) == signal.SIGKILL
    for asset in item["assets"].values():
        asset["raster:bands"] = [{**band, "offset": -0.05} for band in asset.get("raster:bands", [])]
    name.write_text(json.dumps(item))
    report = ingest(settings, str(tmp_path))
    assert (report.added, report.revised, report.unchanged) == (0, 1, 0)
    with open_index(settings) as index:
        (scene,) = list_scenes(index)
    assert (scene["revision"], scene["offset"]) == (1, -0.05)
    assert (ingest(settings, str(tmp_path)).revised, ingest(settings, str(tmp_path), full=True).revised) == (0, 0)
