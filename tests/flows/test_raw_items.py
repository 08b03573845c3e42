"""Items that are left unread: cut out of a collection, named, digested, and read only when they are new."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.found_items import FoundItem, UnreadItem
from flows.steps.archives.items import Wanted, read_items
from flows.steps.archives.json_documents import depth_of
from flows.steps.archives.raw_items import is_suspect, raw_features, raw_item
from flows.steps.ingesting import ingest_report
from flows.steps.ingesting.ingest_archive import ingest_archive, retry_quarantine
from flows.steps.ingesting.ingest_report import FirstRows, IngestReport
from flows.steps.ingesting.known_items import Sifted, sift

Item = dict[str, Any]
TEXTS = st.text(alphabet='ab[]{}"\\\u00b5é\n', max_size=6)
DOCUMENTS = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=15,
)
TOKEN = "sig=abc&sv=2024-01-01"


@pytest.fixture
def items(shared_data: Path) -> list[Item]:
    """Ten items of one tile."""
    text = (shared_data / "stac/earth_search/c1/13TDE_2024_10_items.json").read_text()
    found: list[Item] = json.loads(text)["features"]
    return found


def written(path: Path, features: list[Any], **options: Any) -> str:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}, **options))
    return str(path)


def found_in(path: str) -> list[FoundItem]:
    return list(read_items(path, Wanted(), ArchiveFiles()))


def depth(value: Any) -> int:
    inside = list(value.values() if isinstance(value, dict) else value) if isinstance(value, dict | list) else []
    return 1 + max(map(depth, inside), default=0) if isinstance(value, dict | list) else 0


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
def test_the_depth_of_a_text_is_that_of_its_document(value: Any, is_ascii: bool, indent: int | None) -> None:
    assert depth_of(json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode()) == depth(value)


def test_depth_is_counted_to_65() -> None:
    assert [depth_of(b"[" * n + b"]" * n) for n in (0, 1, 64, 65, 66, 500)] == [0, 1, 64, 65, 65, 65]
    assert depth_of(b'{"a":[{"b":[]}]}') == 4


@given(st.lists(st.dictionaries(TEXTS, DOCUMENTS, max_size=4), max_size=4), st.booleans())
def test_what_is_cut_out_of_a_collection_is_what_a_parser_finds(features: list[Item], is_ascii: bool) -> None:
    whole = {"before": features, "features": features, "type": "FeatureCollection"}
    cut = raw_features(json.dumps(whole, ensure_ascii=is_ascii).encode())
    assert cut is not None
    assert [json.loads(raw.text) if (raw := raw_item(each)) else None for each in cut] == [None] * len(features)
    named = raw_features(json.dumps({**whole, "features": [{"id": "a", **each} for each in features]}).encode())
    assert named is not None
    texts = [raw_item(each) for each in named]
    assert [json.loads(raw.text) for raw in texts if raw] == [
        {"id": "a", **each} for each in features if isinstance({"id": "a", **each}["id"], str)
    ]


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b'{"type":"Feature","features":[{}]}', b'{"type":"FeatureCollection","features":[1]}',
     b'{"type":"FeatureCollection","features":[{"a":NaN}]}', b'{"features":' + b"[" * 5000 + b"]" * 5000 + b"}"],
)  # fmt: skip
def test_anything_else_is_left_to_the_parser(document: bytes) -> None:
    assert raw_features(document) is None


def digests(path: str) -> list[bytes]:
    found = found_in(path)
    assert all(isinstance(each, UnreadItem) for each in found)
    return [each.raw.digest for each in found if isinstance(each, UnreadItem)]


def test_a_digest_is_of_the_members_in_any_order_without_the_links(items: list[Item], tmp_path: Path) -> None:
    first = digests(written(tmp_path / "one.json", items))
    turned = [dict(reversed(item.items())) | {"links": []} for item in items]
    assert digests(written(tmp_path / "two.json", turned)) == first
    for item in items:
        item["properties"]["eo:cloud_cover"] = 99.5
    assert not {*digests(written(tmp_path / "three.json", items))} & {*first}


@pytest.mark.parametrize(
    ("text", "suspect"),
    [
        (b'{"href":"https://a/b.tif"}', False),
        (b'{"href":"https://a/b?collection=c"}', False),
        (b'{"title":"why? \\u03bcm @ noon","href":"https://a/b.tif"}', False),
        (f'{{"href": "https://a/b?{TOKEN}"}}'.encode(), True),
        (b'{"href" : "https://user:pw@a/b"}', True),
        (b'{"href":"https:\\/\\/user:pw@a\\/b"}', True),
        (b'{"hr\\u0065f":"https://a/b?token=x"}', True),
        (b'{"href":"https://a/b\\u003ftoken=x"}', True),
    ],
)
def test_a_text_that_may_have_a_secret_is_suspect(text: bytes, suspect: bool) -> None:
    assert is_suspect(text) is suspect


def signed(items: list[Item], token: str) -> list[Item]:
    copy: list[Item] = json.loads(json.dumps(items))
    for item in copy:
        for asset in item["assets"].values():
            asset["href"] += f"?{token}"
    return copy


def sifted(index: Index, found: list[FoundItem]) -> Sifted:
    from uuid import uuid4

    return sift(index.engine, "a", found, uuid4(), dry_run=True)


def test_items_signed_anew_are_the_same_items(items: list[Item], tmp_path: Path, embedded_settings: Settings) -> None:
    archive = tmp_path / "items.json"
    with open_index(embedded_settings) as index:
        written(archive, signed(items, TOKEN))
        assert ingest_archive(index, str(archive), radiometric_check="off").added == 10
        written(archive, signed(items, TOKEN.replace("abc", "xyz")))
        again = ingest_archive(index, str(archive), radiometric_check="off")
        assert (again.unchanged, again.added) == (10, 0)
        both = found_in(str(archive)) + found_in(written(tmp_path / "other.json", signed(items, TOKEN)))
        assert (len(sifted(index, both).fresh), sifted(index, both).repeated) == (10, 10)


def test_an_item_of_a_collection_that_cannot_be_read_is_refused_alone_and_read_again(
    items: list[Item], tmp_path: Path, embedded_settings: Settings
) -> None:
    archive, good = tmp_path / "some items.json", json.loads(json.dumps(items[3]["properties"]))
    deep: Any = []
    for _ in range(70):
        deep = [deep]
    items[3]["properties"] |= {"deep": deep}
    written(archive, items)
    with open_index(embedded_settings) as index:
        report = ingest_archive(index, str(archive), radiometric_check="off")
        cause = "unreadable item: TooLarge: the document is nested deeper than 64 levels"
        assert report.quarantined == [{"id": items[3]["id"], "cause": cause}]
        assert report.added == 9
        items[3]["properties"] = good
        written(archive, items)
        healed = ingest_archive(index, str(archive), radiometric_check="off")
        assert (healed.added, healed.quarantined) == (1, [])
        assert retry_quarantine(index).found == 0


def test_a_report_counts_all_and_keeps_the_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_report, "MOST_ROWS", 3)
    report = IngestReport("a")
    report.gone += ["a", "b"]
    report.gone += ["c", "d"]
    report.quarantined += [{"id": "x", "cause": "y"}]
    assert isinstance(report.gone, FirstRows)
    told = report.document()
    assert (told["gone"], told["truncated"]) == (["a", "b", "c"], ["gone"])
    assert told["counts"] == {"skipped": 0, "quarantined": 1, "gone": 4}
    assert report.failed
