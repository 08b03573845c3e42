"""datacube-explorer as deployments/ install and start it: its command, with its role, on a real PostgreSQL with PostGIS."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.service.prefect_processes import free_port
from tests.deployments.command_lines import DEPLOYMENTS, REPOSITORY
from tests.deployments.compose_file import SERVICES, environment
from tests.deployments.package_index import package_index
from tests.deployments.roles_server import as_url

PATIENCE_S = 300.0
(INSTALL,) = re.findall(r"uv (pip install .* \"gunicorn.*)$", (DEPLOYMENTS / "Dockerfile").read_text(), re.M)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs that the line of the Dockerfile installs."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed (make installs it)")
    folder = tmp_path_factory.mktemp("explorer")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    words = [word for word in shlex.split(INSTALL) if word not in ("--system", "--no-cache")]
    given = os.environ | package_index() | {"VIRTUAL_ENV": str(folder)}
    command = [uv, *words, "-r", "pyproject.toml", "--only-binary", ":all:", "--no-binary", "minisom"]
    done = subprocess.run(command, cwd=REPOSITORY, env=given, capture_output=True, text=True, check=False)
    assert "No solution found" not in done.stderr, done.stderr
    if done.returncode:
        pytest.skip(f"the package index cannot be asked: {done.stderr.strip().splitlines()[-1]}")
    return folder / "bin"


@pytest.fixture
def explorer(programs: Path, server: str, tmp_path: Path) -> Iterator[str]:
    """The URL of an explorer that the command of the service has started."""
    port = str(free_port())
    line = SERVICES["explorer"]["command"][-1].replace("0.0.0.0:8080", f"127.0.0.1:{port}")
    url = as_url(server, "explorer").replace("postgresql:", "postgresql+psycopg:")
    given = environment("explorer") | {"ODC_DEFAULT_DB_URL": url}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NEOCUBE_", "ODC_", "DATACUBE_"))}
    kept |= {"PATH": os.pathsep.join([str(programs), os.environ["PATH"]]), "HOME": str(tmp_path)}
    log = tmp_path / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(["sh", "-ec", line], env=kept | given, stdout=out, stderr=out) as process,
    ):
        try:
            end = time.monotonic() + PATIENCE_S
            while True:
                assert process.poll() is None and time.monotonic() < end, log.read_text()[-4000:]
                try:
                    httpx.get(f"http://127.0.0.1:{port}/about", timeout=60, trust_env=False)
                    break
                except httpx.TransportError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def n_scenes(server: str, neocube_home: Path, small_archive: Path) -> int:
    """How many scenes of Sentinel-2 the worker has ingested."""
    url = as_url(server, "neocube_worker").replace("postgresql:", "postgresql+psycopg:")
    with open_index(Settings.model_validate({"home": neocube_home, "index_url": url})) as index:
        ingest_archive(index, str(small_archive))
        return int(index.dc.index.datasets.count(product="sentinel2_msi_l2a", archived=False))


@pytest.mark.full
def test_the_explorer_shows_the_scenes(n_scenes: int, explorer: str) -> None:
    with httpx.Client(base_url=explorer, timeout=60, trust_env=False) as client:
        for page in ("/", "/products/sentinel2_msi_l2a", "/audit/storage"):
            assert client.get(page, follow_redirects=True).status_code == httpx.codes.OK, page
        found = client.get("/stac/search", params={"collections": "sentinel2_msi_l2a", "limit": 100}).json()
    assert len(found["features"]) == n_scenes > 0
