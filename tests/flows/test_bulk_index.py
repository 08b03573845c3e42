"""COPY into ODC's tables writes what ODC's own API writes, and gives way to it where the tables are not as checked."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from datacube.index.abstract import DatasetTuple
from datacube.model import Dataset
from sqlalchemy import Connection, text

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.item_refused import ItemRefused, NotAScene
from flows.steps.archives.items import Wanted, read_items
from flows.steps.index.bulk_index import bulk_index
from flows.steps.index.bulk_schema import CHECKED, schema_difference
from flows.steps.index.known_scenes import KnownRendition, known_ids, known_renditions
from flows.steps.index.scene_index import dataset_tuples
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import SceneDocument, normalise


@pytest.fixture(params=["embedded_settings", "server_settings", "postgis_settings"])
def index(request: pytest.FixtureRequest) -> Iterator[Index]:
    settings: Settings = request.getfixturevalue(request.param)
    with open_index(settings) as opened:
        yield opened


@pytest.fixture(scope="session")
def real_scenes(shared_data: Path) -> list[SceneDocument]:
    """One scene of every real item that is one, each dataset id once."""
    found: dict[Any, SceneDocument] = {}
    for item in read_items(str(shared_data / "stac"), Wanted(), ArchiveFiles()):
        try:
            scene = normalise(item.document or {}, item.place, "test", read_file_grid)
        except (ItemRefused, NotAScene):
            continue
        found[scene.id] = scene
    assert len(found) > 100
    return list(found.values())


def rows(index: Index) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table of ODC about datasets, without moments and sequence numbers, in a fixed order."""
    schema = "odc" if index.driver == "postgis" else "agdc"
    with index.engine.connect() as connection:
        tables = connection.scalars(
            text(
                "select tablename from pg_tables where schemaname = :schema and tablename ~ '^(dataset|spatial_[0-9])'"
            ),
            {"schema": schema},
        )
        return {table: _rows_of(connection, schema, table) for table in tables if table != "dataset_type"}


def _rows_of(connection: Connection, schema: str, table: str) -> list[dict[str, Any]]:
    number = "- 'id'" if table == "dataset_location" else ""
    exact = "|| jsonb_build_object('extent', extent::text)" if table.startswith("spatial_") else ""
    query = f"select to_jsonb(r) {number} - array['added', 'updated'] {exact} as row from {schema}.{table} r order by 1"
    return list(connection.scalars(text(query)))


def add_one_by_one(index: Index, documents: Sequence[DatasetTuple]) -> None:
    for product, document, uri, _ in documents:
        index.dc.index.datasets.add(Dataset(product, document, uri=uri), with_lineage=False)


def clear(index: Index) -> None:
    """Take every dataset out again."""
    ids = list(index.dc.index.datasets.get_all_dataset_ids(archived=False))
    index.dc.index.datasets.archive(ids)
    index.dc.index.datasets.purge(ids)
    assert not any(rows(index).values())


def test_bulk_index_writes_the_rows_of_the_api(index: Index, real_scenes: list[SceneDocument]) -> None:
    documents = list(dataset_tuples(index, real_scenes))
    bulk_index(index, documents)
    ours = rows(index)
    clear(index)
    add_one_by_one(index, documents)
    theirs = rows(index)
    assert ours.keys() == theirs.keys()
    assert len(theirs["dataset"]) == len(real_scenes)
    for table in theirs:
        assert ours[table] == theirs[table], table


def test_texts_that_copy_escapes_and_numbers_that_json_lacks_are_stored_as_by_the_api(
    index: Index, real_scenes: list[SceneDocument]
) -> None:
    product, document, uri, lineage = next(dataset_tuples(index, real_scenes))
    odd = {"a": 'tab\t back\\slash \n \\N "quoted" é 木', "b": float("nan"), "c": float("inf"), "d": None, "e": 1e-300}
    documents = [DatasetTuple(product, {**document, "odd": odd}, f"{uri}?x=\\t", lineage)]
    bulk_index(index, documents)
    ours = rows(index)
    clear(index)
    add_one_by_one(index, documents)
    assert ours == rows(index)


def test_a_table_that_is_not_as_checked_sends_bulk_index_through_the_api(
    index: Index, real_scenes: list[SceneDocument], caplog: pytest.LogCaptureFixture
) -> None:
    table = "odc.dataset" if index.driver == "postgis" else "agdc.dataset"
    with index.engine.begin() as connection:
        connection.execute(text(f"alter table {table} add column quality text"))
    with caplog.at_level(logging.WARNING):
        bulk_index(index, list(dataset_tuples(index, real_scenes[:3])))
    assert f"through ODC's API, which is slower: {table} differs in quality text" in caplog.text
    assert len(rows(index)["dataset"]) == 3


def test_another_version_of_odc_sends_bulk_index_through_the_api(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.steps.index.bulk_schema.CHECKED_ODC", "1.8.0")
    with index.engine.connect() as connection:
        assert "checked was 1.8.0" in (schema_difference(connection, {}) or "")


def test_a_trigger_on_insert_is_a_difference(index: Index) -> None:
    table = next(iter(CHECKED[index.driver]))
    with index.engine.begin() as connection:
        assert schema_difference(connection, CHECKED[index.driver]) is None
        connection.execute(text("create function f() returns trigger language plpgsql as 'begin return new; end'"))
        connection.execute(text(f"create trigger t before insert on {table} for each row execute function f()"))
        assert schema_difference(connection, CHECKED[index.driver]) == f"{table} has a trigger on insert: t"


def test_a_document_that_is_known_already_takes_the_others_of_its_batch_back(
    index: Index, real_scenes: list[SceneDocument]
) -> None:
    documents = list(dataset_tuples(index, real_scenes[:4]))
    bulk_index(index, documents[:1])
    with pytest.raises(psycopg.errors.UniqueViolation, match="dataset"):
        bulk_index(index, documents)
    assert len(rows(index)["dataset"]) == 1


def test_what_is_known_of_an_acquisition_counts_archived_scenes(index: Index, real_scenes: list[SceneDocument]) -> None:
    one, other = real_scenes[:2]
    bulk_index(index, list(dataset_tuples(index, [one, other])))
    index.dc.index.datasets.archive([one.id])
    assert known_ids(index, [one.id, other.id, UUID(int=0)]) == {one.id, other.id}
    wanted = {one.product: [one.acquisition, "none"], "no_such_product": ["x"]}
    assert known_renditions(index, wanted) == {
        one.product: [KnownRendition(one.id, one.acquisition, one.rendition, "test", one.slice, False)]
    }
