"""The `neocube` schema: migrations against the tables described in Python."""

import uuid

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from datacube_config import schema
from datacube_config.connection import MIGRATIONS, migrate, open_index
from datacube_config.errors import IndexUnavailable
from datacube_config.settings import Settings


def test_the_revision_named_in_python_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == schema.REVISION


def test_the_migrations_make_the_tables_that_python_describes(any_settings: Settings) -> None:
    options = {
        "include_schemas": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == schema.SCHEMA,
        "version_table": "revision",
        "version_table_schema": schema.SCHEMA,
    }
    with open_index(any_settings) as index, index.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []


def test_migrating_again_keeps_the_rows(embedded_settings: Settings) -> None:
    binding = {"product": "mangrove_features", "version": 1, "digest": "abc"}
    with open_index(embedded_settings) as index:
        with index.engine.begin() as connection:
            connection.execute(insert(schema.product_binding).values(binding))
            migrate(connection)
        with index.engine.connect() as connection:
            assert [dict(row) for row in connection.execute(select(schema.product_binding)).mappings()] == [binding]


def test_a_schema_of_the_first_revision_is_migrated_with_its_rows(embedded_settings: Settings) -> None:
    row = {"id": uuid.uuid4(), "archive": "a", "item_id": "i", "cause": "no datetime", "document": {"id": "i"}}
    table = schema.quarantine
    with open_index(embedded_settings) as index:
        with index.engine.begin() as connection:
            connection.execute(text(f"drop schema {schema.SCHEMA} cascade"))
            migrate(connection, "0001")
            connection.execute(insert(table).values(row))
            migrate(connection)
            found = connection.execute(select(table)).mappings().one()
            revision = connection.execute(text(f"select version_num from {schema.SCHEMA}.revision")).scalar_one()
        assert revision == schema.REVISION
        assert {name: found[name] for name in row} == row
        assert found["retry_at"] is None


def test_an_index_of_a_newer_neocube_is_refused_and_not_migrated(embedded_settings: Settings) -> None:
    with open_index(embedded_settings) as index:
        with index.engine.begin() as connection:
            connection.execute(text(f"update {schema.SCHEMA}.revision set version_num = '9999'"))
        with (
            index.engine.begin() as connection,
            pytest.raises(IndexUnavailable, match="a newer neocube has migrated it"),
        ):
            migrate(connection)
    with pytest.raises(IndexUnavailable, match="at revision 9999, .* a newer neocube"), open_index(embedded_settings):
        pytest.fail("an index of a newer neocube was opened")


def test_an_item_is_in_quarantine_once(embedded_settings: Settings) -> None:
    row = {"archive": "a", "item_id": "i", "cause": "no datetime", "document": {"id": "i"}}
    with open_index(embedded_settings) as index:
        with index.engine.begin() as connection:
            connection.execute(insert(schema.quarantine).values({**row, "id": uuid.uuid4()}))
            found = connection.execute(select(schema.quarantine)).one()
        assert found.attempts == 1
        assert found.since.tzinfo is not None
        with pytest.raises(IntegrityError, match="quarantine_item"), index.engine.begin() as connection:
            connection.execute(insert(schema.quarantine).values({**row, "id": uuid.uuid4()}))


def test_what_was_in_quarantine_before_it_knew_collections_is_still_there(embedded_settings: Settings) -> None:
    row = {"archive": "a", "item_id": "i", "cause": "no datetime", "document": {"id": "i"}}
    with open_index(embedded_settings) as index, index.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.downgrade(config, "0004")
        connection.execute(insert(schema.quarantine).values({**row, "id": uuid.uuid4(), "collection": None}))
        migrate(connection)
        connection.execute(insert(schema.quarantine).values({**row, "id": uuid.uuid4(), "collection": "c"}))
        found = connection.execute(select(schema.quarantine.c.collection, schema.quarantine.c.item_id))
        assert sorted(tuple(each) for each in found) == [("", "i"), ("c", "i")]
        command.downgrade(config, "0004")
        assert connection.scalar(select(func.count()).select_from(schema.quarantine)) == 1


def test_a_cube_pointer_keeps_the_order_of_its_cells(embedded_settings: Settings) -> None:
    cells = [uuid.uuid4() for _ in range(3)]
    pointer = {
        "product": "p",
        "version": 1,
        "area": "a",
        "crs": "EPSG:32647",
        "snapshot_url": "s3://b/c",
        "cell_ids": cells,
    }
    with open_index(embedded_settings) as index, index.engine.begin() as connection:
        connection.execute(insert(schema.cube_pointer).values(pointer))
        assert connection.scalar(select(schema.cube_pointer.c.cell_ids)) == cells
