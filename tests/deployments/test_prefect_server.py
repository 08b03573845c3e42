"""deployments/prefect.yaml and the job templates on a real Prefect server, which keeps its own things in PostgreSQL by its own role."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from flows.serve import POOL, prefect_file
from flows.steps.service.prefect_processes import free_port, private_environment, run_prefect, running_server
from tests.deployments.command_lines import DEPLOYMENTS
from tests.deployments.roles_server import as_url

DECLARED: list[dict[str, Any]] = yaml.safe_load(prefect_file().read_text())["deployments"]
TEMPLATES = {"docker": "compose/docker-job-template.json", "kubernetes": "kubernetes/base-job-template.json"}


@pytest.fixture(scope="module")
def registered(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The API of a server on PostgreSQL with the pools and, twice over, the deployments."""
    home = tmp_path_factory.mktemp("prefect")
    log = home / "prefect.log"
    database = as_url(server, "prefect", "prefect").replace("postgresql:", "postgresql+asyncpg:")
    environment = private_environment(home) | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
    with running_server("127.0.0.1", free_port(), environment, home / "server.log", ui=False) as running:
        running.wait_until_ready()
        environment["PREFECT_API_URL"] = running.url
        run_prefect(["work-pool", "create", POOL, "--type", "process"], environment, log)
        for kind, template in TEMPLATES.items():
            given = ["--type", kind, "--base-job-template", str(DEPLOYMENTS / template)]
            run_prefect(["work-pool", "create", f"in-{kind}", *given], environment, log)
        for _ in range(2):
            run_prefect(["--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file())], environment, log)
        with httpx.Client(base_url=running.url, timeout=60, trust_env=False) as client:
            yield client


def rows(client: httpx.Client, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.post(f"/{kind}/filter", json={"limit": 200}).raise_for_status().json()
    return found


def key(declared: dict[str, Any]) -> tuple[str, str]:
    """Entrypoint and name."""
    return declared["entrypoint"], declared["name"]


@pytest.mark.full
def test_the_server_has_every_deployment_once_as_the_file_says(registered: httpx.Client) -> None:
    found = {key(each): each for each in rows(registered, "deployments")}
    assert len(rows(registered, "deployments")) == len(DECLARED) == len(found)
    for declared in DECLARED:
        there = found[key(declared)]
        limit = declared.get("concurrency_limit", {}).get("limit")
        assert (there["work_pool_name"], there["parameters"]) == (POOL, declared.get("parameters", {}))
        assert (there["global_concurrency_limit"] or {}).get("limit") == limit
        wanted = [(each["cron"], each.get("active", True)) for each in declared.get("schedules", [])]
        assert [(each["schedule"]["cron"], each["active"]) for each in there["schedules"]] == wanted


@pytest.mark.full
def test_the_server_has_every_trigger_once(registered: httpx.Client) -> None:
    declared = {trigger["name"]: trigger["expect"] for each in DECLARED for trigger in each.get("triggers", [])}
    found = rows(registered, "automations")
    assert {each["name"]: each["trigger"]["expect"] for each in found} == declared
    assert len(found) == len(declared) and all(each["enabled"] for each in found)


@pytest.mark.full
def test_the_server_takes_the_job_templates(registered: httpx.Client) -> None:
    pools = {each["name"]: each["type"] for each in rows(registered, "work_pools")}
    assert pools == {POOL: "process", "in-docker": "docker", "in-kubernetes": "kubernetes"}


@pytest.mark.full
@pytest.mark.usefixtures("registered")
def test_the_deployments_lie_in_the_database_of_prefect(server: str) -> None:
    with psycopg.connect(as_url(server, "prefect", "prefect")) as connection:
        assert connection.execute("select count(*) from deployment").fetchone() == (len(DECLARED),)
