"""A PostgreSQL 15 of its own that a test may kill and start again."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.steps.service.prefect_processes import free_port
from tests.conftest import POSTGRES_15

PATIENCE_S = 60.0


@dataclass(frozen=True)
class KillablePostgres:
    """Its folder and port; it trusts whoever connects from this machine, and has nothing to lose."""

    folder: Path
    port: int

    def run(self, program: str, *arguments: str) -> None:
        """One of its programs, as the user that may."""
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_postgres, str(POSTGRES_15 / program), *arguments]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start it, and wait until it answers: what a killed one leaves keeps its memory for a moment."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder}"
        log, data = str(self.folder / "log"), str(self.folder / "data")
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.run("pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", options)
            except subprocess.CalledProcessError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def kill(self) -> None:
        """End it with SIGKILL, as a machine that fails does."""
        os.kill(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


@contextmanager
def killable_postgres(database: str) -> Iterator[KillablePostgres]:
    """A server with an empty database."""
    if not (POSTGRES_15 / "pg_ctl").exists():
        pytest.skip("PostgreSQL 15 is not installed (Debian: apt-get install postgresql-15)")
    folder = Path(tempfile.mkdtemp(prefix="neocube-killable-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    server = KillablePostgres(folder, free_port())
    server.run("initdb", "-D", str(folder / "data"), "-U", "odc", "-A", "trust")
    try:
        server.start()
        server.run("createdb", "-h", "127.0.0.1", "-p", str(server.port), "-U", "odc", database)
        yield server
    finally:
        try:
            server.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(folder / "data"))
        finally:
            shutil.rmtree(folder)
