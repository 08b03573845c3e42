"""Reconciling finds each way in which archive, index and storage differ, and raises where it is told to."""

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import insert, text

import flows.reconcile
from datacube_config.connection import open_index
from datacube_config.schema import cube_pointer, known_item
from datacube_config.settings import Settings
from flows.cli import main
from flows.reconcile import ReconcileAlarm, compare_archive, reconcile
from flows.steps.areas import find_area
from flows.steps.index.scene_index import list_scenes
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.pictures.reconcile import months_between, reconcile_picture, shares
from flows.steps.service.index_figures import index_readings
from flows.steps.simulation.archive import Simulation, write_archive
from flows.steps.storage import open_storage, path_of
from flows.steps.upkeep.reconcile_report import Limits, alarms_of
from products.errors import RequestError
from products.period import parse_period
from tests.flows.hostile_stac import Fault, hostile_stac


@pytest.fixture(scope="module")
def tiny_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated archive of 48 x 48 pixels a scene, one pass a platform; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny") / "archive"
    write_archive(folder, Simulation(find_area("demo"), parse_period("2020"), 3, 48, "none", 1))
    return folder


@pytest.fixture
def archive(tiny_archive: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(tiny_archive, tmp_path / "archive")
    for name in ("catalog.json", "collection.json", "items.json"):
        for path in (tmp_path / "archive").rglob(name):
            path.unlink()  # a folder of items may lose and gain some
    shutil.rmtree(tmp_path / "archive" / "truth")
    return tmp_path / "archive"


@pytest.fixture
def each_home(any_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Each kind of index in turn, in the environment."""
    if any_settings.index_url is not None:
        monkeypatch.setenv("NEOCUBE_INDEX_URL", any_settings.index_url.get_secret_value())
        monkeypatch.setenv("NEOCUBE_INDEX_DRIVER", any_settings.index_driver)
    return any_settings


def ingested(settings: Settings, archive: Path) -> dict[str, str]:
    """Ingest, and return the dataset id of each active item."""
    with open_index(settings) as index:
        ingest_archive(index, str(archive))
        return {row["item_id"]: row["id"] for row in list_scenes(index) if row["status"] == "active"}


def items_of(archive: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(archive.glob("*/*/*.json")):
        document = json.loads(path.read_text())
        if isinstance(document, dict) and document.get("type") == "Feature" and "assets" in document:
            found[document["id"]] = path
    return found


def better_rendition(path: Path) -> str:
    """Beside a Sentinel-2 item, the same acquisition with a higher baseline; its item id."""
    item = json.loads(path.read_text())
    number = f"{item['id']}_better"
    changed = json.dumps(item | {"id": number})
    for baseline in {item["properties"].get("s2:processing_baseline"), item["properties"].get("processing:version")}:
        if baseline:
            changed = changed.replace(baseline, "05.11").replace(f"_N{baseline.replace('.', '')}_", "_N0511_")
    (path.parent / f"{number}.json").write_text(changed)
    return number


def test_nothing_differs_once_all_is_ingested(each_home: Settings, tiny_archive: Path) -> None:
    before = compare_archive(str(tiny_archive))
    assert before["counts"]["missing"] == len(before["missing"]) == len(items_of(tiny_archive)) > 4
    assert {row["archives"][0] for row in before["missing"]} == {str(tiny_archive)}
    ingested(each_home, tiny_archive)
    report = compare_archive(str(tiny_archive))
    assert report["counts"] == dict.fromkeys(report["counts"], 0)
    assert {row["collection"] for row in report["freshness"]} == {"landsat-c2-l2", "sentinel-2-l2a"}
    for row in (*report["freshness"], *report["collections"]):
        assert row["expected"] == row["indexed"] > 0
        assert row["newest"] == row["newest_indexed"]
    assert Path(report["picture"]).read_bytes()[:4] == b"\x89PNG"
    assert f'archive="{tiny_archive}"' in Path(report["metrics"]).read_text()


def test_every_acquisition_is_in_one_state_and_each_difference_is_named(each_home: Settings, archive: Path) -> None:
    items = items_of(archive)
    landsat = [name for name in items if name.startswith("L")]
    sentinel = [name for name in items if name.startswith("S2")]
    next(items[landsat[0]].parent.glob("*SR_B5*")).unlink()  # quarantined
    active = ingested(each_home, archive)
    shutil.rmtree(items[sentinel[0]].parent)  # orphan
    better = better_rendition(items[sentinel[1]])  # stale
    with open_index(each_home) as index:
        index.dc.index.datasets.archive([UUID(active[sentinel[2]])])  # retired
        index.dc.index.datasets.purge([UUID(active[landsat[1]])], allow_delete_active=True)  # missing
    report = compare_archive(str(archive))
    assert [row["item_id"] for row in report["missing"]] == [landsat[1]]
    assert [(row["item_id"], "missing asset" in row["cause"]) for row in report["quarantined"]] == [(landsat[0], True)]
    orphan = UUID(active[sentinel[0]])
    assert [(row["kind"], row["id"]) for row in report["orphans"]] == [
        ("scene", orphan),
        ("scene without files", orphan),
    ]
    assert [(row["item_id"], row["better_item"]) for row in report["stale"]] == [(sentinel[1], better)]
    assert "baseline 05.11 >" in report["stale"][0]["why"]
    for row in (*report["freshness"], *report["collections"]):
        assert row["expected"] == row["indexed"] + row["retired"] + row["quarantined"] + row["missing"]
    totals = {row["collection"]: row for row in report["collections"]}
    assert (totals["sentinel-2-l2a"]["retired"], totals["landsat-c2-l2"]["quarantined"]) == (1, 1)
    assert report["forgotten"] == 1
    with open_index(each_home) as index:
        ingest_archive(index, str(archive), full=True)
    again = compare_archive(str(archive))
    assert (again["counts"]["missing"], again["forgotten"]) == (0, 0)


def test_an_item_is_not_in_quarantine_because_another_collection_has_one_of_its_id_there(
    embedded_settings: Settings, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    good = items[0] | {"collection": "sentinel-2-l2a"}
    refused = items[1] | {"collection": "sentinel-2-c1-l2a", "id": items[0]["id"], "geometry": None}
    archive = tmp_path / "items.json"
    archive.write_text(json.dumps({"type": "FeatureCollection", "features": [good, refused]}))
    with open_index(embedded_settings) as index:
        taken = ingest_archive(index, str(archive), radiometric_check="off")
        assert (taken.added, len(taken.quarantined)) == (1, 1)
        states = {
            (each.labels["collection"], each.labels["state"])
            for each in index_readings(index)
            if each.metric == "neocube_archive_items" and each.value
        }
        assert ("sentinel-2-l2a", "indexed") in states and ("sentinel-2-l2a", "quarantined") not in states
        (row,) = list_scenes(index)
        index.dc.index.datasets.purge([UUID(row["id"])], allow_delete_active=True)
    report = compare_archive(str(archive), storage="off")
    assert [found["acquisition"] for found in report["missing"]] == [row["acquisition"]]
    kept = [(found["item_id"], found["collection"], found["datetime"]) for found in report["quarantined"]]
    sensed = datetime.fromisoformat(items[1]["properties"]["datetime"])
    assert kept == [(items[0]["id"], "sentinel-2-c1-l2a", sensed)]


def test_what_was_purged_is_taken_again_by_a_plain_ingest(embedded_settings: Settings, tiny_archive: Path) -> None:
    active = ingested(embedded_settings, tiny_archive)
    item, number = min(active.items())
    with open_index(embedded_settings) as index:
        index.dc.index.datasets.purge([UUID(number)], allow_delete_active=True)
    assert compare_archive(str(tiny_archive), storage="off")["forgotten"] == 1
    taken = CliRunner().invoke(main, ["ingest", str(tiny_archive), "--json"])
    assert (taken.exit_code, json.loads(taken.stdout)["added"]) == (0, 1)
    assert ingested(embedded_settings, tiny_archive)[item] == number


def test_what_was_purged_is_asked_of_an_api_again(embedded_settings: Settings, items: list[dict[str, Any]]) -> None:
    with hostile_stac(items[:3]) as stac, open_index(embedded_settings) as index:
        assert ingest_archive(index, stac.url, radiometric_check="off").added == 3
        first = min(list_scenes(index), key=lambda row: str(row["datetime"]))
        index.dc.index.datasets.purge([UUID(first["id"])], allow_delete_active=True)
        compare_archive(stac.url, storage="off")
        assert ingest_archive(index, stac.url, radiometric_check="off").added == 1


def test_two_archives_are_compared_by_acquisition(embedded_settings: Settings, archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive, tmp_path / "other")
    first, second = sorted(items_of(archive))[:2]
    shutil.rmtree(items_of(archive)[first].parent)
    shutil.rmtree(items_of(tmp_path / "other")[second].parent)
    ingested(embedded_settings, archive)
    report = compare_archive(str(archive), str(tmp_path / "other"))
    told = {Path(each["archive"]).name: [row["item_id"] for row in each["items"]] for each in report["between"]}
    assert told == {"archive": [second], "other": [first]}
    assert [(row["item_id"], row["archives"]) for row in report["missing"]] == [(first, [str(tmp_path / "other")])]
    with pytest.raises(RequestError, match="--against: expected another archive than .*, got the same"):
        compare_archive(str(archive), str(archive))


def test_a_scope_leaves_the_rest_alone(embedded_settings: Settings, archive: Path) -> None:
    ingested(embedded_settings, archive)
    for path in items_of(archive).values():
        shutil.rmtree(path.parent, ignore_errors=True)
    everything = compare_archive(str(archive), storage="off")["counts"]["orphans"]
    sentinel = compare_archive(str(archive), collections=["sentinel-2-l2a"], storage="off")["counts"]["orphans"]
    assert 0 < sentinel < everything
    assert compare_archive(str(archive), period="2019", storage="off")["counts"]["orphans"] == 0
    assert compare_archive(str(archive), area="0,0,1,1", storage="off")["counts"]["orphans"] == 0
    assert compare_archive(str(archive), area="demo", period="2020", storage="off")["counts"]["orphans"] == everything


def test_an_item_that_is_two_scenes_or_one_scene_that_is_two_items_is_double(
    embedded_settings: Settings, archive: Path
) -> None:
    path = items_of(archive)[min(name for name in items_of(archive) if name.startswith("S2"))]
    better_rendition(path)
    active = ingested(embedded_settings, archive)
    with open_index(embedded_settings) as index:
        rows = [row for row in list_scenes(index) if row["status"] != "active"]
        index.dc.index.datasets.restore([UUID(row["id"]) for row in rows])
    assert len(rows) == 1
    (path.parent / "copy.json").write_text(json.dumps(json.loads(path.read_text()) | {"id": "copy"}))
    doubles = compare_archive(str(archive), storage="off")["duplicates"]
    assert [row["kind"] for row in doubles] == ["items of one scene", "scenes of one acquisition"]
    assert set(doubles[1]["ids"]) == {rows[0]["id"], active[f"{rows[0]['item_id']}_better"]}


def test_scenes_taken_before_their_claim_was_contradicted_are_listed(each_home: Settings, tiny_archive: Path) -> None:
    ingested(each_home, tiny_archive)
    with open_index(each_home) as index:
        sentinel = [row for row in list_scenes(index) if row["product"] == "sentinel2_msi_l2a"]
        assert {row["radiometry"] for row in sentinel} <= {"confirmed", "undetermined"}
        baseline = sentinel[0]["rendition"].split("/")[0]
        of_claim = {UUID(each["id"]) for each in sentinel if each["rendition"].startswith(f"{baseline}/")}
        with index.engine.begin() as connection:
            contradict = "update neocube.radiometric_verdict set verdict = 'contradicted' where baseline = :baseline"
            assert connection.execute(text(contradict), {"baseline": baseline}).rowcount == 1
            another = "insert into neocube.radiometric_verdict select archive, collection, baseline, 'DN x 1 + 0', verdict, evidence "
            connection.execute(text(f"{another} from neocube.radiometric_verdict where verdict = 'contradicted'"))
    report = compare_archive(str(tiny_archive), storage="off")
    assert {row["id"] for row in report["contradicted"]} == of_claim
    assert re.search(
        "read as DN x 0.0001 .*, which the pixels of other scenes contradict", report["contradicted"][0]["why"]
    )
    assert compare_archive(str(tiny_archive), area="0,0,1,1", storage="off")["counts"]["contradicted"] == 0
    assert compare_archive(str(tiny_archive), period="2019", storage="off")["counts"]["contradicted"] == 0
    with open_index(each_home) as index:
        index.dc.index.datasets.archive(list(of_claim))
    assert compare_archive(str(tiny_archive), storage="off")["counts"]["contradicted"] == 0


def test_what_is_gone_upstream_is_listed(embedded_settings: Settings, tiny_archive: Path) -> None:
    active = ingested(embedded_settings, tiny_archive)
    number = next(iter(active.values()))
    row = {
        "archive": str(tiny_archive),
        "collection": "c",
        "item_id": "left",
        "digest": b"",
        "dataset_id": UUID(number),
    }
    with open_index(embedded_settings) as index, index.engine.begin() as connection:
        connection.execute(insert(known_item).values(**row, gone_at=datetime.now(UTC)))
    (gone,) = compare_archive(str(tiny_archive), storage="off")["gone"]
    assert (gone["item_id"], str(gone["dataset_id"]), gone["active"]) == ("left", number, True)


def test_the_store_is_compared_with_the_rows(published: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = published.settings
    monkeypatch.setenv("NEOCUBE_HOME", str(settings.home))
    monkeypatch.setenv("NEOCUBE_STORE_URL", settings.store_url)
    (tmp_path / "empty").mkdir()
    assert compare_archive(str(tmp_path / "empty"))["orphans"] == []
    storage = open_storage(settings)
    stray = uuid4()
    storage.write_bytes(storage.path("cells", "known_features", str(stray), "zarr.json"), b"{}")
    lost = Path(published.cell_url.removeprefix("file://").replace("%20", " "))
    lost.rename(lost.with_suffix(".away"))
    cube = path_of(published.cube_url)
    old = cube.replace(".zarr", "0.zarr")
    storage.write_bytes(f"{old}/zarr.json", b"{}")
    try:
        found = {row["kind"]: row for row in compare_archive(str(tmp_path / "empty"))["orphans"]}
        assert found["cell without row"]["id"] == stray
        assert str(found["row without files"]["id"]) == lost.name
        assert found["cube without pointer"]["path"] == old
        assert set(found) == {"cell without row", "row without files", "cube without pointer"}
    finally:
        lost.with_suffix(".away").rename(lost)
        storage.remove(storage.path("cells", "known_features", str(stray)))
        storage.remove(old)


def test_each_bad_pointer_is_listed_also_of_one_snapshot(
    published: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = published.settings
    monkeypatch.setenv("NEOCUBE_HOME", str(settings.home))
    monkeypatch.setenv("NEOCUBE_STORE_URL", settings.store_url)
    (tmp_path / "empty").mkdir()
    storage = open_storage(settings)
    away = storage.url(storage.path("cubes", "known_features-v1", "nowhere", "epsg_32647", "0123.zarr"))
    with open_index(settings) as index:
        with index.engine.begin() as connection:
            for area in ("here", "there", "nowhere"):
                row = {"product": "known_features", "version": 1, "crs": "EPSG:32647", "cell_ids": []}
                connection.execute(insert(cube_pointer).values(**row, area=area, snapshot_url=away))
        try:
            found = compare_archive(str(tmp_path / "empty"))["orphans"]
        finally:
            with index.engine.begin() as connection:
                connection.execute(text("delete from neocube.cube_pointer where snapshot_url = :url"), {"url": away})
    assert {row["kind"] for row in found} == {"pointer without cube"}
    assert sorted(row["area"] for row in found) == ["here", "nowhere", "there"]


@pytest.mark.parametrize(("storage", "n_found"), [("all", 1), ("sample", 1), ("off", 0)])
def test_a_scene_whose_files_went_is_an_orphan(
    embedded_settings: Settings, archive: Path, storage: Any, n_found: int
) -> None:
    active = ingested(embedded_settings, archive)
    name, path = min(items_of(archive).items())
    rasters = sorted(path.parent.glob("*.[tT][iI][fF]"))
    rasters[0].unlink()
    orphans = compare_archive(str(archive), storage=storage)["orphans"]
    assert [(row["kind"], str(row["id"])) for row in orphans] == [("scene without files", active[name])] * n_found


def test_a_passed_threshold_fails_the_command_and_the_flow_with_the_words(
    embedded_settings: Settings, tiny_archive: Path
) -> None:
    asked = ["reconcile", str(tiny_archive), "--max-missing", "0.5", "--json"]
    refused = CliRunner().invoke(main, asked)
    assert refused.exit_code == 1
    alarms = json.loads(refused.stdout)["alarms"]
    assert len(alarms) == 2 and "acquisitions are missing (100.0%), at most 50.0% may be" in alarms[0]
    with pytest.raises(ReconcileAlarm, match="acquisitions are missing"):
        reconcile.fn(str(tiny_archive), max_missing=0.5)
    ingested(embedded_settings, tiny_archive)
    passed = CliRunner().invoke(main, asked)
    assert (passed.exit_code, json.loads(passed.stdout)["alarms"]) == (0, [])
    shown = CliRunner().invoke(main, ["reconcile", str(tiny_archive), "--max-age-days", "30"])
    assert shown.exit_code == 1
    assert "ALARM landsat-c2-l2: the newest indexed scene is" in shown.stdout
    assert "missing: 0" in shown.stdout


def test_a_collection_that_nothing_has_is_refused(embedded_settings: Settings, tiny_archive: Path) -> None:
    asked = [
        "reconcile",
        str(tiny_archive),
        "--collection",
        "sentinel-2-l2",
        "--max-missing",
        "0.02",
        "--storage",
        "off",
    ]
    refused = CliRunner().invoke(main, asked)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"no collection 'sentinel-2-l2' in {tiny_archive}; near ones: sentinel-2-l2a" in refused.stderr


NOW = datetime(2021, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("missing", "newest", "limits", "words"),
    [
        (1, NOW, Limits(0.01), ["c: 1 of 100 acquisitions are missing (1.0%), at most 1.0% may be"]),
        (
            0,
            NOW - timedelta(days=10),
            Limits(0.0, 9),
            ["c: the newest indexed scene is 10.0 days old, at most 9 may be"],
        ),
        (0, NOW - timedelta(days=10), Limits(0.0, 10), []),
        (0, None, Limits(None, 3), ["c: nothing is indexed, a scene of the last 3 days is expected"]),
        (100, None, Limits(), []),
    ],
)
def test_alarms_say_what_was_found_and_what_is_allowed(
    missing: int, newest: datetime | None, limits: Limits, words: list[str]
) -> None:
    row = {"collection": "c", "expected": 100, "missing": missing, "newest_indexed": newest}
    at_the_limit = limits.max_missing == 0.01
    assert alarms_of([row], limits, NOW) == ([] if at_the_limit else words)
    if at_the_limit:
        assert alarms_of([row], Limits(0.009), NOW) == [words[0].replace("most 1.0%", "most 0.9%")]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(0.02), ["the archive lists nothing, at most 2.0% of its acquisitions may be missing"]),
        (Limits(None, 3), ["the archive lists nothing, a scene of the last 3 days is expected"]),
        (Limits(0.02, 3), ["the archive lists nothing, a scene of the last 3 days is expected"]),
        (Limits(), []),
    ],
)
def test_where_nothing_is_listed_each_threshold_is_passed(limits: Limits, words: list[str]) -> None:
    assert alarms_of([], limits, NOW) == words


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ((1.5, None), "a share between 0 and 1"),
        ((None, -1), "days, 0 or more"),
        ((None, float("nan")), "days, 0 or more, got nan"),
    ],
)
def test_a_senseless_threshold_is_refused(limits: tuple[float | None, float | None], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Limits(*limits)


def test_the_picture_has_every_month_between_the_first_and_the_last() -> None:
    assert months_between("2019-11", "2020-02") == ["2019-11", "2019-12", "2020-01", "2020-02"]
    rows = [
        {"collection": "a", "month": "2019-11", "expected": 4, "indexed": 1},
        {"collection": "b", "month": "2020-01", "expected": 2, "indexed": 2},
        {"collection": "b", "month": "undated", "expected": 2, "indexed": 0},
    ]
    collections, months, table = shares(rows)
    assert (collections, months) == (["a", "b"], ["2019-11", "2019-12", "2020-01"])
    np.testing.assert_array_equal(table, [[0.25, np.nan, np.nan], [np.nan, np.nan, 1.0]])
    assert reconcile_picture(rows, "known")[:4] == reconcile_picture([], "nothing")[:4] == b"\x89PNG"


def test_findings_beyond_what_is_kept_are_counted(
    embedded_settings: Settings, tiny_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.steps.upkeep.reconciling.MOST_ROWS", 2)
    report = flows.reconcile.compare_archive(str(tiny_archive), storage="off")
    assert len(report["missing"]) == 2 < report["counts"]["missing"]
    assert report["truncated"] == ["missing"]


def test_a_queue_is_not_an_archive_to_compare_with(embedded_settings: Settings) -> None:
    assert embedded_settings.index_url is None
    with pytest.raises(RequestError, match="sqs://new-scenes is a queue, which does not list what there is"):
        compare_archive("sqs://new-scenes")


def test_nothing_is_left_in_the_database(embedded_settings: Settings, tiny_archive: Path) -> None:
    compare_archive(str(tiny_archive), storage="off")
    with open_index(embedded_settings) as index, index.engine.connect() as connection:
        left = connection.scalars(text("select relname from pg_class where relname in ('listing', 'indexed')")).all()
    assert left == []


def test_a_stac_api_is_listed_page_by_page_in_the_turn_of_all_workers(
    embedded_settings: Settings, tiny_archive: Path
) -> None:
    items = [json.loads(path.read_text()) for path in items_of(tiny_archive).values()]
    ingested(embedded_settings, tiny_archive)
    with hostile_stac(items, faults={2: Fault("status", 429, "slow down", {"retry-after": "0"})}) as stac:
        report = compare_archive(stac.url, str(tiny_archive), storage="off")
        assert len(stac.searches) > 2
    assert report["counts"]["missing"] == 0
    assert [each["count"] for each in report["between"]] == [0, 0]
    assert sum(row["indexed"] for row in report["collections"]) == len(items)
    with open_index(embedded_settings) as index, index.engine.connect() as connection:
        assert connection.scalars(text("select provider from neocube.rate_limit")).all() == ["127.0.0.1"]
