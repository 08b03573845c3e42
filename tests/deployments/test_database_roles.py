"""deployments/postgres on a real PostgreSQL with PostGIS: each role does its own work and nothing else."""

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
from flows.request_parsing import Ask
from flows.requesting import answer, finish
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.service.request_rows import ledger
from flows.steps.service.service_readings import read_service
from products.errors import RequestError
from tests.deployments.roles_server import as_url, psql
from tests.flows.backup_commands import run_documented
from tests.flows.new_requests import new

ROLES = ("neocube", "neocube_worker", "neocube_page", "neocube_reader", "explorer", "prefect")
AsRole = Callable[[str], Settings]


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


def test_the_worker_ingests_and_changes_neither_tables_nor_the_log(as_role: AsRole, small_archive: Path) -> None:
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
def test_the_worker_builds(
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
        with pytest.raises(RequestError, match="no scene of"):
            answer(index, settings, Ask("mangrove_features", "demo", "1999"))
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
    assert not parts["index"].silence
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
        connection.execute("create table mine (number int)")
        assert connection.execute("select 'cubedash.mine'::regclass = 'mine'::regclass").fetchone() == (True,)
        for role in ("odc_admin", "odc_manage", "odc_user"):
            connection.execute(f"set local role {role}")
            connection.execute("select count(*) from odc.dataset")
        connection.execute("reset role")
        connection.commit()
        for statement in ("delete from odc.dataset", "create table odc.mine (number int)", "create schema mine"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
                connection.execute(statement)
            connection.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for schema neocube"):
            connection.execute("select count(*) from neocube.request")


def test_the_owner_backs_the_index_up_and_restores_it(
    server: str, as_role: AsRole, small_archive: Path, tmp_path: Path
) -> None:
    with open_index(as_role("neocube_worker")) as index:
        ingest_archive(index, str(small_archive))
        n_scenes = index.dc.index.datasets.count(product="sentinel2_msi_l2a")
    with psycopg.connect(as_url(server, "explorer")) as connection:
        connection.execute("create table if not exists cubedash.summary (number int)")
    run_documented("pg_dump", folder=tmp_path, settings=as_role("neocube"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("create database restored owner neocube")
    with psycopg.connect(make_url(server).set(database="restored").render_as_string(hide_password=False)) as connection:
        connection.execute("create extension postgis")
    restored = {
        role: as_role(role).model_copy(
            update={"index_url": SecretStr(as_url(server, role, "restored").replace(":", "+psycopg:", 1))}
        )
        for role in ("neocube", "neocube_worker")
    }
    run_documented("pg_restore", "neocube init", folder=tmp_path, settings=restored["neocube"])
    with open_index(restored["neocube_worker"]) as index:
        assert index.dc.index.datasets.count(product="sentinel2_msi_l2a") == n_scenes > 0
        report = ingest_archive(index, str(small_archive))
        assert report.unchanged == report.found


def test_roles_without_a_password_are_left_without_one(server: str) -> None:
    psql("roles.sql", server)
    with psycopg.connect(server) as connection:
        found = connection.execute(
            "select rolname, rolpassword is not null, rolsuper, rolcreaterole from pg_authid where rolname = any(%s)",
            [list(ROLES)],
        )
        assert sorted(found.fetchall()) == sorted((name, True, False, False) for name in ROLES)
