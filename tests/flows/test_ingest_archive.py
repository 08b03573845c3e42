"""What ingest promises of scenes: one per acquisition, indexed once, never lost, never restored."""

import copy
import json
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.areas import find_area
from flows.steps.index.scene_index import list_scenes, record_reasons
from flows.steps.ingesting.ingest_archive import IngestReport, ingest_archive, retry_quarantine
from flows.steps.ingesting.quarantine import listed
from products.errors import RequestError
from products.period import parse_period

Item = dict[str, Any]
SOME_BYTES = bytes(512)


@pytest.fixture
def template(shared_data: Path) -> Item:
    """A Sentinel-2 item of Earth Search v1, baseline 05.09, offset applied."""
    text = (shared_data / "stac/earth_search/v1/31UDQ_2023_3_items.json").read_text()
    item: Item = json.loads(text)["features"][0]
    return item


def rendition_of(template: Item, number: str, baseline: str, generated: str) -> Item:
    """The template's acquisition in another rendition."""
    item = copy.deepcopy(template)
    stamp = f"{generated}T000000"
    item["id"] = number
    item["properties"] |= {
        "s2:processing_baseline": baseline,
        "s2:product_uri": f"S2B_MSIL2A_20230609T104629_N{baseline.replace('.', '')}_R051_T31UDQ_{stamp}.SAFE",
    }
    return item


def write_item(folder: Path, item: Item, without: tuple[str, ...] = ()) -> Path:
    """A scene folder: the item with relative hrefs and, beside it, a file for each raster asset but some."""
    folder.mkdir(parents=True, exist_ok=True)
    item = copy.deepcopy(item)
    for name, asset in item["assets"].items():
        if asset["href"].endswith(".tif"):
            asset["href"] = "./" + asset["href"].rpartition("/")[2]
            if name not in without:
                (folder / asset["href"]).write_bytes(SOME_BYTES)
    path = folder / f"{item['id']}.json"
    path.write_text(json.dumps(item))
    return path


def unsized(item: Item) -> Item:
    """The item without the sizes of its files."""
    item = copy.deepcopy(item)
    for asset in item["assets"].values():
        asset.pop("file:size", None)
    return item


def counts(report: IngestReport) -> tuple[int, int, int, int, int, int]:
    """found (the sum of the others, what is skipped and what is revised), added, replaced, superseded, unchanged, quarantined."""
    numbers = (report.added, report.replaced, report.superseded, report.unchanged, len(report.quarantined))
    assert report.found == sum(numbers) + len(report.skipped) + report.revised
    return (report.found, *numbers)


def statuses(index: Index) -> dict[str, str]:
    return {row["item_id"]: row["status"] for row in list_scenes(index)}


# folder: dataset id, CRS, red offset, bands, shape of the default grid
REAL = {
    "landsat_c2_l2/LC08_L2SP_008059_20191201": ("9a2e7d48", "EPSG:32618", -0.2, 9, (512, 512)),
    "landsat_c2_l2/LC08_L2SP_005009_20150710": ("4d47c97a", "EPSG:32624", -0.2, 9, (512, 512)),
    "landsat_c2_l2/LC08_L2SP_001062_20201031": ("", "EPSG:32620", -0.2, 9, (386, 379)),
    "landsat_c2_l2/mini_LT05_L2SP_090084_19980308": ("9b6b1fb3", "EPSG:32655", -0.2, 8, (60, 60)),
    "sentinel2_l2a/S2A_29RKH_20200219_0_L2A": ("", "EPSG:32629", 0.0, 12, (10980, 10980)),
}


def test_real_scene_folders_are_ingested_as_they_are(index: Index, shared_data: Path) -> None:
    for name, (number, crs, offset, n_bands, shape) in REAL.items():
        report = ingest_archive(index, str(shared_data / name))
        assert (report.added, report.quarantined) == (1, []), name
        (row,) = [row for row in list_scenes(index) if name in row["location"]]
        assert row["id"].startswith(number)
        assert (row["crs"], row["offset"], row["status"]) == (crs, offset, "active")
        document = index.dc.index.datasets.get(UUID(row["id"])).metadata_doc
        paths = [Path(band["path"]) for band in document["measurements"].values()]
        assert len(paths) == n_bands
        assert all(path.is_file() and path.parent == shared_data / name for path in paths)
        assert tuple(document["grids"]["default"]["shape"]) == shape
        assert counts(ingest_archive(index, str(shared_data / name)))[1:5] == (0, 0, 0, 1)


def test_rasters_of_other_levels_are_quarantined_with_that_cause(index: Index, shared_data: Path) -> None:
    report = ingest_archive(index, str(shared_data / "landsat_c2_l2"))
    assert counts(report) == (11, 5, 0, 0, 0, 2)
    causes = {each["id"]: each["cause"] for each in report.quarantined}
    names = [f"LC08_L1TP_090084_20160121_{rest}" for rest in ("20170405_01_T1", "20200907_02_T1")]
    assert causes.keys() == {f"reprocessed_pair/{name}/{name}" for name in names}
    assert all(
        "expected a Collection 2 Level-2 MTL" in cause or "expected Level-2" in cause for cause in causes.values()
    )
    assert len(report.skipped) == 4


def test_rasters_without_an_item_are_quarantined_with_that_cause(index: Index, tmp_path: Path) -> None:
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene/B04.tif").write_bytes(SOME_BYTES)
    report = ingest_archive(index, str(tmp_path))
    (refused,) = report.quarantined
    assert "no STAC item describes the rasters" in refused["cause"]
    (tmp_path / "scene/B04.tif").unlink()
    assert ingest_archive(index, str(tmp_path)).gone == []


def test_an_archive_ingested_again_adds_nothing(each_index: Index, shared_data: Path) -> None:
    archive = str(shared_data / "stac/planetary_computer/landsat/netherlands_timeseries_60_items.json")
    assert counts(ingest_archive(each_index, archive)) == (60, 60, 0, 0, 0, 0)
    before = list_scenes(each_index)
    assert counts(ingest_archive(each_index, archive)) == (60, 0, 0, 0, 60, 0)
    assert list_scenes(each_index) == before
    assert len(list_scenes(each_index, "landsat_oli_c2_l2", period=parse_period("2022-03"))) == sum(
        row["datetime"].startswith("2022-03") for row in before
    )


def test_scenes_at_the_antimeridian_and_the_pole_are_found_by_area(each_index: Index, shared_data: Path) -> None:
    for name in ("zone1_wrong_epsg_3271_12_items.json",):
        ingest_archive(each_index, str(shared_data / "stac/planetary_computer/landsat" / name))
    ingest_archive(
        each_index, str(shared_data / "stac/planetary_computer/sentinel2/pc_20240419_high_latitude_4_items.json")
    )
    assert len(list_scenes(each_index)) == 16
    assert len(list_scenes(each_index, area=find_area("-180,-50,-170,-40"))) == 12
    assert len(list_scenes(each_index, area=find_area("90,79,100,83"))) == 4
    assert list_scenes(each_index, area=find_area("0,0,10,10")) == []


def test_the_highest_rendition_is_chosen_and_the_others_archived_with_a_reason(
    each_index: Index, template: Item, tmp_path: Path
) -> None:
    write_item(tmp_path / "a/middle", rendition_of(template, "middle", "04.00", "20230610"))
    write_item(tmp_path / "a/low", rendition_of(template, "low", "02.14", "20240101"))
    assert counts(ingest_archive(each_index, str(tmp_path / "a"))) == (2, 1, 0, 1, 0, 0)
    middle = {row["item_id"]: row["id"] for row in list_scenes(each_index)}["middle"]
    assert statuses(each_index) == {
        "middle": "active",
        "low": f"archived: superseded by {middle}: baseline 04.00 > 02.14",
    }
    write_item(tmp_path / "a/high", rendition_of(template, "high", "05.10", "20230101"))
    assert counts(ingest_archive(each_index, str(tmp_path / "a"))) == (3, 0, 1, 0, 2, 0)
    high = {row["item_id"]: row["id"] for row in list_scenes(each_index)}["high"]
    assert statuses(each_index)["high"] == "active"
    assert statuses(each_index)["middle"] == f"archived: superseded by {high}: baseline 05.10 > 04.00"
    assert counts(ingest_archive(each_index, str(tmp_path / "a"))) == (3, 0, 0, 0, 3, 0)


def test_the_order_of_arrival_does_not_change_what_is_chosen(index: Index, template: Item, tmp_path: Path) -> None:
    for name, baseline in (("first", "05.10"), ("second", "02.14"), ("third", "05.00")):
        write_item(tmp_path / name, rendition_of(template, name, baseline, "20240101"))
        ingest_archive(index, str(tmp_path / name))
    assert [name for name, status in statuses(index).items() if status == "active"] == ["first"]


def test_what_an_operator_retired_stays_retired(each_index: Index, template: Item, tmp_path: Path) -> None:
    write_item(tmp_path / "old", rendition_of(template, "old", "05.00", "20230610"))
    ingest_archive(each_index, str(tmp_path))
    number = UUID(list_scenes(each_index)[0]["id"])
    each_index.dc.index.datasets.archive([number])
    record_reasons(each_index, {number: "haze"}, "operator")
    write_item(tmp_path / "lower", rendition_of(template, "lower", "02.14", "20230610"))
    assert counts(ingest_archive(each_index, str(tmp_path))) == (2, 0, 0, 1, 1, 0)
    assert statuses(each_index)["old"] == "archived: haze"
    assert statuses(each_index)["lower"].startswith("archived: superseded")
    write_item(tmp_path / "better", rendition_of(template, "better", "05.10", "20230610"))
    assert counts(ingest_archive(each_index, str(tmp_path))) == (3, 1, 0, 0, 2, 0)
    assert statuses(each_index) | {"lower": ""} == {"old": "archived: haze", "lower": "", "better": "active"}


def test_a_copy_of_a_scene_is_unchanged_and_the_first_location_stays(
    index: Index, template: Item, tmp_path: Path
) -> None:
    first = write_item(tmp_path / "one", template)
    write_item(tmp_path / "two", template | {"id": "another_name"})
    assert counts(ingest_archive(index, str(tmp_path))) == (2, 1, 0, 0, 1, 0)
    (row,) = list_scenes(index)
    assert (row["item_id"], row["location"]) == (template["id"], first.as_uri())


def square(west: float, south: float) -> dict[str, Any]:
    corners = [[west, south], [west + 1, south], [west + 1, south + 1], [west, south + 1], [west, south]]
    return {"type": "Polygon", "coordinates": [corners]}


def broken_items(template: Item) -> dict[str, tuple[str, str]]:
    """File contents by name, each with the cause it must be quarantined for."""

    def changed(**changes: Any) -> str:
        return json.dumps(template | {"id": "broken"} | changes)

    properties = template["properties"]
    return {
        "half.json": (json.dumps(template)[:500], "unreadable item: JSONDecodeError"),
        "latin.json": ("\xff\xfe", "unreadable item"),
        "no_geometry.json": (changed(geometry=None), "no geometry"),
        "point.json": (changed(geometry={"type": "Point", "coordinates": [1, 2]}), "unreadable geometry"),
        "wild.json": (changed(geometry={"type": "Polygon", "coordinates": [[[1, "x"]]]}), "unreadable geometry"),
        "nan.json": (
            changed(geometry={"type": "Polygon", "coordinates": [[[0, 0], [float("nan"), 1], [1, 1], [0, 0]]]}),
            "",
        ),
        "list.json": (changed(properties=[1, 2]), "no properties: expected a STAC item with properties, got [1, 2]"),
        "assets.json": (changed(assets={"red": 3}), "missing asset coastal"),
        "date.json": (changed(properties=properties | {"datetime": "yesterday"}), "no sensing time"),
        "orbit.json": (
            changed(properties=properties | {"sat:relative_orbit": {"a": 1}}),
            "no relative orbit: expected sat:relative_orbit",
        ),
        "epsg.json": (changed(properties=properties | {"proj:epsg": 999999}), "unknown coordinate system"),
        "far.json": (changed(geometry=square(50, 10)), "does not meet the geometry of the item"),
        "id.json": (changed(id="a\u0000b"), "id: expected a printable text"),
    }


def test_a_bad_item_never_stops_the_page(index: Index, template: Item, tmp_path: Path) -> None:
    write_item(tmp_path / "good", template)
    broken = broken_items(template)
    for name, (text, _) in broken.items():
        folder = tmp_path / name.removesuffix(".json")
        write_item(folder, template).unlink()
        (folder / name).write_text(text.replace('"broken"', json.dumps(name)), encoding="latin-1")
    report = ingest_archive(index, str(tmp_path))
    assert report.added == 1
    causes = {each["id"]: each["cause"] for each in report.quarantined}
    for name, (_, cause) in broken.items():
        path = f"{name.removesuffix('.json')}/{name}"
        found = causes.pop("a\x00b" if name == "id.json" else path if path in causes else name)
        assert cause in found, name
    assert causes == {}
    assert len(listed(index)) == len(broken)


def test_a_missing_file_is_quarantined_and_taken_when_it_comes(index: Index, template: Item, tmp_path: Path) -> None:
    write_item(tmp_path / "scene", template, without=("swir16",))
    report = ingest_archive(index, str(tmp_path))
    cause = f"missing asset swir1: {tmp_path}/scene/B11.tif does not exist"
    assert report.quarantined == [{"id": template["id"], "cause": cause}]
    first = listed(index)
    assert [(row["id"], row["archive"], row["cause"]) for row in first] == [(template["id"], str(tmp_path), cause)]
    assert counts(retry_quarantine(index)) == (1, 0, 0, 0, 0, 1)
    again = listed(index)
    assert (again[0]["since"], again[0]["attempts"]) == (first[0]["since"], 2)
    (tmp_path / "scene/B11.tif").write_bytes(SOME_BYTES)
    assert counts(retry_quarantine(index)) == (1, 1, 0, 0, 0, 0)
    assert listed(index) == []
    assert statuses(index) == {template["id"]: "active"}


def test_the_next_ingest_takes_what_was_in_quarantine(index: Index, template: Item, tmp_path: Path) -> None:
    path = write_item(tmp_path / "scene", template)
    whole = path.read_text()
    path.write_text("{")
    assert counts(ingest_archive(index, str(tmp_path))) == (1, 0, 0, 0, 0, 1)
    path.write_text(whole)
    assert counts(retry_quarantine(index)) == (1, 1, 0, 0, 0, 0)
    assert listed(index) == []
    write_item(tmp_path / "other", rendition_of(template, "other", "05.10", "20240101"), without=("red",))
    ingest_archive(index, str(tmp_path))
    (tmp_path / "other/B04.tif").write_bytes(SOME_BYTES)
    assert counts(ingest_archive(index, str(tmp_path))) == (2, 0, 1, 0, 1, 0)
    assert listed(index) == []


def test_a_trial_run_counts_the_same_and_writes_nothing(index: Index, template: Item, tmp_path: Path) -> None:
    for name, baseline in (("low", "02.14"), ("high", "05.10")):
        write_item(tmp_path / name, rendition_of(template, name, baseline, "20240101"))
    write_item(tmp_path / "bad", template | {"id": "bad"}, without=("red",))
    trial = ingest_archive(index, str(tmp_path), dry_run=True)
    assert (list_scenes(index), listed(index)) == ([], [])
    assert counts(trial) == counts(ingest_archive(index, str(tmp_path)))


def test_area_period_and_collection_choose_items(index: Index, shared_data: Path) -> None:
    archive = str(shared_data / "stac/planetary_computer/landsat/netherlands_timeseries_60_items.json")
    period = parse_period("2022-03")
    some = ingest_archive(index, archive, period=period, dry_run=True).found
    assert 0 < some < 60
    assert ingest_archive(index, archive, area=find_area("0,0,1,1"), dry_run=True).found == 0
    assert 0 < ingest_archive(index, archive, area=find_area("5,52,6,53"), period=period, dry_run=True).found <= some
    assert ingest_archive(index, archive, collections=["sentinel-2-l2a"], dry_run=True).found == 0
    assert ingest_archive(index, archive, collections=["landsat-8-c2-l2"], dry_run=True).found == 60


def test_a_collection_that_nothing_has_is_refused_each_time(index: Index, template: Item, tmp_path: Path) -> None:
    write_item(tmp_path / "scenes" / "own", template | {"collection": "own-scenes"})
    archive = str(tmp_path / "scenes")
    known = "known: landsat-c2-l2, own-scenes, sentinel-2-l2a"
    for asked, words in (("nope", known), ("sentinel-2-l2", "near ones: sentinel-2-l2a"), ("nope", known)):
        for dry_run in (True, False):
            with pytest.raises(RequestError, match=rf"no collection '{asked}' in .*scenes; {words}"):
                ingest_archive(index, archive, collections=["landsat-c2-l2", asked], dry_run=dry_run)
    assert ingest_archive(index, archive, collections=["own-scenes"]).added == 1
    assert ingest_archive(index, archive, collections=["landsat-c2-l2"]).found == 0
    assert ingest_archive(index, archive, collections=["own-scenes"], period=parse_period("1999")).found == 0


def test_the_url_of_a_folder_is_the_folder(index: Index, template: Item, tmp_path: Path) -> None:
    write_item(tmp_path / "my scenes" / "own", template)
    url = (tmp_path / "my scenes").as_uri()
    assert "%20" in url
    assert ingest_archive(index, url, dry_run=True).found == 1
    assert ingest_archive(index, url).archive == str(tmp_path / "my scenes")
    with pytest.raises(RequestError, match=r"no archive 'file://elsewhere/scenes': expected a path"):
        ingest_archive(index, "file://elsewhere/scenes")


def test_two_ingests_at_once_index_each_scene_once(embedded_settings: Settings, shared_data: Path) -> None:
    archive = str(shared_data / "stac/earth_search/v0/S2_36MYB_2020_16_items.json")
    reports: list[IngestReport] = []

    def work() -> None:
        with open_index(embedded_settings) as index:
            reports.append(ingest_archive(index, archive))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.added for report in reports) == [0, 0, 16]


def test_an_unknown_archive_is_a_wrong_request(index: Index, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no archive .*expected a path, an s3://, sqs:// or http.*earth-search"):
        ingest_archive(index, "earth-serch")
    (tmp_path / "notes.json").write_text("not json")
    with pytest.raises(RequestError, match="is not JSON"):
        ingest_archive(index, str(tmp_path / "notes.json"))
    with pytest.raises(RequestError, match=r"no STAC at http://127\.0\.0\.1:9: ConnectError"):
        ingest_archive(index, "http://127.0.0.1:9")


def test_two_items_that_would_read_the_same_file_are_both_refused(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    for item in items[:2]:
        write_item(tmp_path / "flat", unsized(item))
    report = ingest_archive(index, str(tmp_path), radiometric_check="off")
    assert counts(report) == (2, 0, 0, 0, 0, 2)
    causes = {each["id"]: each["cause"] for each in report.quarantined}
    for one, other in (items[:2], items[1::-1]):
        assert f"is a file of {other['id']} too: give each scene a folder of its own" in causes[one["id"]]
    (tmp_path / f"flat/{items[1]['id']}.json").unlink()
    assert ingest_archive(index, str(tmp_path), radiometric_check="off").added == 1


def test_a_search_saved_in_the_folder_of_a_scene_does_not_take_its_files(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    write_item(tmp_path / "scene", unsized(items[0]))
    found = {"type": "FeatureCollection", "features": [unsized(item) for item in items[1:3]]}
    (tmp_path / "scene/search.json").write_text(json.dumps(found))
    assert ingest_archive(index, str(tmp_path), radiometric_check="off").added == 3
    for dataset in index.dc.index.datasets.search(product="sentinel2_msi_l2a"):
        is_local = dataset.metadata_doc["measurements"]["red"]["path"].startswith(str(tmp_path))
        assert is_local == (dataset.metadata_doc["label"] == items[0]["id"])
