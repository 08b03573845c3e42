"""The services of deployments/systemd beside each other, each with its own command and database role: a product is asked for, built and counted."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from datacube_config.connection import open_index
from datacube_config.settings import Settings
from flows.cli import main
from flows.steps.ingesting.ingest_archive import ingest_archive
from flows.steps.service.prefect_processes import free_port
from tests.deployments.command_lines import DEPLOYMENTS, REPOSITORY
from tests.deployments.roles_server import as_url
from tests.waiting import wait_until

PATIENCE_S = 240.0
STOP_S = 60.0  # TimeoutStopSec of the units
LOGIN = "operator:secret"
PORTS = {"4200": free_port(), "4201": free_port(), "9469": free_port()}
PLACE = f"http://127.0.0.1:{PORTS['4200']}/api"


def unit(name: str) -> str:
    return (DEPLOYMENTS / "systemd" / f"neocube-{name}.service").read_text()


def commands(name: str, key: str) -> list[list[str]]:
    """The commands of a unit, with the programs of this environment and ports that are free."""
    found = []
    for line in re.findall(rf"^{key}=-?(.+)$", unit(name), re.M):
        words = [
            PORTS.get(word, word)
            for word in shlex.split(line.replace("/etc/neocube/prefect.yaml", "deployments/prefect.yaml"))
        ]
        found.append([str(word).replace("/srv/neocube/.venv/bin", str(Path(sys.executable).parent)) for word in words])
    return found


def environment(name: str, server: str, shared: Mapping[str, str]) -> dict[str, str]:
    """The variables of a unit, its database reached by TCP with a password."""
    told: dict[str, str] = {}
    for line in re.findall(r"^Environment=(.+)$", unit(name), re.M):
        told |= dict(word.split("=", 1) for word in line.split())
    for key, value in told.items():
        if found := re.match(r"(postgresql[+\w]*)://(\w+)@/(\w+)\?", value):
            told[key] = as_url(server, found[2], found[3]).replace("postgresql:", f"{found[1]}:")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NEOCUBE_", "PREFECT_"))}
    return {**kept, "DO_NOT_TRACK": "1", "PYTHONPATH": os.pathsep.join(sys.path), **told, **shared}


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=30, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """As the units do it: Prefect 3.8's worker does not always end by SIGTERM while a run begins."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture
def token(neocube_home: Path) -> str:
    """The token of an operator, whose account stands in the settings of the home."""
    neocube_home.mkdir()
    made = CliRunner().invoke(main, ["account", "ana", "--role", "operator", "--project", "coast", "--json"])
    document = json.loads(made.stdout)
    (neocube_home / "settings.toml").write_text(document["settings"])
    return str(document["token"])


@pytest.fixture
def services(server: str, neocube_home: Path, token: str, tmp_path: Path) -> Iterator[Path]:
    """Prefect's server, the worker, the page and the metrics, as their units start them; the folder of their logs."""
    shared = {
        "NEOCUBE_HOME": str(neocube_home), "PREFECT_API_URL": PLACE, "PREFECT_API_AUTH_STRING": LOGIN, "NEOCUBE_SESSION_KEY": "s" * 48,
        "PREFECT_SERVER_API_AUTH_STRING": LOGIN,
    }  # fmt: skip
    with ExitStack() as stack:

        def start(name: str) -> None:
            given = environment(name, server, shared | {"PREFECT_HOME": str(tmp_path / name)})
            log = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
            for before in commands(name, "ExecStartPre"):
                subprocess.run(before, env=given, cwd=REPOSITORY, stdout=log, stderr=log, check="create" not in before)
            ((command),) = commands(name, "ExecStart")
            process = stack.enter_context(subprocess.Popen(command, env=given, cwd=REPOSITORY, stdout=log, stderr=log))
            stack.callback(stop, process)

        start("prefect")
        wait_until(lambda: answers(f"{PLACE}/health"), "the Prefect server", patience_s=PATIENCE_S)
        for name in ("worker", "page", "metrics"):
            start(name)
        wait_until(lambda: answers(f"http://127.0.0.1:{PORTS['4201']}/sign-in"), "the page", patience_s=PATIENCE_S)
        yield tmp_path


@pytest.mark.full
def test_a_product_is_asked_for_built_and_counted(
    server: str, services: Path, neocube_home: Path, token: str, small_archive: Path, small_recipe: Path
) -> None:
    url = as_url(server, "neocube_worker").replace("postgresql:", "postgresql+psycopg:")
    with open_index(Settings.model_validate({"home": neocube_home, "index_url": url})) as index:
        ingest_archive(index, str(small_archive))
    with httpx.Client(
        base_url=f"http://127.0.0.1:{PORTS['4201']}/api",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    ) as page:
        body = {
            "project": "coast",
            "recipe": small_recipe.read_text().replace("mangrove_features", "asked_features"),
            "area": "demo",
            "period": "2020",
        }
        asked = page.post("/requests", json=body)
        assert asked.status_code == 201, asked.text
        state: dict[str, Any] = {}

        def has_ended() -> bool:
            state.update(page.get(f"/requests/{asked.json()['id']}").json())
            return state["state"] in ("done", "failed")

        wait_until(has_ended, "the request", patience_s=PATIENCE_S)
    assert state["state"] == "done", (state, (services / "worker.log").read_text()[-4000:])
    figures = httpx.get(f"http://127.0.0.1:{PORTS['9469']}/metrics", timeout=60, trust_env=False).text
    assert re.findall(r'neocube_up\{part="(?:index|prefect|storage)"\} (\S+)', figures) == ["1.0"] * 3
    (cells,) = re.findall(r'neocube_cells\{.*product="asked_features",.*state="active"\} (\S+)', figures)
    assert float(cells) >= 4
