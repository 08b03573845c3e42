"""The index answers from its indexes also right after it was filled."""

from pathlib import Path
from uuid import uuid4

import pytest
from datacube.index.abstract import DatasetTuple
from sqlalchemy import text

from datacube_config.connection import Index
from flows.steps.archives.archive_files import ArchiveFiles
from flows.steps.archives.items import Wanted, read_items
from flows.steps.index.bulk_index import bulk_index
from flows.steps.index.bulk_schema import CHECKED
from flows.steps.index.index_statistics import refresh_statistics
from flows.steps.index.scene_index import dataset_tuples
from flows.steps.scenes.footprint import read_file_grid
from flows.steps.scenes.normalise import SceneDocument, normalise

N_SCENES = 500


@pytest.fixture
def scene(shared_data: Path) -> SceneDocument:
    archive = str(shared_data / "stac/earth_search/v1/31UDQ_2023_3_items.json")
    found = next(iter(read_items(archive, Wanted(), ArchiveFiles())))
    return normalise(found.document or {}, found.place, "test", read_file_grid)


def fill(index: Index, scene: SceneDocument) -> None:
    """Copies of a scene, each of another acquisition."""
    [(product, document, uri, lineage)] = dataset_tuples(index, [scene])
    ids = [uuid4() for _ in range(N_SCENES)]
    copies = [
        document | {"id": str(number), "properties": document["properties"] | {"neocube:acquisition": str(number)}}
        for number in ids
    ]
    bulk_index(index, [DatasetTuple(product, copy, uri, lineage) for copy in copies])


def test_a_table_that_has_doubled_is_analysed_and_one_that_has_not_is_left(
    each_index: Index, scene: SceneDocument
) -> None:
    table = next(iter(CHECKED[each_index.driver]))
    fill(each_index, scene)
    assert known_rows(each_index, table) < N_SCENES
    refresh_statistics(each_index)
    assert known_rows(each_index, table) == N_SCENES
    fill(each_index, scene)
    with each_index.engine.begin() as connection:
        connection.execute(text(f"update pg_class set relpages = relpages * 9 where oid = '{table}'::regclass"))
    refresh_statistics(each_index)
    assert known_rows(each_index, table) == N_SCENES


def known_rows(index: Index, table: str) -> int:
    """How many rows PostgreSQL believes a table to have."""
    with index.engine.connect() as connection:
        return int(connection.scalar(text("select reltuples from pg_class where oid = to_regclass(:t)"), {"t": table}))
