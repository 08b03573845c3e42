"""A harvest of an API ends complete and without duplicates, whatever the API does; it goes on where it was cut off."""

import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import text

from datacube_config.archives import use_archives
from datacube_config.connection import Index
from flows.steps.archives.polite_requests import ApiUnavailable, Patience
from flows.steps.areas import find_area
from flows.steps.index.scene_index import list_scenes
from flows.steps.ingesting.ingest_archive import IngestReport, ingest_archive
from products.errors import RequestError
from products.period import parse_period
from tests.flows.gone_items import gone_items
from tests.flows.hostile_stac import Fault, HostileStac, hostile_stac

Item = dict[str, Any]
HASTY = Patience(total_s=20, tries=4, first_pause_s=0.01, longest_pause_s=0.05, timeout_s=0.5, body_s=5)


@pytest.fixture
def items(shared_data: Path) -> list[Item]:
    """26 Sentinel-2 items of two tiles, under the name of one collection."""
    found: list[Item] = []
    for name in ("c1/13TDE_2024_10_items.json", "v0/S2_36MYB_2020_16_items.json"):
        found += json.loads((shared_data / "stac/earth_search" / name).read_text())["features"]
    return [item | {"collection": "sentinel-2-c1-l2a"} for item in found]


def harvested(index: Index, stac: HostileStac, **options: Any) -> IngestReport:
    patience = options.pop("patience", HASTY)
    return ingest_archive(index, stac.url, radiometric_check="off", patience=patience, **options)


def indexed(index: Index) -> set[str]:
    return {row["item_id"] for row in list_scenes(index)}


def thread(index: Index) -> Any:
    with index.engine.connect() as connection:
        return connection.execute(text("select * from neocube.harvest")).one()


def test_a_harvest_of_pages_is_complete(index: Index, items: list[Item]) -> None:
    with hostile_stac(items) as stac:
        report = harvested(index, stac)
        assert (report.found, report.added, report.pages, report.stopped) == (26, 26, 6, [])
        row = thread(index)
        assert (row.mark, row.next_page) == ("updated", None)
        assert row.high_water == datetime(2024, 4, 23, 3, 23, 58, 819000, UTC)


def test_an_api_is_asked_whether_it_has_a_collection_that_nobody_knows(index: Index, items: list[Item]) -> None:
    with hostile_stac([item | {"collection": "own-scenes"} for item in items[:3]]) as stac:
        for asked in (["own-scenez"], ["sentinel-2-l2a", "own-scenez"]):
            with pytest.raises(
                RequestError, match=rf"no collection 'own-scenez' in {stac.url}; known: landsat-c2-l2, "
            ):
                harvested(index, stac, collections=asked)
        assert stac.searches == []
        assert harvested(index, stac, collections=["own-scenes"], dry_run=True).found == 3


FAULTS = {
    "a 429 with seconds": Fault("status", 429, "slow down", {"retry-after": "1"}),
    "a 429 without": Fault("status", 429, "slow down"),
    "a 503 with a date": Fault(
        "status", 503, "maintenance", {"retry-after": format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)}
    ),
    "a 500 with words": Fault("status", 500, "the database is tired"),
    "a 502": Fault("status", 502, "<html>bad gateway</html>"),
    "no answer in time": Fault("hang", seconds=1.0),
    "a connection cut in the body": Fault("cut"),
    "a garbled body": Fault("garbled"),
    "the page before once more": Fault("same page"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_between_loses_nothing_and_doubles_nothing(fault: str, index: Index, items: list[Item]) -> None:
    with hostile_stac(items, faults={2: FAULTS[fault], 4: FAULTS[fault]}) as stac:
        report = harvested(index, stac)
        assert (report.found, report.added, report.quarantined, report.stopped) == (26, 26, [], [])
        assert indexed(index) == {item["id"] for item in items}
        assert thread(index).next_page is None


def test_the_words_of_a_provider_that_gives_up_are_kept_and_the_next_run_goes_on(
    index: Index, items: list[Item]
) -> None:
    with hostile_stac(items) as stac:
        stac.faults = dict.fromkeys(range(3, 30), Fault("status", 500, "the database is tired"))
        report = harvested(index, stac)
        assert (report.added, report.pages, report.failed) == (10, 2, True)
        (stopped,) = report.stopped
        assert "answered 500: the database is tired (4 tries in" in stopped["cause"]
        stac.faults, asked = {}, len(stac.searches)
        again = harvested(index, stac)
        assert (again.resumed, again.found, again.added, again.pages) == (True, 16, 16, 4)
        assert stac.searches[asked][1]["token"] == sorted(item["id"] for item in items)[9]
        assert indexed(index) == {item["id"] for item in items}


def test_a_provider_that_never_answers_is_an_error_in_its_words(index: Index, items: list[Item]) -> None:
    with hostile_stac(items, always=Fault("status", 503, "closed on Sundays", {"retry-after": "86400"})) as stac:
        with pytest.raises(ApiUnavailable, match="503: closed on Sundays .1 tries in 0 s, asks to wait 86400 s"):
            harvested(index, stac)
        with pytest.raises(ApiUnavailable, match="closed for another .* s after it answered 503: closed on Sundays"):
            harvested(index, stac)
        assert len(stac.searches) == 1


def test_next_links_in_a_circle_end_with_an_error(index: Index, items: list[Item]) -> None:
    with hostile_stac(items, always=Fault("loop")) as stac:
        report = harvested(index, stac)
        assert "next links lead in a circle" in report.stopped[0]["cause"]
        assert len(stac.searches) < 20


def test_pages_that_repeat_behind_ever_new_links_end_with_an_error(index: Index, items: list[Item]) -> None:
    class Stuck(HostileStac):
        def page(self, asked: dict[str, Any]) -> dict[str, Any]:
            step = {"page": int(asked.get("page", 1)) + 1}
            return super().page({}) | {"links": [self._link({**asked, **step})]}

    with hostile_stac(items, kind=Stuck) as stac:
        report = harvested(index, stac)
        assert "its pages repeat: 5 items from" in report.stopped[0]["cause"]
        assert report.found == 5
        assert len(stac.searches) < 20


def test_a_trial_run_asks_the_same_and_writes_nothing(index: Index, items: list[Item]) -> None:
    with hostile_stac(items) as stac:
        report = harvested(index, stac, dry_run=True)
        assert (report.found, report.added, report.pages) == (26, 26, 6)
        with index.engine.connect() as connection:
            for table in ("harvest", "known_item", "rate_limit"):
                assert connection.scalar(text(f"select count(*) from neocube.{table}")) == 0


@pytest.mark.parametrize("counts", [True, False])
def test_items_that_slip_past_under_page_numbers_are_found(counts: bool, index: Index, items: list[Item]) -> None:
    def lose_one(stac: HostileStac) -> None:
        stac.delete(0)

    with hostile_stac(items, paging="page", counts=counts, between={2: lose_one}) as stac:
        report = harvested(index, stac)
        assert report.added == 26
        assert indexed(index) == {item["id"] for item in items}


def test_items_that_change_between_pages_are_counted_and_indexed_once(index: Index, items: list[Item]) -> None:
    def touch(stac: HostileStac) -> None:
        stac.change(20, updated=f"2026-01-01T00:00:{len(stac.searches):02d}Z")

    between = dict.fromkeys((1, 2, 3), touch)
    with hostile_stac(items, paging="page", newest_first=True, counts=True, between=between) as stac:
        report = harvested(index, stac)
        assert report.added == 26
        assert len(list_scenes(index)) == 26
        assert harvested(index, stac, full=True).unchanged == 26


def test_the_next_harvest_asks_for_what_changed_since_with_an_overlap(index: Index, items: list[Item]) -> None:
    with hostile_stac(items[:-1]) as stac:
        assert harvested(index, stac).added == 25
        stac.items.append(items[-1])
        stac.change(-1, updated="2024-04-24T00:00:00Z")
        asked = len(stac.searches)
        report = harvested(index, stac)
        assert (report.found, report.added, report.unchanged) == (2, 1, 1)
        assert stac.searches[asked][1]["query"] == {"updated": {"gte": "2024-04-21T03:23:58Z"}}
        assert harvested(index, stac, full=True).unchanged == 26


@pytest.fixture
def own_entry(tmp_path: Path) -> Iterator[Callable[[str, str, str], None]]:
    """Makes the archive `own`, an API at a URL, that is searched by a method and goes on by a filter."""

    def write(url: str, method: str, compares: str) -> None:
        own = tmp_path / "own.yaml"
        own.write_text(
            f"archives:\n  own:\n    url: {url}\n    collections: {{sentinel-2-l2a: [sentinel-2-c1-l2a]}}\n"
            "    hosts: ['*.amazonaws.com', sentinel-cogs]\n    admission: 'off'\n    requests_per_second: 50\n"
            f"    paging: {{items: 5, method: {method}}}\n    mark: {{field: updated, filter: {compares}}}\n"
        )
        use_archives(own)

    yield write
    use_archives(None)


@pytest.mark.parametrize("compares", ["query", "cql2-json"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_an_api_is_searched_by_the_method_and_the_filter_of_its_entry(
    index: Index,
    items: list[Item],
    own_entry: Callable[[str, str, str], None],
    method: str,
    compares: Literal["query", "cql2-json"],
) -> None:
    faults = {2: Fault("status", 429, "slow down", {"retry-after": "1"}), 4: Fault("cut")}
    with hostile_stac(items[:-1], methods=(method,), compares=compares, faults=faults) as stac:
        own_entry(stac.url, method, compares)
        report = ingest_archive(index, "own", radiometric_check="off", patience=HASTY)
        assert (report.added, report.pages, report.stopped, report.quarantined) == (25, 5, [], [])
        stac.items.append(items[-1])
        stac.change(-1, updated="2024-04-24T00:00:00Z")
        asked = len(stac.searches)
        again = ingest_archive(index, "own", radiometric_check="off", patience=HASTY)
        assert (again.found, again.added, again.unchanged) == (2, 1, 1)
        search = stac.searches[asked][1]
        if compares == "query":
            assert search["query"] == {"updated": {"gte": "2024-04-21T03:23:58Z"}}
        else:
            assert search["filter-lang"] == "cql2-json"
            assert search["filter"] == {"op": ">=", "args": [{"property": "updated"}, "2024-04-21T03:23:58Z"]}
        lost = stac.delete(3)["id"]
        full = ingest_archive(index, "own", radiometric_check="off", patience=HASTY, full=True)
        assert (full.gone, full.unchanged) == ([lost], 25)


def test_an_api_that_promises_cql2_is_asked_in_it_without_an_entry(index: Index, items: list[Item]) -> None:
    with hostile_stac(items, compares="cql2-json") as stac:
        harvested(index, stac)
        asked = len(stac.searches)
        assert harvested(index, stac).unchanged == 1
        assert stac.searches[asked][1]["filter"]["op"] == ">="


def test_an_api_that_cannot_compare_is_asked_by_sensing_time(index: Index, items: list[Item]) -> None:
    with hostile_stac(items, compares="nothing") as stac:
        harvested(index, stac, period=parse_period("2024"))
        asked = len(stac.searches)
        report = harvested(index, stac, period=parse_period("2024"))
        assert report.unchanged == report.found == 10
        assert stac.searches[asked][1]["datetime"] == "2024-02-22T17:53:02Z/2025-01-01T00:00:00Z"
        assert thread(index).mark == "datetime"


def test_an_answer_without_even_the_last_item_is_not_believed(index: Index, items: list[Item]) -> None:
    with hostile_stac(items) as stac:
        harvested(index, stac)
        stac.items = [item for item in stac.items if item["properties"]["updated"] < "2024-04-20"]
        n_left = len(stac.items)
        report = harvested(index, stac)
        assert (report.found, len(report.gone)) == (n_left, 26 - n_left)


def test_what_the_archive_lost_is_gone_after_a_full_listing_and_comes_back(index: Index, items: list[Item]) -> None:
    with hostile_stac(items) as stac:
        harvested(index, stac)
        lost = stac.delete(3)
        assert harvested(index, stac).gone == []
        report = harvested(index, stac, full=True)
        assert (report.gone, report.unchanged) == ([lost["id"]], 25)
        (gone,) = gone_items(index)
        assert (gone["archive"], gone["id"], gone["collection"]) == (stac.url, lost["id"], "sentinel-2-c1-l2a")
        assert {row["status"] for row in list_scenes(index)} == {"active"}
        assert harvested(index, stac, full=True).gone == []
        stac.items.append(lost)
        assert harvested(index, stac, full=True).unchanged == 26
        assert list(gone_items(index)) == []


def test_a_listing_that_was_not_completed_declares_nothing_gone(index: Index, items: list[Item]) -> None:
    with hostile_stac(items) as stac:
        harvested(index, stac)
        stac.delete(20)
        asked = len(stac.searches)
        stac.faults = dict.fromkeys(range(asked + 3, asked + 20), Fault("status", 500, "no"))
        report = harvested(index, stac, full=True)
        assert (report.gone, len(report.stopped)) == ([], 1)
        stac.faults = {}
        again = harvested(index, stac, full=True)
        assert (again.resumed, len(again.gone)) == (True, 1)


def test_a_full_listing_of_an_area_says_nothing_of_what_lies_elsewhere(index: Index, items: list[Item]) -> None:
    class Bounded(HostileStac):
        def _matches(self, item: Item, asked: dict[str, Any]) -> bool:
            west, _, east, _ = asked.get("bbox", (-180, -90, 180, 90))
            return super()._matches(item, asked) and item["bbox"][0] <= east and item["bbox"][2] >= west

    with hostile_stac(items, kind=Bounded) as stac:
        harvested(index, stac)
        lost = [stac.delete(0)["id"], stac.delete(15)["id"]]
        west = harvested(index, stac, area=find_area("-110,30,-100,50"), full=True)
        assert (west.gone, west.unchanged) == (lost[:1], 9)
        early = harvested(index, stac, period=parse_period("2020"), full=True)
        assert (early.gone, early.unchanged) == (lost[1:], 15)


def test_a_page_token_that_is_too_old_begins_the_listing_anew(index: Index, items: list[Item]) -> None:
    with hostile_stac(items) as stac:
        stac.faults = dict.fromkeys(range(3, 20), Fault("status", 500, "no"))
        harvested(index, stac)
        asked = len(stac.searches)
        stac.faults = {asked + 1: Fault("status", 400, "unknown token")}
        report = harvested(index, stac)
        assert (report.stopped, report.added, report.found) == ([], 16, 26)
        assert indexed(index) == {item["id"] for item in items}


def test_full_listings_come_round_by_themselves(
    index: Index, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    with hostile_stac(items) as stac:
        harvested(index, stac)
        assert harvested(index, stac).found < 26
        monkeypatch.setattr("flows.steps.ingesting.harvest.FULL_LISTING_EVERY", timedelta(0))
        assert harvested(index, stac).found == 26


def test_a_bad_item_in_a_page_is_quarantined_and_never_counted_as_unchanged(index: Index, items: list[Item]) -> None:
    bad: list[Any] = [copy.deepcopy(items[0]) | {"id": "a" * 3000}, copy.deepcopy(items[1]) | {"id": "nul\x00\ud800"}]
    bad[0]["geometry"] = None
    with hostile_stac([*items[:5], *bad], page_items=50) as stac:
        for _ in range(2):
            report = harvested(index, stac, full=True)
            assert (report.found, len(report.quarantined)) == (7, 2)


class Endless(HostileStac):
    """An API whose next link never ends; after the page of that number, `n_kept` items of its count stay away."""

    n_kept = 0

    def page(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = super().page(asked)
        step = {"page": int(asked.get("page", 1)) + 1}
        if self.paging == "token":
            last = found["features"][-1:] or [{"id": asked.get("token", "") + "~"}]
            step = {"token": last[0]["id"]}
        matched = {"numberMatched": found["numberMatched"] + self.n_kept} if self.counts else {}
        return found | {"links": [self._link({**asked, **step})]} | matched


class Keeping(Endless):
    """The same, 3 of whose items it counts and does not send."""

    n_kept = 3


@pytest.mark.parametrize("paging", ["token", "page"])
def test_a_next_link_that_never_ends_is_the_end_where_all_that_it_counts_came(
    paging: Literal["token", "page"], index: Index, items: list[Item]
) -> None:
    with hostile_stac(items, kind=Endless, counts=True, paging=paging) as stac:
        report = harvested(index, stac)
        assert (report.added, report.stopped) == (26, [])


@pytest.mark.parametrize(
    ("kind", "counts", "paging", "of"), [(Keeping, True, "page", " of 29"), (Endless, False, "token", "")]
)
def test_empty_pages_before_everything_came_stop_the_listing_and_nothing_is_gone(
    kind: type[Endless], counts: bool, paging: Literal["token", "page"], of: str, index: Index, items: list[Item]
) -> None:
    with hostile_stac(items, kind=kind, counts=counts, paging=paging) as stac:
        report = harvested(index, stac)
        assert f"3 empty pages in a row after 26{of} items, and its next link goes on" in report.stopped[0]["cause"]
        assert (report.added, report.gone, thread(index).next_page is None) == (26, [], False)
        with pytest.raises(ApiUnavailable, match=f"after 26{of} items"):
            harvested(index, stac)


def test_empty_pages_by_number_are_the_end_where_nothing_is_counted(index: Index, items: list[Item]) -> None:
    with hostile_stac(items, kind=Endless, paging="page") as stac:
        assert (harvested(index, stac).stopped, len(indexed(index))) == ([], 26)
