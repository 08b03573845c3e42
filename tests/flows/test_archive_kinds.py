"""Items are found in a prefix, an inventory, stac-geoparquet and a queue, page by page, and in an archive of one's own."""

import copy
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus
from uuid import uuid4

import boto3
import pyarrow
import pyarrow.parquet
import pytest
import rustac
import s3fs
from click.testing import CliRunner

from datacube_config.archives import use_archives
from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.cli import main
from flows.steps.archives import archive_files, items_queue, items_static
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.items import (
    FoundItem,
    Wanted,
    acknowledge,
    archive_location,
    read_items,
    read_pages,
    stac_api,
)
from flows.steps.index.scene_index import list_scenes
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.ingesting.quarantine import kept_items, listed
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import normalise
from flows.steps.service.prefect_processes import free_port
from products.errors import RequestError
from tests.flows.gone_items import gone_items

Item = dict[str, Any]
KEYS = {"key": "reader", "secret": "secret"}
REGION = "eu-west-1"


@pytest.fixture(autouse=True)
def built_in_afterwards() -> Iterator[None]:
    yield
    use_archives(None)


@pytest.fixture
def s3_options(s3_endpoint: str) -> dict[str, Any]:
    return {**KEYS, "client_kwargs": {"endpoint_url": s3_endpoint, "region_name": REGION}}


@pytest.fixture
def bucket(s3_options: dict[str, Any], request: pytest.FixtureRequest) -> str:
    """The name of a bucket of the test's own."""
    name = f"b{abs(hash(request.node.name)) % 10**9}"
    s3fs.S3FileSystem(**s3_options).mkdir(name)
    return name


@pytest.fixture
def put(s3_options: dict[str, Any], bucket: str) -> Callable[[str, bytes | Item], None]:
    filesystem = s3fs.S3FileSystem(**s3_options)

    def put_object(key: str, content: bytes | Item) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        filesystem.pipe_file(f"{bucket}/{key}", raw)

    return put_object


def item(number: int, **more: Any) -> Item:
    assets = {"red": {"href": "./B04.tif"}}
    return {"type": "Feature", "id": f"n{number:03}", "properties": {}, "assets": assets, "links": [], **more}


def ids(found: list[FoundItem]) -> list[str]:
    return [each.id for each in found]


def causes(found: list[FoundItem]) -> dict[str, str]:
    return {each.id: each.cause for each in found if each.cause}


def own_archive(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"archives:\n  mine: {entry}\n")
    use_archives(path)


def test_a_prefix_is_listed_page_by_page_and_not_held(
    s3_options: dict[str, Any], bucket: str, put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "KEYS_A_PAGE", 4)
    monkeypatch.setattr(archive_files, "LISTED_FOLDERS", 2)
    monkeypatch.setattr(items_static, "READ_AT_ONCE", 3)
    for number in range(7):
        put(f"l2a/tile/{number}/item.json", item(number))
        put(f"l2a/tile/{number}/B04.tif", b"")
    put("l2a/tile/3/LC08_MTL.json", {"LANDSAT_METADATA_FILE": {}})
    put("l2a/tile/9/B04.tif", b"")
    put("l2a/broken/broken.json", b"{")
    files = ArchiveFiles(s3_options)
    found = list(read_items(f"s3://{bucket}/l2a", Wanted(), files))
    assert sorted(ids(found)) == [
        "broken/broken.json",
        *(f"n{number:03}" for number in range(7)),
        "tile/3/LC08",
        "tile/9",
    ]
    assert "no STAC item describes the rasters" in causes(found)["tile/9"]
    assert causes(found)["broken/broken.json"].startswith("unreadable item: ")
    assert len(files._listed) <= 2
    one = next(each for each in found if each.id == "n003")
    assert (one.place.location, one.place.root) == (f"s3://{bucket}/l2a/tile/3/item.json", f"s3://{bucket}/l2a")
    assert one.place.files_in(one.place.folder) == {"item.json", "B04.tif", "LC08_MTL.json"}


def test_items_above_their_rasters_describe_them(s3_options: dict[str, Any], bucket: str, put: Any) -> None:
    put("scenes/a/rasters/B04.tif", b"")
    put("scenes/a/zz.json", item(1))
    put("scenes/b/deep/er/B04.tif", b"")
    found = list(read_items(f"s3://{bucket}/scenes", Wanted(), ArchiveFiles(s3_options)))
    assert sorted(ids(found)) == ["b/deep/er", "n001"]


def test_a_known_prefix_takes_the_keys_of_its_pattern(
    s3_options: dict[str, Any], bucket: str, put: Any, tmp_path: Path
) -> None:
    put("c2/LC08_SR_stac.json", item(1))
    put("c2/LC08_ST_stac.json", item(2))
    own_archive(tmp_path, f'{{kind: prefix, url: "s3://{bucket}/c2", items: "*_SR_stac.json", hosts: [{bucket}]}}')
    found = list(read_items("mine", Wanted(), ArchiveFiles(s3_options)))
    assert ids(found) == ["n001"] and found[0].place.hosts == (bucket,)
    assert (archive_location("mine"), stac_api("mine", Wanted(), ArchiveFiles(s3_options))) == ("mine", None)


def inventory(bucket: str, kind: str, key: str, schema: str) -> Item:
    return {"sourceBucket": bucket, "destinationBucket": f"arn:aws:s3:::{bucket}", "version": "2016-11-30",
            "fileFormat": kind, "fileSchema": schema, "files": [{"key": key, "size": 1}]}  # fmt: skip


def test_an_inventory_in_csv_names_the_items(s3_options: dict[str, Any], bucket: str, put: Any) -> None:
    rows = [(bucket, quote_plus("l2a/ä b/one.json"), "10", "true", "false"), (bucket, "l2a/B04.tif", "10", "true", "false"),
            (bucket, "l2a/old.json", "10", "false", "false"), (bucket, "l2a/deleted.json", "10", "true", "true"),
            (bucket, "l2a/gone.json", "10", "true", "false")]  # fmt: skip
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    put("inventory/data/1.csv.gz", gzip.compress(text.getvalue().encode()))
    put("l2a/ä b/one.json", item(1))
    put("l2a/old.json", item(2))
    schema = "Bucket, Key, Size, IsLatest, IsDeleteMarker"
    put("inventory/2024/manifest.json", inventory(bucket, "CSV", "inventory/data/1.csv.gz", schema))
    found = list(read_items(f"s3://{bucket}/inventory/2024/manifest.json", Wanted(), ArchiveFiles(s3_options)))
    assert ids(found) == ["n001", "l2a/gone.json"]
    assert causes(found)["l2a/gone.json"].startswith("unreadable item: FileNotFoundError")
    assert found[0].place.root == f"s3://{bucket}"


def test_an_inventory_in_parquet_names_the_items(
    s3_options: dict[str, Any], bucket: str, put: Any, tmp_path: Path
) -> None:
    table = pyarrow.table(
        {"bucket": [bucket] * 3, "key": ["a/1.json", "a/2.json", "a/3.tif"], "is_latest": [True, False, True]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    put("inventory/list.parquet", (tmp_path / "list.parquet").read_bytes())
    put("inventory/manifest.json", inventory(bucket, "Parquet", "inventory/list.parquet", ""))
    put("a/1.json", item(1))
    own_archive(tmp_path, f'{{kind: inventory, url: "s3://{bucket}/inventory/manifest.json"}}')
    assert ids(list(read_items("mine", Wanted(), ArchiveFiles(s3_options)))) == ["n001"]


def test_what_is_no_inventory_is_a_wrong_request(
    s3_options: dict[str, Any], bucket: str, put: Any, tmp_path: Path
) -> None:
    own_archive(tmp_path, f'{{kind: inventory, url: "s3://{bucket}/inventory/manifest.json"}}')
    files = ArchiveFiles(s3_options)
    with pytest.raises(RequestError, match="expected the manifest of an S3 inventory"):
        list(read_items("mine", Wanted(), files))
    put("inventory/manifest.json", inventory(bucket, "ORC", "x.orc", ""))
    with pytest.raises(RequestError, match="expected an inventory in CSV or Parquet, got 'ORC'"):
        list(read_items("mine", Wanted(), files))
    put("inventory/manifest.json", inventory(bucket, "CSV", "x.csv", "Bucket, Size"))
    with pytest.raises(RequestError, match="expected Key in the fileSchema"):
        list(read_items("mine", Wanted(), files))


@pytest.fixture
def real_items(shared_data: Path) -> list[Item]:
    features: list[Item] = []
    for name in ("c1/13TDE_2024_10_items.json", "v1/31UDQ_2023_3_items.json"):
        features += json.loads((shared_data / "stac/earth_search" / name).read_text())["features"]
    return features


def test_geoparquet_is_read_by_row_groups_and_those_of_other_times_and_latitudes_are_left(
    real_items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.steps.archives.items_parquet.ROWS_AT_ONCE", 4)
    rustac.write_sync(str(tmp_path / "one.parquet"), {"type": "FeatureCollection", "features": real_items})
    whole = pyarrow.parquet.read_table(tmp_path / "one.parquet")
    pyarrow.parquet.write_table(whole, tmp_path / "groups.parquet", row_group_size=10)
    path, files = str(tmp_path / "groups.parquet"), ArchiveFiles()
    found = list(read_items(path, Wanted(), files))
    assert sorted(ids(found)) == sorted(each["id"] for each in real_items) and not causes(found)
    of_2023 = list(read_items(path, Wanted(interval="2023-01-01T00:00:00Z/2023-12-31T00:00:00Z"), files))
    assert sorted(ids(of_2023)) == sorted(each["id"] for each in real_items[10:])
    assert len(list(read_items(path, Wanted(bounds=(-110.0, 38.0, -100.0, 42.0)), files))) == 10


def test_a_file_that_is_no_geoparquet_is_an_unreadable_item(tmp_path: Path) -> None:
    (tmp_path / "odd.parquet").write_bytes(b"PAR1 no")
    pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "plain.parquet")
    for name in ("odd.parquet", "plain.parquet"):
        (found,) = read_items(str(tmp_path / name), Wanted(), ArchiveFiles())
        assert (found.cause or "").startswith("unreadable item: "), name


@pytest.fixture
def queue(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A real SQS API on loopback with a queue, (client, URL of the queue)."""
    monkeypatch.setattr(items_queue, "WAIT_S", 0)
    client = boto3.client(
        "sqs", endpoint_url=s3_endpoint, region_name=REGION, aws_access_key_id="reader", aws_secret_access_key="secret"
    )
    return client, client.create_queue(QueueName=f"q{uuid4().hex}")["QueueUrl"]


def waiting(queue: Any) -> tuple[int, int]:
    """Messages that wait, and messages that are being looked at."""
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    found = queue[0].get_queue_attributes(QueueUrl=queue[1], AttributeNames=list(names))["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def send(queue: Any, body: Any) -> None:
    queue[0].send_message(QueueUrl=queue[1], MessageBody=body if isinstance(body, str) else json.dumps(body))


def pages(queue: Any, s3_options: dict[str, Any]) -> Iterator[list[FoundItem]]:
    return read_pages(f"sqs://{queue[1]}", Wanted(), ArchiveFiles(s3_options))


def test_messages_are_items_whatever_wraps_them(queue: Any, s3_options: dict[str, Any], bucket: str, put: Any) -> None:
    put("new/four 4.json", item(4))
    created = {
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": "new/four+4.json"}},
    }
    other = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": "new/B04.tif"}}}
    send(queue, item(1))
    send(queue, {"Type": "Notification", "Message": json.dumps(item(2))})
    send(queue, {"type": "FeatureCollection", "features": [item(30), item(31)]})
    send(queue, {"Type": "Notification", "Message": json.dumps({"Records": [created, other]})})
    send(queue, {"Event": "s3:TestEvent", "Bucket": bucket})
    (page,) = pages(queue, s3_options)
    assert sorted(ids(page)) == ["n001", "n002", "n004", "n030", "n031"] and not causes(page)
    four = next(each for each in page if each.id == "n004")
    assert four.place.location == f"s3://{bucket}/new/four 4.json"
    acknowledge(page)
    assert waiting(queue) == (0, 0)


def test_a_message_stays_until_all_its_items_are_settled(queue: Any, s3_options: dict[str, Any]) -> None:
    send(queue, {"type": "FeatureCollection", "features": [item(1), item(2)]})
    (page,) = pages(queue, s3_options)
    acknowledge(page[:1])
    assert waiting(queue) == (0, 1)
    acknowledge(page[1:])
    assert waiting(queue) == (0, 0)


def test_a_message_that_was_not_settled_comes_again(
    queue: Any, s3_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items_queue, "VISIBILITY_S", 0)
    send(queue, item(1))
    assert ids(next(pages(queue, s3_options)))[:1] == ["n001"]
    assert ids(next(pages(queue, s3_options)))[:1] == ["n001"]


def created(bucket: str, key: str) -> Item:
    """What S3 tells of an object that was put."""
    return {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]}


def test_what_a_bucket_that_does_not_answer_has_waits_in_the_queue_and_the_rest_of_the_page_is_told(
    queue: Any, embedded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "REGION": REGION}
    for name, value in (said | {"ACCESS_KEY_ID": "reader", "SECRET_ACCESS_KEY": "secret"}).items():
        monkeypatch.setenv(f"NEOCUBE_S3_{name}", value)
    send(queue, item(1))
    send(queue, created("silent", "new/two.json"))
    done = CliRunner().invoke(main, ["ingest", f"sqs://{queue[1]}", "--json"])
    report = json.loads(done.stdout)
    assert (done.exit_code, report["found"]) == (1, 1), done.output
    words = "s3://silent/new/two.json: Could not connect to the endpoint"
    assert words in report["stopped"][0]["cause"] and "15 minutes" in report["stopped"][0]["cause"]
    assert waiting(queue) == (0, 1)
    send(queue, created("silent", "new/three.json"))
    alone = CliRunner().invoke(main, ["ingest", f"sqs://{queue[1]}"])
    assert alone.exit_code == 2 and "s3://silent/new/three.json: Could not connect" in alone.stderr, alone.output
    assert waiting(queue) == (0, 2)


def test_a_message_that_names_a_bucket_as_none_is_called_stops_no_other(queue: Any, s3_options: dict[str, Any]) -> None:
    send(queue, created("no bucket!", "a.json"))
    send(queue, item(1))
    (page,) = pages(queue, s3_options)
    assert sorted(ids(page)) == ["a.json", "n001"]
    assert 'Invalid bucket name "no bucket!"' in causes(page)["a.json"]
    acknowledge(page)
    assert waiting(queue) == (0, 0)


POISON = [
    ("{", "unreadable message: Expecting property name"),
    ("[1]", "the body is list"),
    ('{"hello": 1}', "the body has the keys hello"),
    ('{"Type": "Notification", "Message": "no json"}', "unreadable message: Expecting value"),
    ('{"Records": [{"eventName": "x"}]}', "a record without 's3'"),
    ("[" * 90 + "]" * 90, "nested deeper than 64 levels"),
]


@pytest.mark.parametrize(("body", "cause"), POISON)
def test_a_message_that_announces_nothing_is_kept_with_its_body_and_then_forgotten(
    queue: Any, s3_options: dict[str, Any], body: str, cause: str
) -> None:
    send(queue, body)
    send(queue, item(1))
    (page,) = pages(queue, s3_options)
    (poison,) = (each for each in page if each.cause)
    assert cause in (poison.cause or "") and poison.document is not None and poison.document["sqs:body"] == body
    assert poison.place.location.startswith("sqs://") and len(page) == 2
    acknowledge(page)
    assert waiting(queue) == (0, 0)


def test_a_removal_is_believed_of_what_is_not_there_and_another_bucket_is_not_read(
    queue: Any, s3_options: dict[str, Any], bucket: str, tmp_path: Path
) -> None:
    own_archive(tmp_path, f"{{kind: queue, url: 'sqs://{queue[1]}', hosts: [{bucket}]}}")
    place = {"bucket": {"name": bucket}, "object": {"key": "a.json"}}
    elsewhere = {"bucket": {"name": "private"}, "object": {"key": "b.json"}}
    send(
        queue,
        {
            "Records": [
                {"eventName": "ObjectRemoved:Delete", "s3": place},
                {"eventName": "ObjectCreated:Put", "s3": elsewhere},
            ]
        },
    )
    found = list(read_items("mine", Wanted(), ArchiveFiles(s3_options)))
    assert {each.id: each.is_removed for each in found} == {"a.json": True, "b.json": False}
    assert f"is not in a bucket of this archive: {bucket}" in causes(found)["b.json"]


def event(kind: str, bucket: str, key: str) -> Item:
    """The notification of an S3 event."""
    place = {"bucket": {"name": bucket}, "object": {"key": key}}
    return {"Records": [{"eventName": kind, "s3": place}]}


@pytest.mark.parametrize("settings", ["embedded_settings", "postgis_settings"])
def test_an_item_that_was_removed_from_the_bucket_is_gone_and_comes_back(
    queue: Any, s3_options: dict[str, Any], bucket: str, put: Any, real_items: list[Item], request: Any, settings: str
) -> None:
    archive, removed = f"sqs://{queue[1]}", "ObjectRemoved:DeleteMarkerCreated"
    keys = [f"l2a/{number}.json" for number in range(3)]
    filesystem = ArchiveFiles(s3_options).filesystem(f"s3://{bucket}")

    def ingest(index: Any) -> Any:
        return ingest_archive(index, archive, s3_options=s3_options, radiometric_check="off")

    with open_index(request.getfixturevalue(settings)) as index:
        broken = copy.deepcopy(real_items[2]) | {"geometry": None}
        for key, each in zip(keys, [*real_items[:2], broken], strict=True):
            put(key, each)
            send(queue, event("ObjectCreated:Put", bucket, key))
        first = ingest(index)
        assert (first.added, len(first.quarantined)) == (2, 1)
        for key in (keys[0], keys[2]):
            filesystem.rm_file(f"{bucket}/{key}")
        for key in (*keys, "l2a/never-seen.json", "l2a/B04.tif"):
            send(queue, event(removed, bucket, key))
        report = ingest(index)
        assert (report.gone, report.quarantined, report.unchanged) == ([real_items[0]["id"]], [], 1)
        assert [row["id"] for row in gone_items(index, archive)] == [real_items[0]["id"]]
        assert waiting(queue) == (0, 0)
        assert listed(index) == []
        assert {row["status"] for row in list_scenes(index)} == {"active"} and len(list_scenes(index)) == 2
        put(keys[0], real_items[0])
        send(queue, event("ObjectCreated:Put", bucket, keys[0]))
        assert ingest(index).unchanged == 1
        assert list(gone_items(index, archive)) == []


def test_a_trial_run_of_a_removal_marks_nothing_and_keeps_the_message(
    queue: Any, s3_options: dict[str, Any], bucket: str, put: Any, real_items: list[Item], embedded_settings: Settings
) -> None:
    archive = f"sqs://{queue[1]}"
    with open_index(embedded_settings) as index:
        put("i.json", real_items[0])
        send(queue, event("ObjectCreated:Put", bucket, "i.json"))
        ingest_archive(index, archive, s3_options=s3_options, radiometric_check="off")
        ArchiveFiles(s3_options).filesystem(f"s3://{bucket}").rm_file(f"{bucket}/i.json")
        send(queue, event("s3:ObjectRemoved:Delete", bucket, "i.json"))
        trial = ingest_archive(index, archive, dry_run=True, s3_options=s3_options, radiometric_check="off")
        assert (trial.gone, trial.found, waiting(queue)) == ([], 0, (0, 1))
        assert list(gone_items(index)) == []


def test_a_message_says_where_its_item_lies_only_within_the_archive(
    queue: Any, s3_options: dict[str, Any], bucket: str, tmp_path: Path
) -> None:
    own_archive(tmp_path, f"{{kind: queue, url: 'sqs://{queue[1]}', hosts: [{bucket}, stac.example.org]}}")
    own = [
        "s3://private/i.json",
        "file:///etc/i.json",
        "http://169.254.169.254/i.json",
        "https://stac.example.org/c/i.json",
        f"s3://{bucket}/x/i.json",
    ]
    for number, href in enumerate(own):
        send(queue, item(number, links=[{"rel": "self", "href": href}]))
    places = {each.id: each.place for each in read_items("mine", Wanted(), ArchiveFiles(s3_options))}
    assert all(places[f"n00{number}"].location.startswith("sqs://") for number in range(3))
    assert (places["n003"].location, places["n004"].root) == (own[3], f"s3://{bucket}")


def test_a_queue_that_is_not_there_is_named(s3_endpoint: str, s3_options: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"queue/gone: .*NonExistentQueue"):
        list(read_items(f"sqs://{s3_endpoint}/queue/gone", Wanted(), ArchiveFiles(s3_options)))


def test_a_message_is_forgotten_once_its_item_is_in_the_index_or_in_quarantine(
    queue: Any, s3_options: dict[str, Any], real_items: list[Item], embedded_settings: Settings
) -> None:
    send(queue, real_items[0])
    send(queue, "poison")
    archive = f"sqs://{queue[1]}"
    with open_index(embedded_settings) as index:
        # A trial run leaves the messages where they are: here, to be seen again at once.
        trial = ingest_archive(index, archive, dry_run=True, s3_options=s3_options, radiometric_check="off")
        assert (trial.found, waiting(queue)) == (2, (0, 2))
        for message in range(2):
            send(queue, [real_items[0], "poison"][message])
        report = ingest_archive(index, archive, s3_options=s3_options, radiometric_check="off")
        assert (report.found, report.added, len(report.quarantined), waiting(queue)) == (2, 1, 1, (0, 2))
        (kept,) = kept_items(index, ArchiveFiles(s3_options), archive, only_due=False)
        assert kept.document is not None and kept.document["sqs:body"] == "poison"


def test_an_archive_of_ones_own_is_an_entry_and_its_items_become_scenes(
    real_items: list[Item], tmp_path: Path, shared_data: Path
) -> None:
    recorded = copy.deepcopy(real_items[0]) | {"collection": "my-s2"}
    recorded["assets"]["rot"] = recorded["assets"].pop("red")
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes/recorded.json").write_text(json.dumps(recorded))
    own_archive(
        tmp_path,
        f"{{kind: folder, url: '{tmp_path}/scenes', collections: {{sentinel-2-l2a: [my-s2]}}, "
        "hosts: [e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com], assets: {msi: {red: [rot]}}}",
    )
    (found,) = read_items("mine", Wanted(), ArchiveFiles())
    assert found.document is not None
    scene = normalise(found.document, found.place, "mine", read_file_grid)
    assert scene.document["measurements"]["red"]["path"] == recorded["assets"]["rot"]["href"]
    assert scene.document["properties"]["neocube:archive"] == "mine"
