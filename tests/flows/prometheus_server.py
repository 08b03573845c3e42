"""A Prometheus that scrapes an endpoint of ours every two seconds, under the rules in deployments/: what tests ask."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml

from flows.steps.service.panel_figures import Figures
from flows.steps.service.panels import ROWS
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.service_metrics import Reading
from tests.waiting import wait_until

RULES = Path(__file__).parents[2] / "deployments" / "prometheus"
PATIENCE_S = 60.0
ALLOWED = {"seconds": 30.0, "share": 0.02}  # what changes between two readings: ages, how long reading takes, the disk
Labels = frozenset[tuple[str, str]]
Query = Callable[[str], dict[Labels, float]]
SCRAPED = "neocube_storage_free_bytes"


def program(name: str) -> str:
    """The path of a program of Debian's package prometheus."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install prometheus)")
    return path


@contextmanager
def running_prometheus(folder: Path, url: str, token: str | None = None) -> Iterator[Query]:
    """Asks a Prometheus that has scraped `url`, with a token if given, and evaluated the rules: values by labels."""
    port = free_port()
    configuration = yaml.safe_load((RULES / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "2s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(RULES / name) for name in configuration["rule_files"]]
    (job,) = configuration["scrape_configs"]
    job["static_configs"][0]["targets"] = [url.removeprefix("http://")]
    job["scrape_timeout"] = "2s"
    if token:
        (folder / "token").write_text(token)
        job["authorization"] = {"credentials_file": str(folder / "token")}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"}) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30, trust_env=False) as client,
    ):
        try:
            yield _asker(client)
        finally:
            process.terminate()


def _asker(client: httpx.Client) -> Query:
    def ask(expression: str) -> dict[Labels, float]:
        answer = client.get("/query", params={"query": expression}).json()
        assert answer["status"] == "success", answer
        return {frozenset(each["metric"].items()): float(each["value"][1]) for each in answer["data"]["result"]}

    def is_scraped() -> bool:
        try:
            return bool(ask(SCRAPED))
        except (httpx.TransportError, json.JSONDecodeError):
            return False

    def is_evaluated_since(moment: datetime) -> bool:
        """Whether every group of rules has been: each has a time of its own within the interval."""
        groups = client.get("/rules").json()["data"]["groups"]
        return all(datetime.fromisoformat(group["lastEvaluation"]) > moment for group in groups)

    wait_until(is_scraped, "Prometheus to scrape", 0.2, PATIENCE_S)
    scraped = datetime.now(UTC)
    wait_until(lambda: is_evaluated_since(scraped), "Prometheus to evaluate the rules", 0.2, PATIENCE_S)
    return ask


def unlike_our_page(ask: Query, readings: Sequence[Reading]) -> dict[str, str]:
    """The panels to which Prometheus has no answer, or another than our page takes from the readings: titles, and both."""
    found = {}
    for panel in (panel for panels in ROWS.values() for panel in panels):
        for figures in panel.figures:
            ours = {_named(figures, place): value for place, value in figures.values(readings, time.time()).items()}
            theirs = {
                _named(figures, tuple(dict(labels).get(name, "") for name in figures.by)): value
                for labels, value in ask(figures.query).items()
            }
            tolerance = ALLOWED.get(panel.unit, 0.0)
            if not theirs or theirs != {name: pytest.approx(value, abs=tolerance) for name, value in ours.items()}:
                found[panel.title] = f"{figures.query}: {theirs} instead of {ours}"
    return found


def _named(figures: Figures, place: tuple[str, ...]) -> tuple[str, ...]:
    """Where a value stands, without the instance, which Prometheus adds."""
    return tuple(text for name, text in zip(figures.by, place, strict=True) if name != "instance")
