"""Alembic runs this; the connection comes from `datacube_config.connection.migrate`."""

from alembic import context

from datacube_config.schema import SCHEMA, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="revision",
    version_table_schema=SCHEMA,
)
with context.begin_transaction():
    context.run_migrations()
