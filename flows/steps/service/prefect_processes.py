"""The processes of a private Prefect: server and worker, their environment, their end."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from products.errors import RequestError

STARTUP_SECONDS = 300.0
STOP_SECONDS = 20.0


class PrefectDidNotStart(RuntimeError):
    """A Prefect process ended, or did not answer, before it was ready; the message has the end of its log."""


def private_environment(home: Path) -> dict[str, str]:
    """What keeps Prefect in `home`/prefect, quiet and off the network, and lets its processes find this home.

    The login that PREFECT_API_AUTH_STRING names is demanded by the server too.
    """
    login = os.environ.get("PREFECT_API_AUTH_STRING")
    return {
        **({"PREFECT_SERVER_API_AUTH_STRING": login} if login else {}),
        "NEOCUBE_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(int(STARTUP_SECONDS)),
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLIENT_MAX_RETRIES": "7",  # four minutes: a server that was killed is started again
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    }


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on now."""
    with socket.create_server((host, 0)) as listening:
        return int(listening.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """RequestError if nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise RequestError(
            f"cannot listen on {host}, port {port}: {reason}: choose another --port or --host"
        ) from error


def answers(url: str) -> bool:
    """Whether this process reaches a Prefect API; any answer but a fault of a gateway counts."""
    try:
        return httpx.get(f"{url}/health", timeout=10).status_code < 500
    except httpx.HTTPError:
        return False


@dataclass(frozen=True, slots=True)
class Server:
    """A Prefect server that was started: the URL of its API, its process and its log."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_until_ready(self) -> None:
        """Return once the API answers; PrefectDidNotStart if the process ends or five minutes pass first."""
        wait_for(f"{self.url}/health", f"the Prefect server at {self.url}", self.process, self.log)


def wait_for(url: str, what: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once a URL answers with 200; PrefectDidNotStart if the process ends or five minutes pass first."""
    end = time.monotonic() + STARTUP_SECONDS
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < end:
            if process.poll() is not None:
                raise PrefectDidNotStart(f"{what} ended: {_last_words(log)}")
            try:
                if client.get(url).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
    raise PrefectDidNotStart(f"{what} did not answer in {STARTUP_SECONDS:.0f} s: {_last_words(log)}")


def reached_at(host: str, port: int) -> str:
    """The address under which this machine reaches what listens there."""
    reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there; of a name other than localhost nobody knows."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def running_server(host: str, port: int, environment: Mapping[str, str], log: Path, *, ui: bool) -> Iterator[Server]:
    """A Prefect server process for the block, not yet ready to answer."""
    url = f"{reached_at(host, port)}/api"
    with running_prefect(server_command(host, port, ui=ui), environment, log) as process:
        yield Server(url, process, log)


def server_command(host: str, port: int, *, ui: bool) -> list[str]:
    """What `prefect` is told to serve its API."""
    listen = ["server", "start", "--host", host, "--port", str(port), "--log-level", "WARNING"]
    return [*listen, "--ui" if ui else "--no-ui"]


@contextmanager
def running_prefect(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path, module: str = "prefect"
) -> Iterator[subprocess.Popen[bytes]]:
    """`prefect …`, or another module, in a process group of its own for the block, its output in `log`; the group is ended after it.

    It is told to end where this process is killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.steps.service.prefect_child", str(os.getpid()), module, *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end_group(process)


def run_prefect(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """`prefect …` to its end; PrefectDidNotStart with its last words if it fails."""
    with running_prefect(arguments, environment, log) as process:
        if process.wait() != 0:
            raise PrefectDidNotStart(f"prefect {' '.join(arguments)} failed: {_last_words(log)}")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, then end what is left of its group."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-5:]) or "it said nothing"
