"""A private PostgreSQL 15 with PostGIS, as Debian installs it: its own settings, fsync on, on loopback, gone afterwards."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
POSTGIS = Path("/usr/share/postgresql/15/extension/postgis.control")


def missing() -> str | None:
    """What there is to install, in words; None where the server can be started."""
    if not (PROGRAMS / "pg_ctl").exists() or not POSTGIS.exists():
        return "PostgreSQL 15 with PostGIS is not installed (Debian: postgresql-15 postgresql-15-postgis-3)"
    return None


@contextmanager
def debian_server() -> Iterator[str]:
    """The URL of an empty database on a server of its own, which runs for the block."""
    folder = Path(tempfile.mkdtemp(prefix="neocube-bench-pg15-", dir="/tmp"))
    password = secrets.token_hex(8)
    (folder / "password").write_text(password)
    as_postgres = []
    if os.geteuid() == 0:
        as_postgres = ["runuser", "-u", "postgres", "--"]
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        # The server keeps what it inherits of stdout: a pipe would never end.
        command = [*as_postgres, str(PROGRAMS / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)

    run("initdb", "-U", "odc", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}")
    try:
        run("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", f"-h 127.0.0.1 -p {port} -k {folder}")
        yield f"postgresql://odc:{password}@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "stop", "-w", "-m", "immediate")
        shutil.rmtree(folder)
