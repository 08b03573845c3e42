"""`neocube serve` as a process of the tests, and its embedded index seen from outside."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from datacube_config.cluster import Cluster
from tests.waiting import wait_until

CELLS = "select d.id from agdc.dataset d join agdc.dataset_type t on t.id = d.dataset_type_ref where t.name = %s"


class Watched:
    """The embedded index of a home, seen from outside: this process is none of its users."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def postmaster(self) -> psutil.Process:
        """Its first process."""
        return psutil.Process(int((self.home / "postgres" / "postmaster.pid").read_text().split()[0]))

    def cells(self, product: str) -> set[str]:
        """The ids of the rows of cells of a product; none where the server does not run."""
        url = Cluster(self.home.resolve()).url.replace("+psycopg", "")
        try:
            with psycopg.connect(url, connect_timeout=5) as connection:
                return {str(number) for (number,) in connection.execute(CELLS, (product,))}
        except psycopg.OperationalError:
            return set()


@dataclass
class Api:
    """The API of a served Prefect, and what `neocube serve` said when it was ready."""

    said: dict[str, Any]
    client: httpx.Client

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment, by its full name."""
        found: dict[str, Any] = self.client.get(f"/deployments/name/{name}").raise_for_status().json()
        return found

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """The flow runs of a deployment, by its full name."""
        wanted = {"deployments": {"id": {"any_": [self.deployment(deployment)["id"]]}}}
        return list(self.client.post("/flow_runs/filter", json=wanted).raise_for_status().json())

    def start(self, deployment: str, parameters: dict[str, Any]) -> None:
        """Ask for a run, as the form does."""
        asked = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        path = f"/deployments/{self.deployment(deployment)['id']}/create_flow_run"
        self.client.post(path, json=asked).raise_for_status()

    def completed(self, deployment: str) -> bool:
        """Whether the deployment has a run that completed; a failed one is an error."""
        states = {run["state_type"]: run["state"]["message"] for run in self.runs(deployment)}
        assert not {"FAILED", "CRASHED"} & set(states), states
        return "COMPLETED" in states

    def artifacts(self) -> set[str]:
        """The keys of all artifacts."""
        return {each["key"] for each in self.client.post("/artifacts/filter", json={}).raise_for_status().json()}


@contextmanager
def serving(
    home: Path, port: int, page_port: int, log: Path, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], Api]]:
    """`neocube serve` in a process group of its own, ready; it is ended after the block, where it was not before."""
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", str(port), "--page-port", str(page_port), "--json"]
    output = log.with_suffix(".out")
    with output.open("wb") as stdout, log.open("ab") as stderr:
        process = subprocess.Popen(
            command,
            env={**os.environ, "NEOCUBE_HOME": str(home), **environment},
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        wait_until(lambda: output.read_bytes().endswith(b"}\n") or process.poll() is not None, "serve to be ready")
        assert process.poll() is None, log.read_text()
        said = json.loads(output.read_bytes())
        with httpx.Client(base_url=said["api"], timeout=60, trust_env=False) as client:
            yield process, Api(said, client)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(180)
