"""Whatever links a catalogue or a page has, what can be read is read, and the rest is said in words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.items import Wanted, read_items
from flows.steps.archives.items_api import StacApi, api_item
from flows.steps.archives.polite_requests import ApiUnavailable, Patience
from flows.steps.archives.rate_limit import LocalBucket
from flows.steps.archives.stac_api import PageRequest, Provider, read_page
from tests.flows.loopback_server import serving_folder

GOOD = {"type": "Feature", "id": "good", "properties": {}, "assets": {}, "links": []}
HREFS: list[Any] = [
    None, 5, [], {"a": 1}, "", "\x00", "a\x00b/c.json", "\ud800.json", "file://[bad/x", "//[bad/x.json", "http://[::1", "x" * 5000,
    "../../../../etc/passwd", "file:///etc/passwd", "https://a.org\uff03/x.json", "catalog.json", ".", "%2e%2e/x.json", "javascript:x",
]  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(HREFS[5:]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def hostile_catalogue(folder: Path) -> str:
    """A catalogue of hostile links of either kind, the good item in their midst; its name."""
    (folder / "good.json").write_text(json.dumps(GOOD))
    links: list[Any] = [{"rel": rel, "href": href} for href in HREFS for rel in ("item", "child")]
    links[len(links) // 2 : 0] = [{"rel": "item", "href": "./good.json"}, "odd", {"rel": ["item"]}, {"rel": "item"}]
    (folder / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "c", "links": links}))
    return "catalog.json"


@contextmanager
def in_folder(folder: Path) -> Iterator[str]:
    yield str(folder)


@pytest.mark.parametrize("place", [in_folder, serving_folder], ids=["folder", "site"])
def test_hostile_links_of_a_catalogue_cost_nothing_but_themselves(tmp_path: Path, place: Any) -> None:
    name = hostile_catalogue(tmp_path)
    with place(tmp_path) as root:
        found = list(read_items(f"{root}/{name}", Wanted(), ArchiveFiles()))
    assert [each.id for each in found if not each.cause] == ["good"]
    causes = [each.cause or "" for each in found if each.cause]
    assert len([cause for cause in causes if "which is no address" in cause]) >= 8
    assert all(cause.isprintable() for cause in causes)


def provider_of(pages: list[Any]) -> Provider:
    """An API that answers with one page after the other."""
    answers = iter(pages)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=json.dumps(next(answers), default=str)))
    return Provider(httpx.Client(transport=transport), LocalBucket("a.org", 1e6), Patience(tries=1, total_s=5))


LINK = st.fixed_dictionaries(
    {"rel": st.just("next")},
    optional={
        "href": ODD | st.just("https://a.org/search?page=2"),
        "method": ODD | st.just("POST"),
        "merge": ODD,
        "body": ODD | st.dictionaries(st.text(max_size=5), ODD, max_size=3),
        "headers": ODD | st.dictionaries(st.text(max_size=5), ODD, max_size=3),
    },
)


@given(st.lists(LINK | ODD, max_size=3) | ODD)
@example([{"rel": "next", "href": "https://a.org/x", "method": "POST", "headers": ["x"]}])
@example([{"rel": "next", "href": "https://a.org/x", "method": "POST", "body": "x", "merge": True}])
@example([{"rel": "next", "href": "https://a.org/x", "method": "POST", "headers": {"\u03bc": "\ud800"}}])
@example([{"rel": "next", "href": "//[bad"}])
@example([{"rel": "next", "href": "https://a.org/\x00"}])
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_any_links_of_a_page_lead_on_or_end_in_words(links: Any) -> None:
    first = {"type": "FeatureCollection", "features": [], "links": links}
    provider = provider_of([first, {"features": []}])
    with suppress(ApiUnavailable):  # any other error fails
        following = read_page(provider, PageRequest("POST", "https://a.org/search", {"limit": 1})).following
        assert following is None or read_page(provider, following).following is None


def two_pages(provider: Provider) -> None:
    """Read a page, and the one that it leads to."""
    following = read_page(provider, PageRequest("GET", "https://a.org/search")).following
    assert following is not None
    read_page(provider, following)


def test_a_next_link_that_is_none_is_said_in_words() -> None:
    for link, words in (
        ({"href": "//[bad"}, "its next page is at '//\\[bad': Invalid IPv6 URL"),
        (
            {"href": "/x", "method": "POST", "headers": ["x"]},
            "expected body and headers of its next page to be mappings",
        ),
        ({"href": "/\x00"}, "no request can be made of its next link"),
    ):
        provider = provider_of([{"features": [], "links": [{"rel": "next", **link}]}])
        with pytest.raises(ApiUnavailable, match=words):
            two_pages(provider)


@given(ODD, ODD)
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_any_item_of_a_page_has_a_place_that_can_be_stored(number: Any, href: Any) -> None:
    document = GOOD | {
        "id": number,
        "links": [{"rel": "self", "href": href}, {"rel": "self", "href": f"https://a.org/{href}"}],
    }
    for each in (document, number, document | {"links": document["links"][1:]}):
        found = api_item(each, StacApi("https://a.org", ("c",)), ArchiveFiles())
        assert found.place.location.startswith("https://a.org/collections/") or found.place.location.isprintable()
