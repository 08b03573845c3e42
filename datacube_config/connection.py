"""Settings to an open index: the only opener."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from datacube import Datacube
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from datacube_config.archives import use_archives
from datacube_config.embedded import embedded_server
from datacube_config.errors import IndexDown, IndexLost, IndexUnavailable
from datacube_config.schema import REVISION, SCHEMA
from datacube_config.settings import Settings

__all__ = ["Index", "IndexUnavailable", "database_url", "migrate", "open_index", "shown_url"]

ODC_SCHEMAS = {"postgres": "agdc", "postgis": "odc"}
MIGRATIONS = Path(__file__).with_name("migrations")
NEWER = "a newer neocube has migrated it: use that one, or restore a backup from before"
# SQLSTATE classes: connection exception, insufficient resources, operator intervention, system error
LOST_STATES = ("08", "53", "57", "58")
SESSION = "set jit = off; set tcp_keepalives_idle = 60; set tcp_keepalives_interval = 10; set tcp_keepalives_count = 6"


@dataclass(frozen=True, slots=True)
class Index:
    """An open index: `engine` reaches the same database for the `neocube` schema."""

    dc: Datacube
    engine: Engine
    driver: Literal["postgres", "postgis"]


@contextmanager
def open_index(settings: Settings, *, initialised: bool = True) -> Iterator[Index]:
    """The index, open for the block; IndexUnavailable where the server refuses, or lacks what `neocube init` makes.

    IndexLost where the server gives out inside the block. From here on the archives of the settings are in force.
    """
    use_archives(settings.archives)
    with database_url(settings) as url:
        engine = _connected_engine(url, settings.index_pool_size)
        try:
            if initialised:
                _check_initialised(engine, url, settings.index_driver)
            environment = {"default": {"index_driver": settings.index_driver, "db_url": url}}
            dc = Datacube(raw_config=environment, app="neocube", validate_connection=False)
            try:
                yield Index(dc, engine, settings.index_driver)
            except (DBAPIError, psycopg.OperationalError) as error:
                if not is_lost(error):
                    raise
                reason = " ".join(str(getattr(error, "orig", error)).split())
                raise IndexLost(
                    f"the index at {shown_url(url)} gave out during the work: {reason}: "
                    "what was committed stays; start it and run the same again"
                ) from error
            finally:
                dc.index.close()
        finally:
            engine.dispose()


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The SQLAlchemy URL of the index database; an embedded server runs for the block."""
    if settings.index_url is not None:
        yield settings.index_url.get_secret_value()
    else:
        with embedded_server(settings.home) as url:
            yield url


@event.listens_for(Engine, "engine_connect")
def _keep_rowcount(connection: Connection) -> None:
    """Let INSERT say how many rows it wrote, or ODC 1.9.20 over psycopg 3 drops a dataset's lineage silently."""
    connection.execution_options(preserve_rowcount=True)


@event.listens_for(Engine, "connect")
def _prepare_session(connection: object, _record: object) -> None:
    """Compiling takes longer than any question to the index (0.1 s for each of its searches with PostGIS).

    A worker whose machine is gone holds its locks for two minutes, where the server would wait for two hours.
    """
    if isinstance(connection, psycopg.Connection):
        connection.execute(SESSION)
        connection.commit()


def shown_url(url: str) -> str:
    """The URL without its password."""
    parsed = make_url(url)
    return parsed.difference_update_query(["password"]).render_as_string(hide_password=True)


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring the `neocube` schema to a revision, the newest unless another is named; the caller holds the lock and commits."""
    connection.execute(text(f"create schema if not exists {SCHEMA}"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise IndexUnavailable(f"the index cannot be migrated: {error}: {NEWER}") from error


def _connected_engine(url: str, pool_size: int) -> Engine:
    try:
        arguments = {"connect_timeout": 10, "application_name": "neocube"}
        engine = create_engine(url, connect_args=arguments, pool_pre_ping=True, pool_size=pool_size)
    except (ArgumentError, ValueError) as error:
        raise IndexUnavailable("NEOCUBE_INDEX_URL: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE") from error
    try:
        with engine.connect():
            return engine
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise IndexDown(
            f"the index at {shown_url(url)} cannot be reached: {reason}: start it, or correct NEOCUBE_INDEX_URL"
        ) from error


def is_lost(error: Exception) -> bool:
    """Whether the server of an index or the way to it is what failed, not the statement, nor anything else."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | psycopg.OperationalError) and (
        state is None or state.startswith(LOST_STATES)
    )


def _check_initialised(engine: Engine, url: str, driver: str) -> None:
    """ODC's own check leaves its connection open where it fails."""
    table = f"{ODC_SCHEMAS[driver]}.dataset"
    with engine.connect() as connection:
        found = None
        if connection.scalar(text("select to_regclass(:table)"), {"table": f"{SCHEMA}.revision"}) is not None:
            found = connection.scalar(text(f"select version_num from {SCHEMA}.revision"))
        if connection.scalar(text("select to_regclass(:table)"), {"table": table}) is None:
            raise IndexUnavailable(
                f"the index at {shown_url(url)} has no table {table} of the {driver} driver: run `neocube init`"
            )
    if found != REVISION:
        todo = NEWER if found and found > REVISION else "run `neocube init`"
        raise IndexUnavailable(f"the index at {shown_url(url)} is at revision {found}, expected {REVISION}: {todo}")
