"""What is in quarantine is told apart by collection and id, and leaves it by passing, by nothing else."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from datacube_config.connection import Index
from flows.steps.archives.file_signature import local_signature
from flows.steps.ingesting.ingest_archive import ingest_archive, retry_quarantine
from flows.steps.ingesting.quarantine import listed

Item = dict[str, Any]
LANDSAT_7 = "LE07_L2SP_021030_20100109_20200911_02_T1"


def ingest(index: Index, archive: Path) -> Any:
    return ingest_archive(index, str(archive), radiometric_check="off")


def kept(index: Index) -> list[tuple[str, str | None]]:
    return sorted((each["id"], each["collection"]) for each in listed(index))


def test_a_part_of_a_scene_does_not_take_the_scene_of_its_id_out_of_quarantine(
    index: Index, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """USGS gives reflectance, which is refused here, and temperature, which comes a page later, one id."""
    for number, kind in enumerate(("SR", "ST")):
        item = (shared_data / f"stac/usgs/{LANDSAT_7}_{kind}_stac.json").read_text()
        (tmp_path / f"{number}.json").write_text(item)
    monkeypatch.setattr("flows.steps.archives.items.PAGE_ITEMS", 1)
    report = ingest(index, tmp_path)
    assert [each["id"] for each in report.skipped] == [each["id"] for each in report.quarantined] == [LANDSAT_7]
    assert kept(index) == [(LANDSAT_7, "landsat-c2l2-sr")]
    retry_quarantine(index)
    assert [each["attempts"] for each in listed(index)] == [2]


def test_items_of_two_collections_with_one_id_are_each_in_quarantine(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    names = ["sentinel-2-c1-l2a", "sentinel-2-l2a"]
    pair = [copy.deepcopy(items[0]) | {"collection": name, "geometry": None} for name in names]
    archive = tmp_path / "items.json"
    archive.write_text(json.dumps({"type": "FeatureCollection", "features": pair}))
    assert len(ingest(index, archive).quarantined) == 2
    assert kept(index) == [(items[0]["id"], name) for name in names]
    assert retry_quarantine(index).found == 2
    pair[1]["geometry"] = items[0]["geometry"]
    archive.write_text(json.dumps({"type": "FeatureCollection", "features": pair}))
    healed = ingest(index, archive)
    assert (healed.added, len(healed.quarantined)) == (1, 1)
    assert kept(index) == [(items[0]["id"], names[0])]


def test_what_can_be_read_again_leaves_the_name_that_it_was_kept_by(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    (tmp_path / "late.json").write_text("{")
    ingest(index, tmp_path)
    assert kept(index) == [("late.json", None)]
    (tmp_path / "late.json").write_text(json.dumps(items[0] | {"geometry": None}))
    retry_quarantine(index)
    assert kept(index) == [(items[0]["id"], "sentinel-2-c1-l2a")]


def test_what_is_deleted_leaves_the_quarantine(index: Index, items: list[Item], tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "nowhere.json").write_text(json.dumps(items[0] | {"geometry": None}))
    (tmp_path / "good.json").write_text(json.dumps(items[1]))
    ingest(index, tmp_path)
    assert [name for name, _ in kept(index)] == [items[0]["id"], "broken.json"]
    (tmp_path / "nowhere.json").unlink()
    assert ingest(index, tmp_path).gone == []  # what cannot be read may be any of the known ones
    (tmp_path / "broken.json").unlink()
    assert retry_quarantine(index).quarantined != []
    assert [name for name, _ in kept(index)] == [items[0]["id"]]
    assert ingest(index, tmp_path).gone == [items[0]["id"]]
    assert kept(index) == []


def test_a_link_to_a_file_that_is_not_there_stays_in_quarantine(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    links = [{"rel": "item", "href": "./late.json"}]
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "c", "links": links}))
    ingest(index, tmp_path)
    retry_quarantine(index)
    assert [(each["id"], each["attempts"]) for each in listed(index)] == [("late.json", 2)]


def test_a_broken_file_in_a_folder_of_any_name_is_read_again(index: Index, items: list[Item], tmp_path: Path) -> None:
    folder = tmp_path / "scenes #2 of 100 %23"
    folder.mkdir()
    (folder / "late one.json").write_text("{")
    ingest(index, tmp_path)
    (folder / "late one.json").write_text(json.dumps(items[0]))
    assert retry_quarantine(index, radiometric_check="off").added == 1
    assert kept(index) == []


def test_unreadable_things_of_one_name_are_each_in_quarantine(index: Index, items: list[Item], tmp_path: Path) -> None:
    for name in ("s1", "s2", "s3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "item.json").write_text("{")
        (tmp_path / name / "IMG_DATA").mkdir()
        (tmp_path / name / "IMG_DATA/B04.jp2").write_bytes(b"")
    (tmp_path / "halves").mkdir()
    (tmp_path / "halves/half.json").write_text('{"type": "FeatureCollection", "features": [1, 2]}')
    report = ingest(index, tmp_path)
    assert report.found == len(report.quarantined) == len(listed(index)) == 5
    assert [name for name, _ in kept(index)] == [
        "halves/half.json#0",
        "halves/half.json#1",
        *(f"s{n}/item.json" for n in (1, 2, 3)),
    ]
    for name in ("s1", "s2"):
        (tmp_path / name / "item.json").unlink()
    assert [each["id"] for each in ingest(index, tmp_path).quarantined][2:] == [
        "s1/IMG_DATA",
        "s2/IMG_DATA",
        "s3/item.json",
    ]
    (tmp_path / "s3/item.json").write_text(json.dumps(items[0]))
    (tmp_path / "halves/half.json").write_text(json.dumps({"type": "FeatureCollection", "features": items[1:3]}))
    retry_quarantine(index, radiometric_check="off")
    assert [name for name, _ in kept(index)] == ["s1/IMG_DATA", "s2/IMG_DATA"]


@pytest.mark.parametrize("again", ["ingest", "retry"])
def test_what_was_kept_by_the_last_part_of_its_path_is_kept_by_its_path(
    again: str, index: Index, items: list[Item], tmp_path: Path
) -> None:
    for name in ("s1", "s2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "item.json").write_text("{")
    ingest(index, tmp_path)
    with index.engine.begin() as connection:
        connection.execute(text("delete from neocube.quarantine where item_id = 's2/item.json'"))
        connection.execute(text("update neocube.quarantine set item_id = 'item.json', id = gen_random_uuid()"))
        connection.execute(text("update neocube.known_item set item_id = 'item.json' where item_id = 's1/item.json'"))
    if again == "ingest":
        ingest(index, tmp_path)
        assert [name for name, _ in kept(index)] == ["s1/item.json", "s2/item.json"]
    else:
        (tmp_path / "s1/item.json").write_text(json.dumps(items[0]))
        assert retry_quarantine(index, radiometric_check="off").added == 1
        assert kept(index) == []


def test_a_folder_that_cannot_be_listed_is_in_quarantine_and_nothing_is_gone(
    index: Index, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, item in zip(("open", "closed"), items, strict=False):
        (tmp_path / name).mkdir()
        (tmp_path / name / "item.json").write_text(json.dumps(item))
    assert ingest(index, tmp_path).added == 2
    listing = os.scandir

    def denied(path: str) -> Any:
        if str(path).endswith("/closed"):
            raise PermissionError(13, "Permission denied", path)
        return listing(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", denied)
        assert local_signature(str(tmp_path)) is None
        report = ingest(index, tmp_path)
    assert (report.gone, report.unchanged, report.failed) == ([], 1, True)
    (kept_one,) = report.quarantined
    assert kept_one["id"] == "closed"
    assert kept_one["cause"].startswith("unreadable folder: [Errno 13] Permission denied")
    retry_quarantine(index, radiometric_check="off")
    assert kept(index) == []
    assert ingest(index, tmp_path).unchanged == 2


def test_a_link_to_a_folder_elsewhere_is_in_quarantine_until_it_is_removed(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    archive, outside = tmp_path / "archive", tmp_path / "outside"
    for folder in (archive / "inner", outside):
        folder.mkdir(parents=True)
    (outside / "item.json").write_text(json.dumps(items[0]))
    (archive / "inner/item.json").write_text(json.dumps(items[1]))
    (archive / "linked").symlink_to(outside, target_is_directory=True)
    (archive / "again").symlink_to(archive / "inner", target_is_directory=True)
    for _ in range(2):
        (report,) = ingest(index, archive).quarantined
        assert report["id"] == "linked"
        assert (
            "unreadable folder: a symbolic link out of the archive is not followed: ingest the folder"
            in report["cause"]
        )
    assert retry_quarantine(index).added == 0
    (archive / "linked").unlink()
    retry_quarantine(index)
    assert kept(index) == []
