"""`neocube status` on a terminal: every figure, under what it is about, in its unit."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from click.testing import CliRunner

from datacube_config.settings import Settings
from flows.cli import main
from flows.steps.service.health import check_health
from flows.steps.service.prefect_figures import PrefectAccess
from flows.steps.service.prefect_processes import free_port
from flows.steps.service.service_metrics import METRICS, Reading
from flows.steps.service.status_lines import status_lines

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def lines_of(*readings: Reading) -> list[str]:
    document = {"checks": [], "figures": [asdict(each) for each in readings], "failures": []}
    return [" ".join(line.split()) for line in status_lines(document, NOW)]


def test_figures_stand_under_what_they_are_about_in_their_units() -> None:
    newest = (NOW - timedelta(days=3, hours=1)).timestamp()
    assert lines_of(
        Reading("neocube_scenes", 1234, {"collection": "sentinel-2-l2a", "state": "active"}),
        Reading("neocube_scene_newest_timestamp_seconds", newest, {"archive": "here", "collection": "sentinel-2-l2a"}),
        Reading("neocube_quarantine_items", 2, {"archive": "here", "collection": "sentinel-2-l2a"}),
        Reading("neocube_cell_build_seconds", 12.345, {"product": "mangrove_features", "statistic": "median"}),
        Reading("neocube_cell_stored_bytes", 2_500_000, {"product": "mangrove_features"}),
        Reading("neocube_cells_last_day_cost", 0.25, {"product": "mangrove_features", "currency": "GBP"}),
        Reading("neocube_storage_free_bytes", 5e9),
        Reading("neocube_provider_closed_until_timestamp_seconds", NOW.timestamp() + 90, {"provider": "host"}),
    ) == [
        "",
        "collection sentinel-2-l2a",
        "scenes active 1,234",
        "",
        "collection sentinel-2-l2a at here",
        "scene newest 2026-11-23 11:00 UTC (3 d ago)",
        "quarantine items 2",
        "",
        "product mangrove_features",
        "cell build median 12.3 s",
        "cell stored 2.5 MB",
        "cells last day cost GBP 0.25",
        "",
        "provider host",
        "provider closed until 2026-11-26 12:01 UTC (in 2 min)",
        "",
        "store",
        "storage free 5,000.0 MB",
    ]


def test_every_metric_has_a_line_and_a_failed_run_its_cause() -> None:
    readings = [Reading(name, 1, dict.fromkeys(meaning.labels, "x")) for name, meaning in METRICS.items()]
    failure = {"run": "ingest-here", "at": "2026-11-26T01:00:00Z", "cause": "the archive is closed"}
    check = {"name": "index", "ok": False, "found": "not there"}
    told = list(
        status_lines({"checks": [check], "figures": [asdict(each) for each in readings], "failures": [failure]}, NOW)
    )
    assert told[0] == "FAIL index: not there"
    assert told[-1] == "    2026-11-26T01:00:00Z ingest-here: the archive is closed"
    figures = [line for line in told[1:-2] if line.startswith("    ")]
    assert len(figures) == len(METRICS)


def test_the_command_tells_the_figures_below_the_checks(embedded_settings: Settings) -> None:
    done = CliRunner().invoke(main, ["status"])
    assert done.exit_code == 0, done.output
    assert "ok   prefect: no API is set" in done.output
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert {"part index", "up 1", "kind train", "follow ups 0"} <= set(lines)
    assert embedded_settings.home.is_dir()


def test_a_prefect_that_does_not_answer_fails_the_check(embedded_settings: Settings) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    document = check_health(embedded_settings, PrefectAccess(url))
    (failed,) = [check for check in document["checks"] if not check["ok"]]
    assert failed["name"] == "prefect" and "refused" in failed["found"]
    assert not document["ok"] and document["failures"] == []
