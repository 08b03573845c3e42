"""The commands of docs/operations.md bring back what was lost: index and store, embedded and on a server."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest
from pydantic import SecretStr

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.steps.cubes.open_cube import find_cube, open_snapshot
from tests.flows.backup_commands import run_documented
from tests.flows.published_product import TILES, cells, known_arrays, publish

PACK_INDEX, UNPACK_INDEX = (f'tar -C "${{NEOCUBE_HOME:-var}}" {how}' for how in ("-czf", "-xzf"))
MAKE_WAY = '[ ! -e "${NEOCUBE_HOME:-var}/postgres" ] ||'
PACK_STORE, UNPACK_STORE = (
    f'tar -C "${{NEOCUBE_STORE_URL:-${{NEOCUBE_HOME:-var}}/store}}" {how}' for how in ("-cf", "-xf")
)


def check_restored(settings: Settings) -> None:
    """Every cell is in the index and in the store, and the cube has the pixels that it had."""
    with open_index(settings) as index:
        found = cells(index)
        assert len(found) == 2 * len(TILES)
        assert all(Path(str(cell.location).removeprefix("file://")).is_file() for cell in found.values())
        cube = open_snapshot(find_cube(index, "known_features", "matang").snapshot_url)
    features = cube["features"].transpose("period", "feature", "y", "x").values
    np.testing.assert_array_equal(features, known_arrays()["features"])


@pytest.mark.parametrize("checks", [(), pytest.param(("neocube init", "neocube status"), marks=pytest.mark.full)])
def test_an_embedded_index_and_its_store_come_back(
    embedded_settings: Settings, tmp_path: Path, checks: tuple[str, ...]
) -> None:
    with open_index(embedded_settings) as index:
        publish(embedded_settings, index)
    run_documented(PACK_INDEX, PACK_STORE, folder=tmp_path, settings=embedded_settings)
    shutil.rmtree(embedded_settings.home)
    embedded_settings.home.mkdir()
    run_documented("mkdir", UNPACK_STORE, MAKE_WAY, UNPACK_INDEX, *checks, folder=tmp_path, settings=embedded_settings)
    check_restored(embedded_settings)
    shards = [path for path in embedded_settings.home.glob("store/cells/*/*/features/c/**/*") if path.is_file()]
    assert {path.stat().st_nlink for path in shards} == {2}, "cells and cubes share their shards"


def test_a_database_that_is_still_there_makes_way_for_the_copy(embedded_settings: Settings, tmp_path: Path) -> None:
    with open_index(embedded_settings) as index:
        publish(embedded_settings, index)
    run_documented(PACK_INDEX, folder=tmp_path, settings=embedded_settings)
    with open_index(embedded_settings) as index:
        index.dc.index.datasets.purge([cell.id for cell in cells(index).values()], allow_delete_active=True)
    (embedded_settings.home / "postgres" / "of_the_other").touch()
    run_documented(MAKE_WAY, UNPACK_INDEX, folder=tmp_path, settings=embedded_settings)
    check_restored(embedded_settings)
    assert not (embedded_settings.home / "postgres" / "of_the_other").exists()
    assert (embedded_settings.home / "postgres.before" / "of_the_other").is_file()


def test_a_cell_that_is_younger_than_the_copy_of_the_index_is_made_again(
    postgis_settings: Settings, new_database: Callable[[str], str], tmp_path: Path
) -> None:
    with open_index(postgis_settings) as index:
        publish(postgis_settings, index)
        youngest = max(cells(index).values(), key=lambda cell: str(cell.id)).id
        index.dc.index.datasets.purge([youngest], allow_delete_active=True)
        run_documented("pg_dump", folder=tmp_path, settings=postgis_settings)
    url = new_database("template1")
    with psycopg.connect(url) as connection:
        connection.execute("create extension postgis")
    restored = postgis_settings.model_copy(update={"index_url": SecretStr(url.replace("://", "+psycopg://"))})
    run_documented("pg_restore", folder=tmp_path, settings=restored)
    with open_index(restored) as index:
        assert len(cells(index)) == 2 * len(TILES) - 1
        publish(restored, index)
    check_restored(restored)
