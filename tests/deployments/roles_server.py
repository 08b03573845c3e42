"""The scripts of deployments/postgres, run by psql, and the URLs of the roles that they make."""

import os
import subprocess

from sqlalchemy import make_url

from tests.deployments.command_lines import DEPLOYMENTS

PASSWORDS = {
    "OWNER_PASSWORD": "neocube", "WORKER_PASSWORD": "neocube_worker", "PAGE_PASSWORD": "neocube_page",
    "READER_PASSWORD": "neocube_reader", "EXPLORER_PASSWORD": "explorer", "PREFECT_PASSWORD": "prefect",
}  # fmt: skip


def psql(script: str, url: str, **environment: str) -> None:
    """Run a script of deployments/postgres."""
    command = ["psql", "-v", "ON_ERROR_STOP=1", "--quiet", "-f", str(DEPLOYMENTS / "postgres" / script), url]
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_PASSWORD")}
    done = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def as_url(server: str, role: str, database: str = "neocube") -> str:
    """The URL of a database for a role."""
    return make_url(server).set(username=role, password=role, database=database).render_as_string(hide_password=False)
