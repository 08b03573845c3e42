"""Prefect on this machine, and the request page: server, work pool, deployments, worker and page, for as long as the block lasts."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

import flows
from datacube_config.accounts import hashed_password
from datacube_config.connection import database_url
from datacube_config.embedded import revive
from datacube_config.settings import Settings
from flows.steps.index.index_setup import PRODUCT_DEFINITIONS, init_index
from flows.steps.service.kept_processes import KeptProcess, keep_running, kept
from flows.steps.service.listed_schedules import end_unlisted_schedules
from flows.steps.service.prefect_figures import PrefectAccess
from flows.steps.service.prefect_processes import (
    Server,
    check_port,
    is_loopback,
    private_environment,
    reached_at,
    run_prefect,
    running_prefect,
    server_command,
    wait_for,
)
from products.errors import RequestError

POOL = "neocube"
LOOK_EVERY_S = 5.0
PAGE = "flows.request_page.app:from_settings"


@dataclass(frozen=True, slots=True)
class Service:
    """What runs: the Prefect API at `api`, its worker, the request page at `page`, and the logs that tell of them.

    `password` is the one of the account `local`, where the settings have no accounts; `home` is that of an embedded index; `unlisted` says what became of
    schedules that the file of the deployments does not list.
    """

    api: str
    page: str
    password: str | None
    logs: Path
    home: Path | None
    processes: Sequence[KeptProcess]
    stack: ExitStack
    unlisted: Sequence[str]

    @property
    def runs(self) -> str:
        """Prefect's own pages, with the runs."""
        return self.api.removesuffix("/api")

    def wait(self, tell: Callable[[str], None]) -> int:
        """Wait for SIGINT or SIGTERM (0), starting again what ends, the embedded index too, and saying so; 1 where something ends again and again."""
        home = self.home
        try:
            tell(
                keep_running(self.processes, self.stack, tell, lambda: home is not None and revive(home), LOOK_EVERY_S)
            )
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
        started = partial(running_prefect, environment=environment)
        api, log = f"{reached_at(host, port)}/api", logs / "prefect-server.log"
        server = kept(stack, "the Prefect server", partial(started, server_command(host, port, ui=True), log=log))
        Server(api, server.process, log).wait_until_ready()
        environment["PREFECT_API_URL"] = api
        unlisted = _register(environment, declared, logs / "prefect-deploy.log")
        command = ["worker", "start", "--pool", POOL, "--type", "process", "--limit", str(runs), "--name", "neocube"]
        worker = kept(stack, "the worker", partial(started, command, log=logs / "prefect-worker.log"))
        address, log = reached_at(host, page_port), logs / "request-page.log"
        listen = [PAGE, "--factory", "--host", host, "--port", str(page_port), "--log-level", "warning"]
        serving = partial(running_prefect, listen, environment | session_key(settings) | local, log, "uvicorn")
        page = kept(stack, "the request page", serving)
        wait_for(f"{address}/sign-in", f"the request page at {address}", page.process, log)
        home = settings.home if settings.index_url is None else None
        yield Service(api, address, password, logs, home, (server, worker, page), stack, unlisted)


def session_key(settings: Settings) -> dict[str, str]:
    """The variable that lets who signed in stay so when the page is started again; none where the settings have a key."""
    return {} if settings.session_key else {"NEOCUBE_SESSION_KEY": secrets.token_urlsafe(32)}


def local_account(settings: Settings, host: str) -> tuple[dict[str, str], str | None]:
    """Where nobody has an account, the variable that makes an operator `local` for this start, and its password; on loopback only."""
    if settings.accounts:
        return {}, None
    if not is_loopback(host):
        raise RequestError(
            f"nobody has an account, and others reach {host}: expected accounts in settings.toml, see `neocube account`"
        )
    password = secrets.token_urlsafe(12)
    account = {
        "name": "local", "role": "operator", "projects": ["operations"],
        "password_hash": hashed_password(password, secrets.token_bytes(16)),
    }  # fmt: skip
    return {"NEOCUBE_ACCOUNTS": json.dumps([account])}, password


def _register(environment: Mapping[str, str], declared: Path, log: Path) -> list[str]:
    """Make the work pool and apply the deployments with their schedules, limits and triggers; what became of schedules that are not declared."""
    run_prefect(["work-pool", "create", POOL, "--type", "process", "--overwrite"], environment, log)
    run_prefect(["--no-prompt", "deploy", "--all", "--prefect-file", str(declared)], environment, log)
    deployments = yaml.safe_load(declared.read_text(encoding="utf-8"))["deployments"]
    access = PrefectAccess(environment["PREFECT_API_URL"], login=environment.get("PREFECT_SERVER_API_AUTH_STRING"))
    with access.client() as client:
        return end_unlisted_schedules(client, deployments, POOL)
