"""deployments/postgres on a real PostgreSQL with PostGIS: each role does its own work and nothing else."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url, text
from sqlalchemy.exc import ProgrammingError

from datacube_config.connection import Index, open_index
from datacube_config.settings import Settings
from flows.build_here import build
from flows.request_asks import Ask
from flows.requesting import answer, finish
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.service.request_rows import ledger
from flows.steps.service.service_readings import read_service
from tests.conftest import POSTGIS_CONTROL
from tests.deployments.command_lines import DEPLOYMENTS
from tests.flows.test_requesting import new

ROLES = ("neocube", "neocube_worker", "neocube_page", "neocube_reader", "explorer", "prefect")
PASSWORDS = {
    "OWNER_PASSWORD": "neocube", "WORKER_PASSWORD": "neocube_worker", "PAGE_PASSWORD": "neocube_page",
    "READER_PASSWORD": "neocube_reader", "EXPLORER_PASSWORD": "explorer", "PREFECT_PASSWORD": "prefect",
}  # fmt: skip
AsRole = Callable[[str], Settings]


def psql(script: str, url: str, **environment: str) -> None:
    """Run a script of deployments/postgres."""
    command = ["psql", "-v", "ON_ERROR_STOP=1", "--quiet", "-f", str(DEPLOYMENTS / "postgres" / script), url]
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_PASSWORD")}
    done = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def server(new_database: Callable[[str], str]) -> str:
    """The URL of a superuser of a server with the roles, whose database neocube was initialised by its owner; passwords are names of roles."""
    if not POSTGIS_CONTROL.exists():
        pytest.skip("PostGIS for PostgreSQL 15 is not installed (Debian: apt-get install postgresql-15-postgis-3)")
    superuser = new_database("template1")
    for _ in range(2):
        psql("roles.sql", superuser, **PASSWORDS)
    owner = as_url(superuser, "neocube")
    settings = Settings.model_validate({"index_url": owner, "index_driver": "postgis"})
    for _ in range(2):
        init_index(settings, PRODUCT_DEFINITIONS)
        psql("grants.sql", owner)
    return superuser


def as_url(server: str, role: str, database: str = "neocube") -> str:
    """The URL of a database for a role."""
    return make_url(server).set(username=role, password=role, database=database).render_as_string(hide_password=False)


@pytest.fixture
def as_role(server: str, neocube_home: Path) -> AsRole:
    """Makes the settings of a role, all in one home."""

    def settings(role: str) -> Settings:
        url = SecretStr(as_url(server, role).replace("postgresql:", "postgresql+psycopg:"))
        return Settings(home=neocube_home, index_url=url, index_driver="postgis")

    return settings


def refused(index: Index, statement: str) -> None:
    """Expect that the role may not do this."""
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), index.engine.begin() as connection:
        connection.execute(text(statement))


def test_the_worker_ingests_and_retires_and_changes_neither_tables_nor_the_log(
    as_role: AsRole, small_archive: Path
) -> None:
    with open_index(as_role("neocube_worker")) as index:
        report = ingest_archive(index, str(small_archive))
        assert report.quarantined == [] and report.added + report.unchanged == report.found > 0
        for statement in (
            "create table odc.mine (x int)",
            "create table neocube.mine (x int)",
            "create table public.mine (x int)",
            "drop table neocube.quarantine",
            "truncate odc.dataset",
            "update neocube.audit set by = 'x'",
            "delete from neocube.audit",
            "update neocube.revision set version_num = 'x'",
            "create role mine",
        ):
            refused(index, statement)


@pytest.mark.full
def test_the_worker_builds_and_retires(
    as_role: AsRole, small_archive: Path, small_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = as_role("neocube_worker")
    assert settings.index_url is not None
    monkeypatch.setenv("NEOCUBE_INDEX_URL", settings.index_url.get_secret_value())
    with open_index(settings) as index:
        ingest_archive(index, str(small_archive))
    report = build(str(small_recipe), "demo", "2020")
    assert report["failed"] == [] and report["built"] >= 4


def test_the_page_asks_and_nobody_rewrites_the_log(as_role: AsRole) -> None:
    settings = as_role("neocube_page")
    with open_index(settings) as index:
        with ledger(index) as requests:
            number = requests.enter(new(), "approved")
            requests.record("ana", "asked", number)
            requests.start(number, "run")
        finish(index, number, "done", result={"built": {}})
        assert answer(index, settings, Ask("mangrove_features", "1.0,1.0,1.1,1.1", "1999"))
        for statement in (
            "delete from neocube.audit",
            "update neocube.audit set by = 'x'",
            "delete from neocube.request",
            "delete from odc.dataset",
            "update odc.dataset set archived = now()",
            "insert into neocube.quarantine default values",
        ):
            refused(index, statement)


def test_the_reader_reads_the_figures_and_writes_nothing(as_role: AsRole) -> None:
    settings = as_role("neocube_reader")
    parts = {part.part: part for part in read_service(settings, None)}
    assert parts["index"].silence is None
    with open_index(settings) as index:
        for statement in (
            "insert into neocube.audit default values",
            "delete from neocube.request",
            "delete from odc.dataset",
        ):
            refused(index, statement)


@pytest.mark.parametrize(
    ("role", "database"),
    [("prefect", "neocube"), ("neocube_worker", "prefect"), ("neocube_page", "prefect"), ("explorer", "prefect")],
)
def test_a_role_opens_no_database_but_its_own(role: str, database: str, server: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(as_url(server, role, database))


def test_the_explorer_reads_scenes_and_keeps_a_schema_of_its_own(server: str) -> None:
    with psycopg.connect(as_url(server, "explorer")) as connection:
        connection.execute("select count(*) from odc.dataset")
        connection.execute("create schema cubedash")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for schema neocube"):
            connection.execute("select count(*) from neocube.request")


def test_roles_without_a_password_are_left_without_one(server: str) -> None:
    psql("roles.sql", server)
    with psycopg.connect(server) as connection:
        found = connection.execute(
            "select rolname, rolpassword is not null, rolsuper, rolcreaterole from pg_authid where rolname = any(%s)",
            [list(ROLES)],
        )
        assert sorted(found.fetchall()) == sorted((name, True, False, False) for name in ROLES)
