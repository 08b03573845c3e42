"""What is known of an archive: unchanged items are passed over, changed ones taken, lost ones noted."""

import copy
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from datacube_config.connection import Index
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.archives.found_items import FoundItem
from flows.steps.archives.items import Wanted, read_items
from flows.steps.areas import find_area
from flows.steps.index.scene_index import list_scenes
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.ingesting.ingest_report import IngestReport
from flows.steps.ingesting.item_keys import item_digest, item_key, key_text
from flows.steps.ingesting.quarantine import listed
from flows.steps.ingesting.take_items import Take, prepare, take_prepared
from flows.steps.scenes import read_scenes
from products.period import parse_period
from tests.flows.gone_items import gone_items

Item = dict[str, Any]


def written(path: Path, items: list[Item]) -> str:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return str(path)


def rows(index: Index, query: str) -> list[Any]:
    with index.engine.connect() as connection:
        return list(connection.execute(text(query)))


def ingest(index: Index, archive: str, **options: Any) -> Any:
    return ingest_archive(index, archive, radiometric_check="off", **options)


def test_the_digest_is_of_what_an_item_says_not_of_how_it_is_written(items: list[Item]) -> None:
    item = items[0]
    shuffled = dict(random.Random(1).sample(list(item.items()), len(item)))
    elsewhere = item | {"links": [{"rel": "self", "href": "https://mirror.example.org/item"}]}
    assert item_digest(item) == item_digest(shuffled) == item_digest(elsewhere)
    changed = copy.deepcopy(item)
    changed["assets"]["red"]["href"] += "?"
    assert item_digest(changed) != item_digest(item)
    assert item_digest({"a": 2**70}) != item_digest({"a": 2**70 + 1})
    assert item_digest({"a": 2**70, "b": 1}) == item_digest({"b": 1, "a": 2**70, "links": []})
    assert len(item_digest({"a": "\ud800", "b": float("nan")})) == 32


@given(st.text(max_size=2000))
def test_any_text_makes_a_key_that_the_database_can_hold(value: str) -> None:
    key = key_text(value)
    assert len(key.encode()) <= 500
    assert "\x00" not in key
    assert key_text(key) == key


@pytest.mark.parametrize(
    ("value", "key"),
    [("a\x00b", "ab"), ("\ud800", "?"), ("é" * 250, "é" * 250), ("a" * 500, "a" * 500), (None, ""), (5, "5")],
)
def test_a_key_says_what_the_database_can_hold_of_a_value(value: object, key: str) -> None:
    assert key_text(value) == key


@pytest.mark.parametrize("letter", ["a", "é"])
def test_texts_too_long_for_a_key_are_short_and_stay_apart(letter: str) -> None:
    keys = [key_text(letter * 2000 + end) for end in "bc"]
    assert keys[0] != keys[1] and all(len(key.encode()) <= 500 for key in keys)


@pytest.mark.parametrize(("said", "key"), [({"collection": "c"}, "c"), ({"collection": 5}, ""), ({"a": 1}, "")])
def test_a_collection_that_is_no_text_is_none(said: Item, key: str) -> None:
    place = ItemPlace("/items/a.json", "/items", "/items", ArchiveFiles().files_in)
    assert item_key(FoundItem("a", place, said)) == (key, "a")


def test_unchanged_items_are_counted_and_not_read_again(
    index: Index, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = written(tmp_path / "items.json", items)
    assert ingest(index, archive).added == 10
    before = rows(index, "select item_id, last_seen from neocube.known_item order by 1")
    items[4]["properties"]["eo:cloud_cover"] = 12.5
    written(tmp_path / "items.json", items)
    seen: list[str] = []
    original = read_scenes.draft
    monkeypatch.setattr(read_scenes, "draft", lambda *a: seen.append(a[0]["id"]) or original(*a))  # type: ignore[func-returns-value]
    report = ingest(index, archive)
    assert (report.found, report.unchanged, report.revised, report.added) == (10, 9, 1, 0)
    assert seen == [items[4]["id"]]
    after = rows(index, "select item_id, last_seen from neocube.known_item order by 1")
    assert all(new.last_seen > old.last_seen for old, new in zip(before, after, strict=True))


def test_a_part_of_another_scene_stays_one(index: Index, shared_data: Path) -> None:
    archive = str(shared_data / "landsat_c2_l2/LC08_L2SP_008059_20191201")
    first, again = ingest(index, archive), ingest(index, archive)
    assert first.skipped
    assert again.skipped == first.skipped
    assert (again.unchanged, again.added) == (1, 0)


def test_what_a_file_no_longer_holds_is_gone_and_comes_back(index: Index, items: list[Item], tmp_path: Path) -> None:
    archive = written(tmp_path / "items.json", items)
    ingest(index, archive)
    written(tmp_path / "items.json", items[2:])
    report = ingest(index, archive)
    assert report.gone == sorted(item["id"] for item in items[:2])
    assert [each["id"] for each in gone_items(index, archive)] == report.gone
    assert list(gone_items(index, "another")) == []
    assert len(list_scenes(index)) == 10
    assert ingest(index, archive).gone == []
    written(tmp_path / "items.json", items)
    assert (ingest(index, archive).unchanged, list(gone_items(index))) == (10, [])


def test_a_part_of_an_archive_says_nothing_of_the_rest(index: Index, items: list[Item], tmp_path: Path) -> None:
    archive = written(tmp_path / "items.json", items)
    ingest(index, archive)
    days = [item["properties"]["datetime"][:10] for item in items]
    written(tmp_path / "items.json", [item for item, day in zip(items, days, strict=True) if day[8:] not in days[0]])
    assert ingest(index, archive, area=find_area("0,0,1,1")).gone == []
    assert ingest(index, archive, collections=["landsat-c2-l2"]).gone == []
    assert ingest(index, archive, period=parse_period(days[-1])).gone == []
    assert items[0]["id"] in ingest(index, archive, period=parse_period(days[0])).gone


def test_an_item_that_cannot_be_read_may_be_any_of_the_known_ones(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    for item in items[:3]:
        (tmp_path / f"{item['id']}.json").write_text(json.dumps(item))
    ingest(index, str(tmp_path))
    broken = tmp_path / f"{items[0]['id']}.json"
    broken.write_text("{")
    report = ingest(index, str(tmp_path))
    assert (len(report.quarantined), report.gone) == (1, [])
    broken.unlink()
    assert ingest(index, str(tmp_path)).gone == [items[0]["id"]]


def test_what_is_in_quarantine_is_never_unchanged(index: Index, items: list[Item], tmp_path: Path) -> None:
    bad = copy.deepcopy(items[0])
    bad["geometry"] = None
    archive = written(tmp_path / "items.json", [bad])
    assert [len(ingest(index, archive).quarantined) for _ in range(2)] == [1, 1]
    assert listed(index)[0]["attempts"] == 2


def test_only_causes_that_may_heal_are_tried_again_by_themselves_ever_later(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    bad = copy.deepcopy(items[0])
    bad["geometry"] = None
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    (tmp_path / "half.json").write_text("{")
    pauses = []
    for _ in range(7):
        ingest(index, str(tmp_path))
        pauses += rows(index, "select retry_at - last_tried from neocube.quarantine where item_id = 'half.json'")
    assert [round(pause[0].total_seconds() / 3600) for pause in pauses] == [1, 4, 24, 72, 168, 168, 168]
    assert {each["id"]: each["retry_at"] is None for each in listed(index)} == {"half.json": False, bad["id"]: True}


def test_ingest_begins_with_what_is_due_in_the_quarantine_of_its_archive(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "other").mkdir()
    for name in ("archive", "other"):
        (tmp_path / name / "late.json").write_text("{")
        ingest(index, str(tmp_path / name))
    (tmp_path / "archive/late.json").write_text(json.dumps(items[0]))
    with index.engine.begin() as connection:
        connection.execute(text("update neocube.quarantine set retry_at = now()"))
    report = ingest(index, str(tmp_path / "archive"), period=parse_period("1999"))
    assert (report.found, report.added) == (1, 1)
    assert [(each["archive"], each["attempts"]) for each in listed(index)] == [(str(tmp_path / "other"), 1)]


def counted(report: Any) -> tuple[int, int, int, int, int]:
    return report.found, report.added, report.revised, report.unchanged, len(report.skipped)


@pytest.mark.parametrize("page_items", [500, 1])
def test_of_two_items_of_one_id_the_first_stays_and_the_other_is_told(
    page_items: int, index: Index, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.steps.archives.items.PAGE_ITEMS", page_items)
    other = copy.deepcopy(items[0])
    for asset in other["assets"].values():
        for band in asset.get("raster:bands", []):
            band["scale"] = 2e-4
    for folder, item in (("a", items[0]), ("b", other), ("c", items[1])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "item.json").write_text(json.dumps(item))
    archive = str(tmp_path)
    assert counted(ingest(index, archive, dry_run=True)) == (3, 2, 0, 0, 1)
    for expected in ((3, 2, 0, 0, 1), (3, 0, 0, 2, 1), (3, 0, 0, 2, 1)):
        report = ingest(index, archive, full=True)
        assert counted(report) == expected
        (told,) = report.skipped
        assert told["id"] == items[0]["id"]
        assert f"give that at {(tmp_path / 'b/item.json').as_uri()} an id of its own" in told["note"]
    assert [row["revision"] for row in list_scenes(index)] == [0, 0]
    changed = copy.deepcopy(items[0])
    changed["properties"]["eo:cloud_cover"] = 12.5
    (tmp_path / "a/item.json").write_text(json.dumps(changed))
    assert counted(ingest(index, archive)) == (3, 0, 1, 1, 1)
    (tmp_path / "a/item.json").unlink()
    assert counted(ingest(index, archive)) == (2, 0, 1, 1, 0)


def refused(item: Item) -> Item:
    """The item without the assets that a scene needs."""
    return {**item, "assets": {"red": {"href": "./B04.tif"}}}


def in_folders(folder: Path, **documents: Item) -> str:
    for name, document in documents.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "item.json").write_text(json.dumps(document))
    return str(folder)


@pytest.mark.parametrize("page_items", [500, 1])
def test_of_two_items_of_one_id_the_one_that_can_be_taken_is_taken(
    page_items: int, index: Index, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.steps.archives.items.PAGE_ITEMS", page_items)
    archive = in_folders(tmp_path, a=refused(items[0]), b=items[0], c=items[1])
    assert ingest(index, archive, dry_run=True).added == 2
    for n_added, n_unchanged in ((2, 0), (0, 2), (0, 2)):
        report = ingest(index, archive)
        assert (report.found, report.added, report.unchanged) == (3, n_added, n_unchanged)
        assert [each["id"] for each in (*report.skipped, *report.quarantined)] == [items[0]["id"]]
        assert listed(index) == []
    assert len(list_scenes(index)) == 2


def test_an_item_that_was_refused_is_told_with_its_cause_where_another_of_its_id_is_taken(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    report = ingest(index, in_folders(tmp_path, a=refused(items[0]), b=items[0], c={**items[0], "geometry": None}))
    assert (report.added, list(report.quarantined)) == (1, [])
    first, last = (each["note"] for each in report.skipped)
    assert "missing asset" in first
    assert f"give that at {(tmp_path / 'a/item.json').as_uri()} an id of its own" in first
    assert last.startswith("another item of this id")
    assert (tmp_path / "c/item.json").as_uri() in last


def test_items_of_one_id_that_are_all_refused_are_all_told_and_wait_in_quarantine(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    archive = in_folders(tmp_path, a=refused(items[0]), b={**items[0], "geometry": None})
    for attempts in (1, 2):
        report = ingest(index, archive)
        assert (report.found, len(report.quarantined), list(report.skipped)) == (2, 2, [])
        assert [each["attempts"] for each in listed(index)] == [attempts]
    assert ingest(index, in_folders(tmp_path, c=items[0])).added == 1
    assert listed(index) == []


def test_batches_that_are_read_ahead_take_the_first_item_of_an_id_that_can_be_taken(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    other = {**items[0], "properties": {**items[0]["properties"], "eo:cloud_cover": 12.5}}
    archive = in_folders(tmp_path, a=refused(items[0]), b=items[0], c=other)
    a, b, c = read_items(archive, Wanted(), ArchiveFiles())
    for n_added, n_unchanged in ((1, 0), (0, 1)):
        since = datetime.now(UTC)
        take = Take(index, archive, IngestReport(archive), ArchiveFiles(), radiometric_check="off")
        first = prepare(take, [a], since=since)
        second = prepare(take, [b], [first], since)
        take_prepared(take, first)
        third = prepare(take, [c], [second], since)
        take_prepared(take, second)
        take_prepared(take, third)
        report = take.report
        assert (report.found, report.added, report.revised, report.unchanged) == (3, n_added, 0, n_unchanged)
        assert (len(report.quarantined), len(report.skipped), listed(index)) == (1, 1, [])


def test_a_mended_item_put_beside_the_one_in_quarantine_is_taken(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    assert len(ingest(index, in_folders(tmp_path, b=refused(items[0]))).quarantined) == 1
    for beside in ("c", "a"):
        report = ingest(index, in_folders(tmp_path, **{beside: items[0]}))
        assert (report.added + report.unchanged, len(report.skipped), listed(index)) == (1, 1, [])
        (tmp_path / beside / "item.json").unlink()


def test_an_item_that_was_mended_is_no_other_item_of_its_id(index: Index, items: list[Item], tmp_path: Path) -> None:
    """What is tried again from the quarantine at the beginning of a run is no part of its listing."""
    archive = written(tmp_path / "items.json", [{**items[0], "assets": {"red": {"href": "./B04.tif"}}}])
    assert len(ingest(index, archive).quarantined) == 1
    with index.engine.begin() as connection:
        connection.execute(text("update neocube.quarantine set retry_at = now()"))
    written(tmp_path / "items.json", items[:1])
    report = ingest(index, archive)
    assert (report.added, list(report.skipped), listed(index)) == (1, [], [])
