"""A local archive whose files have not changed is not read again; any change is noticed."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from datacube_config.connection import Index
from datacube_config.schema import harvest
from flows.steps.archives.file_signature import holds_its_items, local_signature
from flows.steps.ingesting.ingest_archive import IngestReport, ingest_archive
from products.period import parse_period

Item = dict[str, Any]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The archives that were read."""
    from flows.steps.ingesting import harvest_files

    found: list[str] = []
    original = harvest_files.read_pages
    monkeypatch.setattr(harvest_files, "read_pages", lambda *a: found.append(a[0]) or original(*a))  # type: ignore[func-returns-value]
    return found


def ingest(index: Index, archive: Path, **options: Any) -> IngestReport:
    return ingest_archive(index, str(archive), radiometric_check="off", **options)


def test_a_file_that_did_not_change_is_not_read_again(
    index: Index, items: list[Item], tmp_path: Path, reads: list[str]
) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    assert ingest(index, path).added == 10
    again = ingest(index, path)
    assert (again.found, again.unchanged, len(reads)) == (10, 10, 1)
    assert (ingest(index, path, full=True).unchanged, len(reads)) == (10, 2)
    some = ingest(index, path, period=parse_period("2024-03"))
    assert (ingest(index, path, period=parse_period("2024-03")).found, len(reads)) == (some.found, 3)
    text, times = path.read_text(), path.stat()
    path.write_text(text.replace("2024", "2023"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_mtime_ns == times.st_mtime_ns
    assert ingest(index, path).unchanged == 0


def test_an_archive_of_which_nothing_changed_was_asked_all_the_same(
    index: Index, items: list[Item], tmp_path: Path, reads: list[str]
) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    ingest(index, path)
    with index.engine.begin() as connection:
        connection.execute(update(harvest).values(updated=harvest.c.updated - timedelta(days=4)))
        before = connection.execute(select(harvest)).mappings().one()
    ingest(index, path, dry_run=True)
    with index.engine.connect() as connection:
        assert connection.execute(select(harvest)).mappings().one() == before
    assert (ingest(index, path).unchanged, len(reads)) == (10, 1)
    with index.engine.connect() as connection:
        after = connection.execute(select(harvest)).mappings().one()
    assert after["updated"] - before["updated"] > timedelta(days=3)
    assert {**after, "updated": before["updated"]} == before


def test_what_is_in_quarantine_or_part_of_another_scene_is_read_each_time(
    index: Index, items: list[Item], tmp_path: Path, reads: list[str]
) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [*items, {"id": "bad"}]}))
    assert [len(ingest(index, path).quarantined) for _ in range(2)] == [1, 1]
    assert len(reads) == 2


def test_a_folder_is_read_again_when_any_file_in_it_changes(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/item.json").write_text("{}")
    seen = [local_signature(str(tmp_path))]
    for change in (
        lambda: (tmp_path / "a/red.tif").touch(),
        lambda: (tmp_path / "a/b/item.json").write_text("[]"),
        lambda: (tmp_path / "a/red.tif").rename(tmp_path / "a/nir.tif"),
        lambda: (tmp_path / "a/gone.tif").symlink_to("nowhere.tif"),
        lambda: (tmp_path / "a/nir.tif").unlink(),
    ):
        change()
        seen.append(local_signature(str(tmp_path)))
    assert len(set(seen)) == len(seen)
    assert local_signature(str(tmp_path)) == seen[-1]


def test_a_catalogue_file_is_signed_with_all_that_it_may_link_to(tmp_path: Path) -> None:
    (tmp_path / "catalog.json").write_text('{"type": "Catalog", "description": "no FeatureCollection", "links": []}')
    before = local_signature(str(tmp_path / "catalog.json"))
    (tmp_path / "item.json").write_text("{}")
    assert local_signature(str(tmp_path / "catalog.json")) != before
    (tmp_path / "items.json").write_text('{"features": [], "type": "FeatureCollection"}')
    assert holds_its_items(tmp_path / "items.json")
    assert not holds_its_items(tmp_path / "catalog.json")


def test_what_is_not_on_this_machine_has_no_signature() -> None:
    assert [local_signature(name) for name in ("https://stac.example.org/v1", "s3://bucket/items", "usgs")] == [
        None
    ] * 3
