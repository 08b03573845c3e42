"""deployments/prefect.yaml says what `neocube serve` registers."""

import inspect
import socket
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import DeploymentEventTrigger
from prefect.flows import load_flow_from_entrypoint

import flows
from flows.cli import main
from flows.run_events import CUBE_PUBLISHED, MODEL_PUBLISHED, SCENES_ARRIVED
from flows.serve import POOL, prefect_file
from flows.steps.service.prefect_processes import PrefectDidNotStart, private_environment, run_prefect

DECLARED: list[dict[str, Any]] = yaml.safe_load(prefect_file().read_text())["deployments"]
WHAT = {"name", "description", "entrypoint", "parameters", "tags"}
WHEN_AND_WHERE = {"schedules", "triggers", "concurrency_limit", "work_pool"}


def label(deployment: dict[str, Any]) -> str:
    """Flow module and deployment name."""
    return f"{deployment['entrypoint'].split('.')[1]}/{deployment['name']}"


each_deployment = pytest.mark.parametrize("deployment", DECLARED, ids=label)


def named(name: str) -> dict[str, Any]:
    """The deployment of that label."""
    return next(deployment for deployment in DECLARED if label(deployment) == name)


@each_deployment
def test_an_entrypoint_is_a_module_path_to_a_flow(deployment: dict[str, Any]) -> None:
    assert set(deployment) <= WHAT | WHEN_AND_WHERE
    assert ":" not in deployment["entrypoint"]
    module, _, name = deployment["entrypoint"].rpartition(".")
    assert isinstance(getattr(import_module(module), name), Flow)
    assert load_flow_from_entrypoint(deployment["entrypoint"]).name.replace("-", "_") == module.split(".")[1]


@each_deployment
def test_parameters_are_those_of_the_flow(deployment: dict[str, Any]) -> None:
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    signature = inspect.signature(flow.fn)
    given = deployment.get("parameters", {})
    assert set(given) <= set(signature.parameters)
    needed = {name for name, each in signature.parameters.items() if each.default is inspect.Parameter.empty}
    if deployment.get("schedules") or deployment.get("triggers"):
        assert needed <= set(given)
    flow.validate_parameters({**dict.fromkeys(needed, "text"), **given})


@each_deployment
def test_every_run_waits_its_turn_in_the_pool(deployment: dict[str, Any]) -> None:
    assert deployment["work_pool"] == {"name": POOL}
    if label(deployment) == "tend_runs/every-ten-minutes":
        assert "concurrency_limit" not in deployment, "a dead run of it would keep all others from starting"
        return
    assert deployment["concurrency_limit"]["limit"] >= 1
    assert deployment["concurrency_limit"]["collision_strategy"] == "ENQUEUE"


@pytest.mark.parametrize("schedule", [each for deployment in DECLARED for each in deployment.get("schedules", [])])
def test_prefect_does_not_refuse_a_schedule(schedule: dict[str, Any]) -> None:
    CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])


def test_every_flow_but_the_demo_has_a_deployment() -> None:
    modules = [path.stem for path in Path(flows.__file__).parent.glob("*.py") if "\n@flow(" in path.read_text()]
    assert {label(deployment).partition("/")[0] for deployment in DECLARED} == {*modules} - {"demo"}


def test_ingest_is_nightly_and_building_is_weekly() -> None:
    assert [each["cron"] for each in named("ingest/nightly")["schedules"]] == ["0 2 * * *"]
    assert [each["cron"] for each in named("build_cube/weekly")["schedules"]] == ["0 4 * * 0"]


def test_what_needs_the_network_runs_by_schedule_only_once_an_operator_says_so() -> None:
    for name in ("ingest/nightly", "reconcile/after-the-ingest", "build_cube/weekly"):
        assert [each["active"] for each in named(name)["schedules"]] == [False]


@pytest.mark.parametrize(
    ("name", "event", "kinds"),
    [
        ("tend/when-a-cube-publishes", CUBE_PUBLISHED, ["train"]),
        ("tend/when-a-model-publishes", MODEL_PUBLISHED, ["map"]),
        ("tend/when-scenes-arrive", SCENES_ARRIVED, ["answer"]),
    ],
)
def test_a_published_cube_wakes_training_a_published_model_mapping_and_new_scenes_answers(
    name: str, event: str, kinds: list[str]
) -> None:
    deployment = named(name)
    triggers = [DeploymentEventTrigger.model_validate(each) for each in deployment["triggers"]]
    assert [trigger.expect for trigger in triggers] == [{event}]
    assert deployment["parameters"] == {"kinds": kinds}


@pytest.mark.usefixtures("neocube_home")
def test_serving_on_a_port_that_is_taken_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = CliRunner().invoke(main, ["serve", "--port", str(port)])
    assert refused.exit_code == 2
    said = f"neocube: cannot listen on 127.0.0.1, port {port}: Address already in use: choose another --port or --host"
    assert refused.stderr.splitlines()[-1] == said


@pytest.mark.full
def test_a_prefect_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(PrefectDidNotStart, match="prefect no-such-command failed: .*no-such-command"):
        run_prefect(["no-such-command"], private_environment(tmp_path), tmp_path / "logs" / "prefect.log")


def test_a_file_of_the_home_stands_in_the_place_of_ours(tmp_path: Path) -> None:
    assert prefect_file(tmp_path) == prefect_file()
    (tmp_path / "prefect.yaml").write_text("deployments: []")
    assert prefect_file(tmp_path) == tmp_path / "prefect.yaml"


def test_no_entrypoint_is_named_in_a_file_path() -> None:
    assert ".py:" not in Path(prefect_file()).read_text()
