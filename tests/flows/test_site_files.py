"""A static catalogue on a site is asked as politely as an API, and ends complete, or stops with the provider's own words."""

import copy
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from datacube_config.archives import use_archives
from datacube_config.connection import Index
from flows.steps.archives.host_buckets import HostBuckets, requests_per_second
from flows.steps.archives.polite_requests import ApiUnavailable, Patience
from flows.steps.archives.rate_limit import LocalBucket, SharedBucket
from flows.steps.archives.site_files import NoFile, SiteFiles, SiteStopped
from flows.steps.index.scene_index import list_scenes
from flows.steps.ingesting.ingest_archive import ingest_archive, retry_quarantine
from flows.steps.ingesting.ingest_report import IngestReport
from flows.steps.ingesting.quarantine import listed
from tests.flows.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.flows.loopback_server import serving_folder

Item = dict[str, Any]
HASTY = Patience(total_s=20, tries=4, first_pause_s=0.01, longest_pause_s=0.05, timeout_s=0.5, body_s=5)


@pytest.fixture
def catalogue(items: list[Item], tmp_path: Path) -> Iterator[str]:
    """A real web server with catalog.json, which links to the ten items."""
    root = tmp_path / "site"
    root.mkdir()
    for item in items:
        (root / f"{item['id']}.json").write_text(json.dumps(copy.deepcopy(item) | {"links": []}))
    links = [{"rel": "item", "href": f"./{item['id']}.json"} for item in items]
    head = {"type": "Catalog", "id": "all", "stac_version": "1.0.0", "description": "scenes", "links": links}
    (root / "catalog.json").write_text(json.dumps(head))
    with serving_folder(root) as url:
        yield url


def ingested(index: Index, proxy: FaultyProxy, patience: Patience = HASTY, **options: Any) -> IngestReport:
    url = f"{proxy.url}/catalog.json"
    return ingest_archive(index, url, radiometric_check="off", patience=patience, **options)


def indexed(index: Index) -> list[str]:
    return sorted(row["item_id"] for row in list_scenes(index))


TROUBLE = {
    3: Fault("status", 429, "slow down", {"retry-after": "1"}),
    5: Fault("drop"),
    7: Fault("cut"),
    9: Fault("short"),
    11: Fault("status", 500, "the disk is tired"),
    13: Fault("hang", seconds=1.0),
}


def test_a_site_that_throttles_drops_and_truncates_once_is_read_whole(
    index: Index, items: list[Item], catalogue: str
) -> None:
    with faulty_proxy(catalogue, faults=TROUBLE) as proxy:
        report = ingested(index, proxy)
    assert sorted(proxy.committed) == sorted(fault.kind for fault in TROUBLE.values())
    assert (report.found, report.added, report.quarantined, report.stopped) == (10, 10, [], [])
    assert indexed(index) == sorted(item["id"] for item in items)


def test_a_429_closes_the_site_for_all_who_read_it(index: Index, catalogue: str) -> None:
    faults = {2: Fault("status", 429, "slow down", {"retry-after": "2"})}
    with faulty_proxy(catalogue, faults=faults) as proxy:
        ingested(index, proxy)
        asked = [at for at, _, _ in proxy.asked]
    assert min(at - asked[1] for at in asked[2:]) >= 1.9
    with index.engine.connect() as connection:
        (row,) = connection.execute(text("select provider, closed_because from neocube.rate_limit"))
    assert tuple(row) == ("127.0.0.1", "answered 429: slow down")


def test_a_site_is_asked_no_faster_than_its_archive_says(
    index: Index, catalogue: str, tmp_path: Path, neocube_home: Path
) -> None:
    with faulty_proxy(catalogue) as proxy:
        own = tmp_path / "own.yaml"
        own.write_text(
            f"archives:\n  slow:\n    kind: catalogue\n    url: {proxy.url}/catalog.json\n"
            "    hosts: ['*.amazonaws.com']\n    requests_per_second: 10\n"
        )
        use_archives(own)
        try:
            assert ingest_archive(index, "slow", radiometric_check="off", patience=HASTY).added == 10
        finally:
            use_archives(None)
        times = [at for at, _, _ in proxy.asked]
    assert len(times) == 12
    assert times[-1] - times[0] >= 0.9  # twelve at ten a second take 1.1 s, less what the first was late to arrive


def test_trouble_without_end_stops_with_the_words_of_the_provider_and_the_next_run_ends_it(
    index: Index, items: list[Item], catalogue: str
) -> None:
    class Tired(FaultyProxy):
        def next_fault(self, method: str, path: str) -> Fault | None:
            super().next_fault(method, path)
            is_lost = any(item["id"] in path for item in items[3:])
            return Fault("status", 500, "the disk is tired") if is_lost else None

    with faulty_proxy(catalogue) as proxy:
        proxy.__class__ = Tired
        report = ingested(index, proxy)
        assert 0 < report.added < 10
        (stopped,) = report.stopped
        assert "answered 500: the disk is tired (4 tries in" in stopped["cause"]
        assert report.gone == []
        proxy.__class__ = FaultyProxy
        again = ingested(index, proxy)
        assert (again.added + again.unchanged, again.stopped, again.gone) == (10, [], [])
        assert indexed(index) == sorted(item["id"] for item in items)
        ingested(index, proxy)
        with index.engine.begin() as connection:
            connection.execute(text("update neocube.quarantine set retry_at = now()"))
        ingested(index, proxy)
    assert listed(index) == []


def test_a_site_that_asks_for_too_long_a_pause_is_an_error_in_its_words(index: Index, catalogue: str) -> None:
    closed = Fault("status", 503, "closed on Sundays", {"retry-after": "86400"})
    with faulty_proxy(catalogue, always=closed) as proxy:
        with pytest.raises(ApiUnavailable, match="503: closed on Sundays .1 tries in 0 s, asks to wait 86400 s"):
            ingested(index, proxy)
        assert len(proxy.asked) == 1


def test_one_file_that_a_site_never_gives_is_one_item_in_quarantine(
    index: Index, items: list[Item], catalogue: str
) -> None:
    class OneBroken(FaultyProxy):
        def next_fault(self, method: str, path: str) -> Fault | None:
            super().next_fault(method, path)
            return Fault("status", 500, "bad sector") if items[4]["id"] in path else None

    with faulty_proxy(catalogue) as proxy:
        proxy.__class__ = OneBroken
        report = ingested(index, proxy)
    assert (report.added, report.stopped) == (9, [])
    (kept,) = report.quarantined
    assert kept["id"] == f"{items[4]['id']}.json"
    assert "unreadable item: NoFile" in kept["cause"] and "answered 500: bad sector (4 tries in" in kept["cause"]


def test_a_file_that_is_not_there_is_not_asked_for_again(catalogue: str) -> None:
    sites, target = SiteFiles(patience=HASTY), io.BytesIO()
    with faulty_proxy(catalogue) as proxy, sites.client() as client:
        with pytest.raises(NoFile, match=r"/gone.json: answered 404: .*File not found"):
            sites.fetch(client, f"{proxy.url}/gone.json", target)
        assert len(proxy.asked) == 1


def test_a_site_that_stopped_is_not_asked_any_more(catalogue: str) -> None:
    sites, target = SiteFiles(patience=HASTY), io.BytesIO()
    with faulty_proxy(catalogue, always=Fault("status", 502, "no gate")) as proxy, sites.client() as client:
        for kind in (NoFile, NoFile, SiteStopped):
            with pytest.raises(kind, match="answered 502: no gate .4 tries"):
                sites.fetch(client, f"{proxy.url}/catalog.json", target)
        n_asked = len(proxy.asked)
        with pytest.raises(SiteStopped, match="answered 502: no gate"):
            sites.fetch(client, f"{proxy.url}/catalog.json", target)
        assert len(proxy.asked) == n_asked == 12


def test_a_file_larger_than_allowed_is_not_read_to_its_end(catalogue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.steps.archives.site_files.PAGE_BYTES", 100)
    sites, target = SiteFiles(patience=HASTY), io.BytesIO()
    with sites.client() as client, pytest.raises(NoFile, match="answered more than 100 bytes"):
        sites.fetch(client, f"{catalogue}/catalog.json", target)
    assert len(target.getvalue()) <= 100


def test_a_host_has_one_bucket_at_the_rate_of_its_archive(index: Index) -> None:
    buckets = HostBuckets()
    api = buckets.of("https://landsatlook.usgs.gov/stac-server/search")
    assert isinstance(api, LocalBucket) and api.requests_per_second == 2
    assert buckets.of("https://LANDSATLOOK.usgs.gov/data/x.tif") is api
    assert requests_per_second("e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com") == 20
    assert requests_per_second("nobody.example.org") == 20
    assert isinstance(HostBuckets(index.engine).of("https://a.example.org/x"), SharedBucket)


def test_a_head_request_waits_for_its_turn_and_a_silent_host_is_left_alone(catalogue: str) -> None:
    sites = SiteFiles(patience=HASTY)
    with faulty_proxy(catalogue, faults={1: Fault("status", 429, "", {"retry-after": "1"})}) as proxy:
        with sites.client() as client:
            first, started = sites.head(client, f"{proxy.url}/catalog.json"), time.monotonic()
            second = sites.head(client, f"{proxy.url}/catalog.json")
        assert first is not None and first.status_code == 429
        assert second is not None and second.status_code == 200
        assert time.monotonic() - started >= 0.9
        proxy.always = Fault("drop")
        with sites.client() as client:
            assert [sites.head(client, f"{proxy.url}/catalog.json") for _ in range(5)] == [None] * 5
        assert len(proxy.asked) == 2 + 3


def test_a_scene_whose_file_has_not_arrived_at_its_site_is_quarantined_and_taken_when_it_has(
    index: Index, items: list[Item], tmp_path: Path
) -> None:
    root = tmp_path / "scenes"
    for item in items[:3]:
        folder = root / item["id"]
        folder.mkdir(parents=True)
        for asset in item["assets"].values():
            asset |= {"href": "./" + asset["href"].rpartition("/")[2], "file:size": 512}
            (folder / asset["href"]).write_bytes(bytes(512))
        (folder / "item.json").write_text(json.dumps(item | {"links": []}))
    links = [{"rel": "item", "href": f"./{item['id']}/item.json"} for item in items[:3]]
    head = {"type": "Catalog", "id": "all", "stac_version": "1.0.0", "description": "scenes", "links": links}
    (root / "catalog.json").write_text(json.dumps(head))
    late = root / items[1]["id"] / "B04.tif"
    late.unlink()
    with serving_folder(root) as url:
        report = ingest_archive(index, f"{url}/catalog.json", radiometric_check="off", patience=HASTY)
        cause = f"missing asset red: {url}/{items[1]['id']}/B04.tif does not exist"
        assert (report.added, report.quarantined) == (2, [{"id": items[1]["id"], "cause": cause}])
        late.write_bytes(bytes(512))
        assert retry_quarantine(index, radiometric_check="off").added == 1
    assert indexed(index) == sorted(item["id"] for item in items[:3])
    assert listed(index) == []
