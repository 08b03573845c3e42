"""Prefect on this machine, and the request page: server, work pool, deployments, worker and page, for as long as the block lasts."""

import ipaddress
import json
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import flows
from datacube_config.accounts import hashed_password
from datacube_config.connection import database_url
from datacube_config.settings import Settings
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from flows.steps.service.prefect_processes import (
    Server,
    check_port,
    private_environment,
    reached_at,
    run_prefect,
    running_prefect,
    running_server,
    wait_for,
)
from products.errors import RequestError

POOL = "neocube"
PAGE = "flows.request_page.app:from_settings"


@dataclass(frozen=True, slots=True)
class Service:
    """What runs: the server, its worker, the request page at `page`, and the logs that tell of them.

    `password` is the one of the account `local`, where the settings have no accounts.
    """

    server: Server
    worker: subprocess.Popen[bytes]
    page_process: subprocess.Popen[bytes]
    page: str
    password: str | None
    logs: Path

    @property
    def runs(self) -> str:
        """Prefect's own pages, with the runs."""
        return self.server.url.removesuffix("/api")

    def wait(self) -> int:
        """Wait for SIGINT or SIGTERM (0), or until server, worker or page end by themselves (1)."""
        try:
            while all(each.poll() is None for each in (self.server.process, self.worker, self.page_process)):
                time.sleep(0.5)
        except (KeyboardInterrupt, SystemExit):
            return 0
        return 1


def prefect_file(home: Path | None = None) -> Path:
    """prefect.yaml of a home, where there is one, or deployments/prefect.yaml of this checkout; RequestError if neocube was installed without it."""
    if home and (own := home / "prefect.yaml").is_file():
        return own
    path = Path(flows.__file__).parents[1] / "deployments" / "prefect.yaml"
    if not path.is_file():
        raise RequestError(f"no {path}: expected a checkout installed with `make install` (pip install -e .)")
    return path


@contextmanager
def running_service(settings: Settings, host: str, port: int, runs: int, page_port: int) -> Iterator[Service]:
    """Server, deployments, a worker for `runs` flow runs at a time, and the request page; the embedded index runs all the while."""
    declared = prefect_file(settings.home)
    for each in (port, page_port):
        check_port(host, each)
    local, password = local_account(settings, host)
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
        address, log = reached_at(host, page_port), logs / "request-page.log"
        listen = ["--host", host, "--port", str(page_port), "--log-level", "warning"]
        page = stack.enter_context(running_prefect([PAGE, "--factory", *listen], environment | local, log, "uvicorn"))
        wait_for(f"{address}/sign-in", f"the request page at {address}", page, log)
        yield Service(server, process, page, address, password, logs)


def local_account(settings: Settings, host: str) -> tuple[dict[str, str], str | None]:
    """Where nobody has an account, the variable that makes an operator `local` for this start, and its password; on loopback only."""
    if settings.accounts:
        return {}, None
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise RequestError(
            f"nobody has an account, and others reach {host}: expected accounts in settings.toml, see `neocube account`"
        )
    password = secrets.token_urlsafe(12)
    account = {
        "name": "local", "role": "operator", "projects": ["operations"],
        "password_hash": hashed_password(password, secrets.token_bytes(16)),
    }  # fmt: skip
    return {"NEOCUBE_ACCOUNTS": json.dumps([account])}, password


def _register(environment: Mapping[str, str], declared: Path, log: Path) -> None:
    """Make the work pool and apply the deployments with their schedules, limits and triggers."""
    run_prefect(["work-pool", "create", POOL, "--type", "process", "--overwrite"], environment, log)
    run_prefect(["--no-prompt", "deploy", "--all", "--prefect-file", str(declared)], environment, log)
