"""Fixtures of the whole suite: real data, homes with an embedded index, and PostgreSQL 15 with and without PostGIS."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest

from datacube_config.settings import Settings

REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")
POSTGIS_CONTROL = Path("/usr/share/postgresql/15/extension/postgis.control")


# a kernel compiles in the first example, and a machine may be busy: how long an example takes is no property
hypothesis.settings.register_profile("neocube", deadline=None)
hypothesis.settings.load_profile("neocube")


# what tests publish need not outlive the machine: test_storage.py flushes
os.environ["NEOCUBE_STORE_FLUSH"] = "false"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real Earth-observation files that lies beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("test data ../shared/data is absent")
    return SHARED_DATA.resolve()


@pytest.fixture
def neocube_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, in NEOCUBE_HOME; no other NEOCUBE_* variable is set, but that nothing is flushed to the disk."""
    for name in [name for name in os.environ if name.startswith("NEOCUBE_") and name != "NEOCUBE_STORE_FLUSH"]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("NEOCUBE_HOME", str(home))
    return home


@pytest.fixture
def embedded_settings(neocube_home: Path, initialised_home: Path) -> Settings:
    """Settings of a home of its own, whose embedded index `neocube init` has made."""
    subprocess.run(["cp", "-a", str(initialised_home), str(neocube_home)], check=True)
    return Settings(home=neocube_home)


@pytest.fixture
def server_settings(neocube_home: Path, postgres_15: Callable[[str], str]) -> Settings:
    """Settings of a database of its own on PostgreSQL 15, initialised, with ODC's postgres driver."""
    return Settings.model_validate(
        {"home": neocube_home, "index_url": postgres_15("postgres"), "index_driver": "postgres"}
    )


@pytest.fixture
def postgis_settings(neocube_home: Path, postgres_15: Callable[[str], str]) -> Settings:
    """Settings of a database of its own on PostgreSQL 15 with PostGIS, initialised, with ODC's postgis driver."""
    return Settings.model_validate(
        {"home": neocube_home, "index_url": postgres_15("postgis"), "index_driver": "postgis"}
    )


@pytest.fixture(
    params=["embedded_settings", pytest.param("server_settings", marks=pytest.mark.full), "postgis_settings"]
)
def any_settings(request: pytest.FixtureRequest) -> Settings:
    """Each kind of initialised index in turn."""
    settings: Settings = request.getfixturevalue(request.param)
    return settings


@pytest.fixture(scope="session")
def initialised_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home to copy from: initialised, its server stopped."""
    from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index

    home = tmp_path_factory.mktemp("initialised") / "home"
    init_index(Settings(home=home), PRODUCT_DEFINITIONS)
    return home


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[[str], str]]:
    """Makes a database on a private PostgreSQL 15, as a copy of the named template, and returns its URL."""
    if not (POSTGRES_15 / "pg_ctl").exists():
        pytest.skip("PostgreSQL 15 is not installed (Debian: apt-get install postgresql-15)")
    folder = Path(tempfile.mkdtemp(prefix="neocube-pg15-"))
    password = secrets.token_hex(8)
    password_file = folder / "password"
    password_file.write_text(password)
    as_postgres = []
    if os.geteuid() == 0:
        as_postgres = ["runuser", "-u", "postgres", "--"]
        for path in (folder, password_file):
            shutil.chown(path, "postgres", "postgres")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    data, log = str(folder / "data"), str(folder / "log")
    access = ["-U", "odc", "-A", "scram-sha-256", f"--pwfile={password_file}"]
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    url = f"postgresql://odc:{password}@127.0.0.1:{port}"

    def run(program: str, *arguments: str) -> None:
        # The server keeps what it inherits of stdout: a pipe would never end.
        command = [*as_postgres, str(POSTGRES_15 / program), *arguments]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)

    def create(template: str) -> str:
        name = f"t{secrets.token_hex(6)}"
        with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
            connection.execute(f"create database {name} template {template}")
        return f"{url}/{name}"

    run("initdb", "-D", data, *access)
    run("pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", options)
    yield create
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_15(new_database: Callable[[str], str]) -> Callable[[str], str]:
    """Makes an initialised database for an ODC driver (postgres, postgis), and returns its URL."""
    from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index

    templates: dict[str, str] = {}

    def initialised(driver: str) -> str:
        if driver == "postgis" and not POSTGIS_CONTROL.exists():
            pytest.skip("PostGIS for PostgreSQL 15 is not installed (Debian: apt-get install postgresql-15-postgis-3)")
        if driver not in templates:
            url = new_database("template1")
            init_index(Settings.model_validate({"index_url": url, "index_driver": driver}), PRODUCT_DEFINITIONS)
            templates[driver] = url.rpartition("/")[2]
        return new_database(templates[driver])

    return initialised


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The URL of a real S3 API on loopback, in memory, empty at first."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated archive of the area demo in 2020, two passes a platform, without faults; not to be changed."""
    from flows.steps.areas import find_area
    from flows.steps.simulation.archive import Simulation, write_archive
    from products.period import parse_period

    folder = tmp_path_factory.mktemp("small") / "archive"
    write_archive(folder, Simulation(find_area("demo"), parse_period("2020"), 3, 160, "none", 2))
    return folder


@pytest.fixture(scope="session")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mangrove_features` with tiles of 96 pixels, so that the small archive makes several cells."""
    from products.registry import DEFINITIONS

    text = (DEFINITIONS / "mangrove_features.recipe.yaml").read_text()
    path = tmp_path_factory.mktemp("recipe") / "small.recipe.yaml"
    path.write_text(text.replace("tile_px: 256", "tile_px: 96"))
    assert "tile_px: 96" in path.read_text()
    return path


@pytest.fixture(scope="session")
def ingested_home(tmp_path_factory: pytest.TempPathFactory, initialised_home: Path, small_archive: Path) -> Path:
    """A home to copy from, with the small archive ingested, its server stopped."""
    from datacube_config.connection import open_index
    from flows.steps.ingesting.ingest_archive import ingest_archive

    home = tmp_path_factory.mktemp("ingested") / "home"
    subprocess.run(["cp", "-a", str(initialised_home), str(home)], check=True)
    with open_index(Settings(home=home)) as index:
        report = ingest_archive(index, str(small_archive))
    assert report.added == report.found > 0
    return home


@pytest.fixture
def ingested_settings(neocube_home: Path, ingested_home: Path) -> Settings:
    """Settings of a home of its own, with the small archive ingested."""
    subprocess.run(["cp", "-a", str(ingested_home), str(neocube_home)], check=True)
    return Settings(home=neocube_home)
