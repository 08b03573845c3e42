"""An item that comes to say something else of the same rendition takes its scene along; cells follow where pixels may differ."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import s3fs
from datacube.model import Dataset
from sqlalchemy import insert

from datacube_config.connection import Index, open_index
from datacube_config.schema import mirror_file
from datacube_config.settings import Settings, get_settings
from flows.ingest_here import take_in
from flows.plan_cells import plan
from flows.reconcile import compare_archive
from flows.steps.archives import file_signature, raw_items
from flows.steps.archives.asset_hrefs import ItemPlace
from flows.steps.index.catalogue import scene_of
from flows.steps.index.scene_index import Decision, list_scenes, take_scenes
from flows.steps.ingesting import item_keys
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.loading.mirror_locations import recorded_copies
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import normalise
from flows.steps.storage import s3_options

SITE = "https://stac.example.org/collections/c/items"
Item = dict[str, Any]


def take(index: Index, item: Item, archive: str = "earth-search", page: str = "i", **options: Any) -> Decision:
    """Index an item of a remote catalogue."""
    place = ItemPlace(f"{SITE}/{page}", SITE, SITE, lambda folder: frozenset())
    return take_scenes(index, [normalise(item, place, archive, read_file_grid)], **options)


def taken(decision: Decision) -> tuple[int, int, int]:
    """How many are added, revised and unchanged."""
    return len(decision.added), len(decision.revised), decision.unchanged


def moved(item: Item, name: str = "moved") -> Item:
    """The item with its files in another folder."""
    other = copy.deepcopy(item)
    for asset in other["assets"].values():
        folder, _, file = asset["href"].rpartition("/")
        asset["href"] = f"{folder}/{name}/{file}"
    return other


def offset_by(item: Item, offset: float) -> Item:
    other = copy.deepcopy(item)
    for asset in other["assets"].values():
        for band in asset.get("raster:bands", []):
            band["offset"] = offset
    return other


def only(index: Index) -> Dataset:
    (dataset,) = index.dc.index.datasets.search(product="sentinel2_msi_l2a", archived=None)
    return dataset


def test_files_that_moved_and_another_cloud_cover_are_taken_over(each_index: Index, items: list[Item]) -> None:
    take(each_index, items[0])
    before = scene_of(only(each_index))
    changed = moved(items[0])
    changed["properties"]["eo:cloud_cover"] = 12.5
    assert taken(take(each_index, changed, dry_run=True)) == (0, 1, 0)
    assert scene_of(only(each_index)) == before
    assert taken(take(each_index, changed, page="elsewhere")) == (0, 1, 0)
    after = scene_of(only(each_index))
    assert (after.id, after.revision, only(each_index).uri) == (before.id, 0, f"{SITE}/elsewhere")
    assert after.bands["red"].href == before.bands["red"].href.replace("/B04.", "/moved/B04.")
    search = each_index.dc.index.datasets.search
    assert [UUID(str(each.id)) for each in search(product="sentinel2_msi_l2a", cloud_cover=12.5)] == [before.id]
    assert taken(take(each_index, changed, page="elsewhere")) == (0, 0, 1)


def test_a_mended_offset_is_a_revision_each_time(each_index: Index, items: list[Item]) -> None:
    take(each_index, offset_by(items[0], 0.0))
    assert taken(take(each_index, items[0])) == (0, 1, 0)
    mended = scene_of(only(each_index))
    assert (mended.bands["red"].offset, mended.revision) == (-0.1, 1)
    assert taken(take(each_index, moved(items[0]))) == (0, 1, 0)
    assert scene_of(only(each_index)).revision == 1
    take(each_index, offset_by(items[0], 0.0))
    assert [row["revision"] for row in list_scenes(each_index)] == [2]


def test_what_a_release_before_read_otherwise_is_read_again(
    index: Index, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scale of 1 that an item states of integers was once taken for that of reflectance."""
    item = copy.deepcopy(items[0])
    for asset in item["assets"].values():
        for band in asset.get("raster:bands", []):
            band |= {"scale": 1, "offset": 0, "data_type": "uint16"}
    archive = tmp_path / "items.json"
    archive.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    with monkeypatch.context() as before:
        for module in (raw_items, item_keys, file_signature):
            before.setattr(module, "READING", b"3")
        before.setattr("flows.steps.scenes.radiometry._is_float", lambda asset: True)
        assert ingest_archive(index, str(archive), radiometric_check="off").added == 1
        assert scene_of(only(index)).bands["red"].scale == 1
    assert ingest_archive(index, str(archive), radiometric_check="off").revised == 1
    assert [(row["revision"], row["offset"]) for row in list_scenes(index)] == [(1, -0.1)]
    assert scene_of(only(index)).bands["red"].scale == 1e-4


def test_copies_at_mirrors_of_other_pixels_are_forgotten_and_those_of_moved_files_stay(
    index: Index, items: list[Item]
) -> None:
    take(index, items[0])
    copied = {"band": "red", "mirror": "/mirror", "href": "/mirror/red.tif", "sha256": "0", "size_bytes": 1}
    with index.engine.begin() as connection:
        connection.execute(insert(mirror_file).values(copied | {"dataset_id": only(index).id}))
    scene = scene_of(only(index))
    take(index, moved(items[0]))
    assert recorded_copies(index, [scene.id])
    take(index, offset_by(items[0], 0.0))
    assert not recorded_copies(index, [scene.id])


def test_a_copy_by_another_name_or_from_another_archive_changes_nothing(each_index: Index, items: list[Item]) -> None:
    take(each_index, items[0])
    before = only(each_index).metadata_doc
    assert taken(take(each_index, moved(items[0]) | {"id": "another"})) == (0, 0, 1)
    assert taken(take(each_index, moved(items[0]), "planetary-computer")) == (0, 0, 1)
    assert only(each_index).metadata_doc == before


def test_items_of_two_collections_that_describe_one_scene_do_not_take_turns(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    pair = [items[0], moved(items[0]) | {"collection": "sentinel-2-l2a"}]
    archive = tmp_path / "items.json"
    for expected in ((1, 0, 1), (0, 0, 2)):
        archive.write_text(json.dumps({"type": "FeatureCollection", "features": pair}))
        report = ingest_archive(index, str(archive), radiometric_check="off", full=True)
        assert (report.added, report.revised, report.unchanged) == expected
        assert "/moved/" not in scene_of(only(index)).bands["red"].href
    pair[0] = moved(items[0], "again")
    archive.write_text(json.dumps({"type": "FeatureCollection", "features": pair}))
    assert ingest_archive(index, str(archive), radiometric_check="off").revised == 1
    assert "/again/" in scene_of(only(index)).bands["red"].href


def test_what_is_archived_is_revised_and_stays_archived(each_index: Index, items: list[Item]) -> None:
    take(each_index, items[0])
    each_index.dc.index.datasets.archive([only(each_index).id])
    assert taken(take(each_index, moved(items[0]))) == (0, 1, 0)
    assert only(each_index).is_archived
    assert "/moved/" in scene_of(only(each_index)).bands["red"].href


def test_cells_that_read_a_scene_of_another_scale_are_others_and_no_other_is(
    embedded_settings: Settings, small_archive: Path, small_recipe: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(small_archive, archive)

    def ingested() -> Any:
        with open_index(embedded_settings) as index:
            return ingest_archive(index, str(archive), radiometric_check="off")

    ingested()
    before = plan(str(small_recipe), "demo", "2020").cells
    readers: dict[str, set[str]] = {}
    for cell in before:
        for scene in cell.scenes:
            if scene.collection == "sentinel-2-l2a":
                readers.setdefault(scene.item_id, set()).add(cell.key.label)
    name = min(readers, key=lambda item: (len(readers[item]), item))
    assert 0 < len(readers[name]) < len(before)
    (path,) = archive.rglob(f"{name}.json")
    item = json.loads(path.read_text())
    for asset in item["assets"].values():
        for band in asset.get("raster:bands", asset.get("bands", [])):
            band["scale"] = 2e-4
    path.write_text(json.dumps(item))
    report = ingested()
    assert (report.revised, report.added, report.quarantined) == (1, 0, [])
    after = plan(str(small_recipe), "demo", "2020").cells
    ids = {cell.key.label: cell.id for cell in before}
    assert {cell.key.label for cell in after if cell.id != ids[cell.key.label]} == readers[name]


def scenes_of(folder: Path, items: list[Item]) -> None:
    """A folder for each item, with a file for each of its rasters."""
    for item in items:
        own = copy.deepcopy(item)
        (folder / item["id"]).mkdir(parents=True)
        for asset in own["assets"].values():
            name = asset["href"].rpartition("/")[2]
            asset["href"] = f"./{name}"
            asset.pop("file:size", None)
            if name.endswith(".tif"):
                (folder / item["id"] / name).write_bytes(bytes(512))
        (folder / item["id"] / "item.json").write_text(json.dumps(own))


def places(index: Index) -> set[str]:
    """The folders of the archives that the index has files and locations in."""
    found = {str(Path(dataset.metadata_doc["measurements"]["red"]["path"]).parents[1]) for dataset in every(index)}
    return found | {str(Path(dataset.uri.removeprefix("file://")).parents[1]) for dataset in every(index)}


def every(index: Index) -> list[Dataset]:
    return list(index.dc.index.datasets.search(product="sentinel2_msi_l2a"))


def ingested_from(index: Index, archive: Path) -> tuple[int, int, int]:
    """How many are added, replaced and unchanged."""
    report = ingest_archive(index, str(archive), radiometric_check="off")
    assert report.found == report.added + report.replaced + report.unchanged
    return report.added, report.replaced, report.unchanged


def test_an_archive_that_was_moved_takes_its_scenes_along(each_index: Index, items: list[Item], tmp_path: Path) -> None:
    scenes_of(tmp_path / "m1", items[:2])
    assert ingested_from(each_index, tmp_path / "m1") == (2, 0, 0)
    shutil.copytree(tmp_path / "m1", tmp_path / "copy")
    assert ingested_from(each_index, tmp_path / "copy") == (0, 0, 2)
    assert places(each_index) == {str(tmp_path / "m1")}
    (tmp_path / "m1").rename(tmp_path / "m2")
    assert ingest_archive(each_index, str(tmp_path / "m2"), radiometric_check="off", dry_run=True).replaced == 2
    assert ingested_from(each_index, tmp_path / "m2") == (0, 2, 0)
    assert places(each_index) == {str(tmp_path / "m2")}
    assert [row["revision"] for row in list_scenes(each_index)] == [0, 0]
    assert ingested_from(each_index, tmp_path / "m2") == (0, 0, 2)


def test_what_its_archive_no_longer_lists_is_taken_from_another_one(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    for name, some in (("old", items[:2]), ("new", [moved(item) for item in items[:2]])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"type": "FeatureCollection", "features": some}))
    assert ingested_from(index, tmp_path / "old.json") == (2, 0, 0)
    (tmp_path / "old.json").write_text(json.dumps({"type": "FeatureCollection", "features": items[1:2]}))
    ingest_archive(index, str(tmp_path / "old.json"))
    assert ingested_from(index, tmp_path / "new.json") == (0, 1, 1)
    there = {
        each.metadata_doc["label"]: "/moved/" in each.metadata_doc["measurements"]["red"]["path"]
        for each in every(index)
    }
    assert there == {items[0]["id"]: True, items[1]["id"]: False}


def test_reconcile_of_a_copy_finds_files_lost_elsewhere_and_ingest_takes_its_own(
    embedded_settings: Settings, items: list[Item], tmp_path: Path
) -> None:
    scenes_of(tmp_path / "m1", items[:2])
    with open_index(embedded_settings) as index:
        ingested_from(index, tmp_path / "m1")
        shutil.copytree(tmp_path / "m1", tmp_path / "copy")
        assert ingested_from(index, tmp_path / "copy") == (0, 0, 2)
        shutil.rmtree(tmp_path / "m1")
    report = compare_archive(str(tmp_path / "copy"))
    assert [(row["kind"], row["archive"]) for row in report["orphans"]] == [
        ("scene without files", str(tmp_path / "m1"))
    ] * 2
    assert report["forgotten"] == 2
    with open_index(embedded_settings) as index:
        assert ingested_from(index, tmp_path / "copy") == (0, 2, 0)
        assert places(index) == {str(tmp_path / "copy")}
    again = compare_archive(str(tmp_path / "copy"))
    assert (again["orphans"], again["forgotten"]) == ([], 0)


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket that the settings reach."""
    access = {
        "ENDPOINT_URL": s3_endpoint,
        "ACCESS_KEY_ID": "reader",
        "SECRET_ACCESS_KEY": "secret",
        "REGION": "eu-west-1",
    }
    for name, value in access.items():
        monkeypatch.setenv(f"NEOCUBE_S3_{name}", value)
    return f"scenes-{uuid4()}"


def on_s3(folder: str, item: Item) -> Item:
    own = copy.deepcopy(item)
    for asset in own["assets"].values():
        asset["href"] = f"s3://{folder}/{asset['href'].rpartition('/')[2]}"
        asset.pop("file:size", None)
    return own


def test_what_was_lost_at_a_provider_whose_items_stay_is_taken_over_once(
    embedded_settings: Settings, items: list[Item], tmp_path: Path, bucket: str
) -> None:
    remote = s3fs.S3FileSystem(**s3_options(get_settings()))
    remote.mkdir(bucket)
    archives = {name: str(tmp_path / f"{name}.json") for name in "abc"}
    for name, archive in archives.items():
        own = on_s3(f"{bucket}/{name}", items[0])
        Path(archive).write_text(json.dumps({"type": "FeatureCollection", "features": [own]}))
        for asset in own["assets"].values():
            remote.pipe(asset["href"], bytes(512))

    def ingested(name: str) -> tuple[int, int, int]:
        report = take_in(archives[name])
        return report.added, report.replaced, report.unchanged

    assert [ingested(name) for name in "abc"] == [(1, 0, 0), (0, 0, 1), (0, 0, 1)]
    remote.rm(f"{bucket}/a", recursive=True)
    assert [compare_archive(archives["b"], archives["c"])["forgotten"] for _ in range(2)] == [2, 0]
    assert [ingested(name) for name in "abca"] == [(0, 0, 1), (0, 1, 0), (0, 0, 1), (0, 0, 1)]
    with open_index(embedded_settings) as index:
        assert f"s3://{bucket}/b/" in scene_of(only(index)).bands["red"].href
        assert [row["revision"] for row in list_scenes(index)] == [0]
    again = compare_archive(archives["b"], archives["c"])
    assert (again["orphans"], again["forgotten"]) == ([], 0)
