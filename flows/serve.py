"""Prefect on this machine: server, work pool, deployments and worker, for as long as the block lasts."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import flows
from datacube_config.connection import database_url
from datacube_config.settings import Settings
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from flows.steps.service.prefect_processes import (
    Server,
    check_port,
    private_environment,
    run_prefect,
    running_prefect,
    running_server,
)
from products.errors import RequestError

POOL = "neocube"


@dataclass(frozen=True, slots=True)
class Service:
    """What runs: the server, and the logs that tell of it."""

    server: Server
    worker: subprocess.Popen[bytes]
    logs: Path

    @property
    def page(self) -> str:
        """The page with the request form."""
        return f"{self.server.url.removesuffix('/api')}/deployments"

    def wait(self) -> int:
        """Wait for SIGINT or SIGTERM (0), or until server or worker end by themselves (1)."""
        try:
            while self.server.process.poll() is None and self.worker.poll() is None:
                time.sleep(0.5)
        except (KeyboardInterrupt, SystemExit):
            return 0
        return 1


def prefect_file() -> Path:
    """deployments/prefect.yaml of this checkout; RequestError if neocube was installed without it."""
    path = Path(flows.__file__).parents[1] / "deployments" / "prefect.yaml"
    if not path.is_file():
        raise RequestError(f"no {path}: expected a checkout installed with `make install` (pip install -e .)")
    return path


@contextmanager
def running_service(settings: Settings, host: str, port: int, runs: int) -> Iterator[Service]:
    """Server, deployments and a worker for `runs` flow runs at a time; the embedded index runs all the while."""
    declared = prefect_file()
    check_port(host, port)
    environment = private_environment(settings.home)
    logs = settings.home / "logs"
    with ExitStack() as stack:
        init_index(settings, PRODUCT_DEFINITIONS)
        stack.enter_context(database_url(settings))
        server = stack.enter_context(running_server(host, port, environment, logs / "prefect-server.log", ui=True))
        server.wait_until_ready()
        environment["PREFECT_API_URL"] = server.url
        _register(environment, declared, logs / "prefect-deploy.log")
        worker = ["worker", "start", "--pool", POOL, "--type", "process", "--limit", str(runs), "--name", "neocube"]
        process = stack.enter_context(running_prefect(worker, environment, logs / "prefect-worker.log"))
        yield Service(server, process, logs)


def _register(environment: Mapping[str, str], declared: Path, log: Path) -> None:
    """Make the work pool and apply the deployments with their schedules, limits and triggers."""
    run_prefect(["work-pool", "create", POOL, "--type", "process", "--overwrite"], environment, log)
    run_prefect(["--no-prompt", "deploy", "--all", "--prefect-file", str(declared)], environment, log)
