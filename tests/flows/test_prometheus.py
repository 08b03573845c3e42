"""The rules and the dashboard in deployments/, by promtool and by a real Prometheus that scrapes the endpoint: right figures, no empty panel."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from datacube_config.accounts import hashed_token
from datacube_config.settings import Settings
from flows.request_page.header_sign_in import refusing_strangers
from flows.steps.service.exposition import metrics_endpoint
from flows.steps.service.panels import ROWS
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.service_metrics import METRICS, Reading
from flows.steps.service.service_readings import PartRead
from tests.flows.prometheus_server import RULES, Query, program, running_prometheus, unlike_our_page

REPOSITORY = Path(__file__).parents[2]
GRAFANA = REPOSITORY / "deployments" / "grafana"
AGE_S = 3600.0
LABELS = {"collection": "sentinel-2-l2a", "part": "index", "state": "active", "flow": "ingest", "status": "online"}
STATES = {
    "neocube_archive_items": ("indexed", "missing", "gone"),
    "neocube_flow_runs": ("running",),
    "neocube_flow_runs_last_day": ("completed", "failed"),
}


def known_value(metric: str) -> float:
    """A number of its own for each metric."""
    return 1.0 + list(METRICS).index(metric)


def known_parts() -> list[PartRead]:
    """A reading of every metric: ages are an hour, the other values different numbers."""
    readings = []
    for metric, meaning in METRICS.items():
        value = time.time() - AGE_S if metric.endswith("_timestamp_seconds") else known_value(metric)
        labels = {name: LABELS.get(name, f"a {name}") for name in meaning.labels}
        readings += [
            Reading(metric, 1.0 if metric == "neocube_up" else value, labels | ({"state": state} if state else {}))
            for state in STATES.get(metric, ("",))
        ]
    return [PartRead("index", tuple(readings))]


def checked(*command: str) -> str:
    """What a command says; AssertionError with it if it fails."""
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    said = checked(program("promtool"), "check", "config", str(RULES / "prometheus.yml"))
    assert "SUCCESS: 2 rule files found" in said and "FAILED" not in said


def test_alerts_fire_when_they_should_and_say_what_to_do() -> None:
    assert "SUCCESS" in checked(program("promtool"), "test", "rules", "tests/flows/alert_rules.test.yml")


def rules_of(name: str) -> list[dict[str, Any]]:
    """The rules of a file."""
    return [rule for group in yaml.safe_load((RULES / name).read_text())["groups"] for rule in group["rules"]]


def test_every_alert_says_how_urgent_it_is_what_is_wrong_and_what_to_do() -> None:
    for alert in rules_of("alerts.yml"):
        assert alert["labels"]["severity"] in ("page", "ticket"), alert["alert"]
        assert alert["annotations"].keys() == {"summary", "action"}, alert["alert"]


def test_every_metric_that_a_rule_or_a_panel_names_is_one_of_ours() -> None:
    recorded = {rule["record"] for rule in rules_of("recording.yml")}
    asked = [rule["expr"] for name in ("recording.yml", "alerts.yml") for rule in rules_of(name)] + queries()
    named = {name for query in asked for name in re.findall(r"(?:[a-z_]+:)?neocube_\w+(?::[a-z]+)?", query)}
    assert named - METRICS.keys() - recorded == set()


def test_the_dashboard_has_the_panels_of_our_page_and_the_alerts_of_prometheus() -> None:
    ours = [figures.query for panels in ROWS.values() for panel in panels for figures in panel.figures]
    assert [query for query in queries() if "ALERTS" not in query] == ours
    assert len(queries()) == len(ours) + 1


def queries() -> list[str]:
    """The queries of all panels of the dashboard."""
    board = json.loads((GRAFANA / "neocube.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


def test_the_dashboard_is_what_its_script_prints_and_the_sdk_reads_it_back() -> None:
    sdk = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="grafana-foundation-sdk is not installed"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    written = (GRAFANA / "neocube.json").read_text()
    assert checked(sys.executable, str(GRAFANA / "make_dashboard.py")) == written
    register_default_plugins()
    board = sdk.Dashboard.from_json(json.loads(written))
    assert json.loads(JSONEncoder().encode(board)) == json.loads(written)
    numbers = [panel["id"] for panel in json.loads(written)["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Query]:
    """Asks a Prometheus that has scraped known readings, as the account that its token is of."""
    account = {"name": "prometheus", "role": "viewer", "token_hash": hashed_token("a token")}
    refuse = refusing_strangers(Settings.model_validate({"accounts": [account]}))
    with (
        metrics_endpoint(known_parts, "127.0.0.1", free_port(), refuse) as url,
        running_prometheus(tmp_path_factory.mktemp("prometheus"), url, "a token") as ask,
    ):
        yield ask


def test_every_metric_is_scraped_with_its_value(query: Query) -> None:
    found = {name: query(f"sum without (instance, job) ({name})") for name in METRICS}
    assert [name for name, values in found.items() if not values] == []
    assert found["neocube_storage_free_bytes"] == {frozenset(): known_value("neocube_storage_free_bytes")}
    cell = frozenset({"product": "a product", "family": "a family", "state": "active"}.items())
    assert found["neocube_cells"] == {cell: known_value("neocube_cells")}


def test_every_panel_of_the_dashboard_has_an_answer(query: Query) -> None:
    assert [expression for expression in queries() if not query(expression)] == []
    assert query(queries()[0]) == {frozenset({("part", "index")}): 1}


def test_the_panels_of_our_page_have_the_values_that_prometheus_gives(query: Query) -> None:
    assert unlike_our_page(query, known_parts()[0].readings) == {}


def test_the_rules_give_ages_and_shares(query: Query) -> None:
    rules = [rule["record"] for rule in rules_of("recording.yml")]
    found = {name: next(iter(query(f"sum({name})").values())) for name in rules}
    ages = [name for name in rules if "_seconds:" in name]
    assert [found[name] for name in ages] == [pytest.approx(AGE_S, abs=30)] * len(ages)
    assert found["archive_collection:neocube_archive_items_missing:ratio"] == 0.5
    assert found["flow:neocube_flow_runs_last_day_failed:ratio"] == 0.5
    assert found["product_family:neocube_cells_stale:ratio"] == pytest.approx(
        known_value("neocube_cells_stale") / known_value("neocube_cells")
    )
