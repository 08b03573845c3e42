"""The same scenes are found in every kind of archive: catalogue, collection, folder, stac-geoparquet, STAC API, S3."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rustac
import s3fs
from click.testing import CliRunner, Result

from datacube_config.connection import Index
from datacube_config.settings import Settings
from flows.cli import main
from flows.steps.archives.listed_pages import search_items
from flows.steps.archives.polite_requests import ApiUnavailable
from flows.steps.areas import find_area
from flows.steps.index.scene_index import list_scenes
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.service.prefect_processes import free_port
from products.period import parse_period
from tests.flows.server_programs import MOTO, RUSTAC, serving

Item = dict[str, Any]
FILE_BYTES = 512


def locally(item: Item) -> Item:
    """The item with hrefs relative to its folder, of files as long as ours."""
    item = copy.deepcopy(item)
    item["links"] = []
    for asset in item["assets"].values():
        asset["href"] = "./" + asset["href"].rpartition("/")[2]
        if "file:size" in asset:
            asset["file:size"] = FILE_BYTES
    return item


def write_catalogue(root: Path, items: list[Item]) -> None:
    """catalog.json -> collection.json -> an item in a folder of its own, with files, two of the links twice."""
    names = [f"./{item['id']}/{item['id']}.json" for item in items]
    for item in items:
        folder = root / "sentinel" / str(item["id"])
        folder.mkdir(parents=True)
        (folder / f"{item['id']}.json").write_text(json.dumps(locally(item)))
        for asset in locally(item)["assets"].values():
            if asset["href"].endswith(".tif"):
                (folder / asset["href"]).write_bytes(bytes(FILE_BYTES))
    head = {"stac_version": "1.0.0", "description": "scenes"}
    children = [
        {"rel": "child", "href": "./sentinel/collection.json"},
        {"rel": "child", "href": "./sentinel/collection.json"},
    ]
    (root / "catalog.json").write_text(json.dumps(head | {"type": "Catalog", "id": "all", "links": children}))
    links = [{"rel": "item", "href": name} for name in [*names, names[0]]] + [
        {"rel": "root", "href": "../catalog.json"}
    ]
    (root / "sentinel/collection.json").write_text(
        json.dumps(head | {"type": "Collection", "id": "s2", "links": links})
    )


@pytest.fixture
def api(items: list[Item], tmp_path: Path) -> Iterator[str]:
    """A STAC API with the ten items and one with a hostile href."""
    hostile = copy.deepcopy(items[0]) | {"id": "hostile"}
    hostile["assets"]["red"]["href"] = "/etc/passwd"
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [*items, hostile]}))
    address = f"127.0.0.1:{free_port()}"
    with serving(f"http://{address}/", RUSTAC, "serve", "--create-collections", "-a", address, str(path)):
        yield f"http://{address}"


def test_a_catalogue_is_followed_link_by_link(index: Index, items: list[Item], tmp_path: Path) -> None:
    write_catalogue(tmp_path / "archive", items)
    report = ingest_archive(index, str(tmp_path / "archive"))
    assert (report.found, report.added, report.quarantined) == (10, 10, [])
    for entry in ("archive/catalog.json", "archive/sentinel", "archive/sentinel/collection.json"):
        assert ingest_archive(index, str(tmp_path / entry)).unchanged == 10
    for row in list_scenes(index):
        assert row["location"] == (tmp_path / "archive/sentinel" / row["item_id"] / f"{row['item_id']}.json").as_uri()


def test_a_link_that_leaves_the_catalogue_is_quarantined(index: Index, items: list[Item], tmp_path: Path) -> None:
    write_catalogue(tmp_path / "archive", items)
    write_catalogue(tmp_path / "elsewhere", items[:1])
    collection = tmp_path / "archive/sentinel/collection.json"
    document = json.loads(collection.read_text())
    document["links"] += [
        {"rel": "child", "href": "../../elsewhere/catalog.json"},
        {"rel": "item", "href": "gone.json"},
    ]
    collection.write_text(json.dumps(document))
    report = ingest_archive(index, str(tmp_path / "archive"))
    assert report.added == 10
    assert "outside the archive" in report.quarantined[0]["cause"]
    assert "unreadable item: FileNotFoundError" in report.quarantined[1]["cause"]


def test_an_item_collection_a_list_and_geoparquet_hold_the_same_scenes(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    collection = {"type": "FeatureCollection", "features": items}
    (tmp_path / "collection.json").write_text(json.dumps(collection))
    (tmp_path / "list.json").write_text(json.dumps(items))
    rustac.write_sync(str(tmp_path / "items.parquet"), collection)
    assert ingest_archive(index, str(tmp_path / "collection.json")).added == 10
    before = list_scenes(index)
    for name in ("list.json", "items.parquet"):
        report = ingest_archive(index, str(tmp_path / name))
        assert (report.found, report.unchanged, report.quarantined) == (10, 10, []), name
    assert list_scenes(index) == before


def test_geoparquet_alone_gives_the_documents_of_the_items(index: Index, items: list[Item], tmp_path: Path) -> None:
    rustac.write_sync(str(tmp_path / "items.parquet"), {"type": "FeatureCollection", "features": items})
    report = ingest_archive(index, str(tmp_path / "items.parquet"))
    assert (report.added, report.quarantined) == (10, [])
    assert {row["offset"] for row in list_scenes(index)} == {-0.1}


def test_a_stac_api_is_paged_through_and_its_hostile_href_quarantined(index: Index, api: str) -> None:
    report = ingest_archive(index, api)
    assert (report.found, report.added) == (11, 10)
    assert report.quarantined[0]["id"] == "hostile"
    assert "local path in a remote catalogue" in report.quarantined[0]["cause"]
    assert all(row["location"].startswith(f"{api}/collections/sentinel-2-c1-l2a/items/") for row in list_scenes(index))
    assert ingest_archive(index, api + "/").unchanged == 10


def test_a_stac_api_is_asked_for_what_is_wanted(index: Index, api: str) -> None:
    april = ingest_archive(index, api, period=parse_period("2024-04"), dry_run=True)
    march = ingest_archive(index, api, period=parse_period("2024-03"), dry_run=True)
    assert (april.found > 0, april.found + march.found) == (True, 11)
    assert ingest_archive(index, api, area=find_area("0,0,1,1"), dry_run=True).found == 0
    assert ingest_archive(index, api, collections=["sentinel-2-l2a"], dry_run=True).found == 11
    assert ingest_archive(index, api, collections=["landsat-c2-l2"], dry_run=True).found == 0


def test_pages_of_an_api_join_without_loss(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.steps.archives.stac_api.PAGE_ITEMS", 3)
    found = [item["id"] for item in search_items(api, [], requests_per_second=100)]
    assert len(found) == len(set(found)) == 11


def test_a_server_that_is_no_stac_api_is_named(api: str) -> None:
    with pytest.raises(ApiUnavailable, match=r"/nowhere/search: answered 404"):
        list(search_items(api + "/nowhere", []))


@pytest.fixture
def s3_options() -> Iterator[dict[str, Any]]:
    """The options of s3fs for a real S3 endpoint on loopback, with a bucket."""
    port = free_port()
    options = {
        "key": "test",
        "secret": "test",
        "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "eu-west-1"},
    }
    with serving(f"http://127.0.0.1:{port}/", MOTO, "-p", str(port)):
        s3fs.S3FileSystem(**options).mkdir("archive")
        yield options


def test_an_archive_in_s3_is_read_like_a_local_one(
    index: Index, items: list[Item], tmp_path: Path, s3_options: dict[str, Any]
) -> None:
    write_catalogue(tmp_path / "archive", items)
    (tmp_path / "archive/sentinel" / items[3]["id"] / "B11.tif").unlink()
    s3fs.S3FileSystem(**s3_options).put(str(tmp_path / "archive") + "/", "archive/scenes", recursive=True)
    report = ingest_archive(index, "s3://archive/scenes", s3_options=s3_options)
    assert (report.found, report.added) == (10, 9)
    expected = f"missing asset swir1: s3://archive/scenes/sentinel/{items[3]['id']}/B11.tif does not exist"
    assert report.quarantined == [{"id": items[3]["id"], "cause": expected}]
    dataset = next(iter(index.dc.index.datasets.search(product="sentinel2_msi_l2a", limit=1)))
    assert dataset.uri.startswith("s3://archive/scenes/sentinel/")
    assert all(band["path"].startswith("s3://archive/scenes/sentinel/") for band in dataset.measurements.values())
    folder = ingest_archive(index, f"s3://archive/scenes/sentinel/{items[0]['id']}", s3_options=s3_options)
    assert (folder.found, folder.unchanged) == (1, 1)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_the_command_line_ingests_lists_and_retries(
    embedded_settings: Settings, items: list[Item], tmp_path: Path
) -> None:
    write_catalogue(tmp_path / "archive", items)
    missing = tmp_path / "archive/sentinel" / items[3]["id"] / "B11.tif"
    missing.unlink()
    done = run("ingest", str(tmp_path / "archive"), "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["found"], report["added"], len(report["quarantined"])) == (1, 10, 9, 1)
    (kept,) = json.loads(run("quarantine", "--json").stdout)
    assert kept["id"] == items[3]["id"]
    assert {"id", "archive", "cause", "since"} <= kept.keys()
    missing.write_bytes(bytes(FILE_BYTES))
    assert json.loads(run("quarantine", "--retry", "--json").stdout) == []
    rows = json.loads(run("scenes", "--json", "--period", "2024").stdout)
    assert len(rows) == 10
    assert {"id", "item_id", "product", "acquisition", "rendition", "datetime", "crs", "offset", "status"} <= rows[
        0
    ].keys()
    again = run("ingest", str(tmp_path / "archive"))
    assert (again.exit_code, again.stdout.startswith("10 found, 0 added")) == (0, True)
    wrong = run("ingest", "nowhere")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "no archive" in wrong.stderr
    assert "nowhere" in wrong.stderr
