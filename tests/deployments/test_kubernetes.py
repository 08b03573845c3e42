"""deployments/kubernetes: manifests of the schema of Kubernetes, and commands, secrets and pools that agree with the rest."""

import json
import re
from importlib.resources import files
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from flows.serve import POOL
from tests.deployments.command_lines import DEPLOYMENTS, check_command, scheme_behind_a_proxy

FOLDER = DEPLOYMENTS / "kubernetes"
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((FOLDER / "neocube.yaml").read_text()))
TEMPLATE: dict[str, Any] = json.loads((FOLDER / "base-job-template.json").read_text())
SCHEMAS = files("kubernetes_validate") / "kubernetes-json-schema" / "v1.30.0-local-strict"
USER = 10001


def label(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pods() -> dict[str, dict[str, Any]]:
    """The pod of each job and deployment."""
    return {label(each): each["spec"]["template"]["spec"] for each in MANIFESTS if "template" in each.get("spec", {})}


def job() -> dict[str, Any]:
    """The job of a flow run, with the defaults of the template and some values for the rest."""
    given = {"command": ["prefect", "flow-run", "execute"], "env": [], "labels": {"a": "b"}, "name": "run"}
    known = given | {
        name: each["default"] for name, each in TEMPLATE["variables"]["properties"].items() if "default" in each
    }

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: filled(value) for key, value in part.items()}
        if isinstance(part, list):
            return [filled(each) for each in part]
        if isinstance(part, str) and (found := re.fullmatch(r"\{\{ (\w+) \}\}", part)):
            return known[found[1]]
        return re.sub(r"\{\{ (\w+) \}\}", lambda found: str(known[found[1]]), part) if isinstance(part, str) else part

    made: dict[str, Any] = filled(TEMPLATE["job_configuration"]["job_manifest"])
    return made


def schema(name: str) -> Any:
    """A schema of Kubernetes, closed to unknown fields."""
    return json.loads((SCHEMAS / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def definitions() -> Registry[Any]:
    """What the schemas refer to; kubernetes_validate itself looks through it anew for each reference, which takes seconds a manifest."""
    return (Resource.from_contents(schema("_definitions")) @ Registry()).crawl()


@pytest.mark.parametrize("manifest", [*MANIFESTS, job()], ids=lambda each: str(each["kind"]))
def test_a_manifest_is_of_the_schema(manifest: dict[str, Any], definitions: Registry[Any]) -> None:
    group, _, version = manifest["apiVersion"].rpartition("/")
    wanted = schema("-".join(filter(None, [manifest["kind"].lower(), group.partition(".")[0], version])))
    registry = (Resource.from_contents(wanted) @ definitions).crawl()
    errors = Draft202012Validator(wanted, registry=registry).iter_errors(manifest)
    assert [f"{each.json_path}: {each.message}" for each in errors] == []
    unknown = Draft202012Validator(wanted, registry=registry).is_valid(manifest | {"unknown": 1})
    assert not unknown, "the schema is closed"


def test_the_containers_start_commands_that_there_are() -> None:
    for pod in pods().values():
        (container,) = pod["containers"]
        check_command(container["command"])


def test_a_pod_has_no_privileges_and_no_token_of_the_cluster() -> None:
    for pod in [*pods().values(), job()["spec"]["template"]["spec"]]:
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, USER)
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert {"memory"} <= set(container["resources"]["limits"])
    assert f"useradd --uid {USER} " in (DEPLOYMENTS / "Dockerfile").read_text()


def test_every_secret_and_service_is_named_in_the_document_or_made_here() -> None:
    text = json.dumps([MANIFESTS, TEMPLATE, yaml.safe_load((FOLDER / "values-server.yaml").read_text())])
    secrets = set(re.findall(r'"(?:secretRef": \{"name|secretName|existingSecret)": "([\w-]+)"', text))
    document = (DEPLOYMENTS.parent / "docs/operations.md").read_text()
    assert [
        name for name in sorted(secrets) if f"secret generic {name} " not in document and not name.endswith("-tls")
    ] == []
    selected = {label(each): each["spec"]["selector"] for each in MANIFESTS if each["kind"] == "Service"}
    assert selected == {"Service/neocube-page": {"app": "neocube-page"}}


def test_the_page_believes_the_ingress_and_nobody_else_reaches_it() -> None:
    (page,) = pods()["Deployment/neocube-page"]["containers"]
    assert scheme_behind_a_proxy({each["name"]: each["value"] for each in page["env"]}) == "https"
    (policy,) = (each["spec"] for each in MANIFESTS if label(each) == "NetworkPolicy/neocube-page")
    assert policy["podSelector"]["matchLabels"] == {"app": "neocube-page"}
    assert policy["ingress"][0]["ports"] == [{"port": page["ports"][0]["name"]}]


def test_page_and_figures_have_the_same_settings() -> None:
    settings = next(each["data"] for each in MANIFESTS if each["kind"] == "ConfigMap")
    assert "NEOCUBE_PRICE_PER_CORE_HOUR" in settings
    page, metrics = (pods()[f"Deployment/neocube-{name}"] for name in ("page", "metrics"))
    assert page["volumes"] == metrics["volumes"]
    assert page["containers"][0]["volumeMounts"] == metrics["containers"][0]["volumeMounts"]


def test_every_variable_of_the_job_is_one_of_the_template() -> None:
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(TEMPLATE["job_configuration"])))
    assert used == set(TEMPLATE["variables"]["properties"])


def test_the_worker_of_the_chart_serves_the_pool_of_the_deployments() -> None:
    worker = yaml.safe_load((FOLDER / "values-worker.yaml").read_text())["worker"]
    assert (worker["config"]["workPool"], worker["config"]["type"], worker["apiConfig"]) == (
        POOL,
        "kubernetes",
        "server",
    )
    settings = next(each["data"] for each in MANIFESTS if each["kind"] == "ConfigMap")
    assert worker["serverApiConfig"]["apiUrl"] == settings["PREFECT_API_URL"]
