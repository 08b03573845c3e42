"""`make demo-real`: its commands exist, and its plan over recorded items of the same archive is whole."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from datacube_config.archives import archive_table
from flows.cli import main
from flows.steps.areas import find_area

REPOSITORY = Path(__file__).parents[1]
RECORDED = "stac/earth_search/c1/13TDE_2024_10_items.json"
INSIDE_13TDE = "-104.98,40.20,-104.94,40.23"


def commands(*variables: str) -> list[list[str]]:
    """The neocube commands of the target, as words after `neocube`."""
    make = ["make", "-n", "-s", "-o", ".venv/neocube-base", "demo-real", *variables]
    done = subprocess.run(make, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    found = re.findall(r"^\.venv/bin/neocube (.*?)(?: \|\| .*)?$", done.stdout, re.M)
    return [shlex.split(line) for line in found]


def run(words: list[str]) -> Result:
    return CliRunner().invoke(main, words)


def test_it_reads_one_known_coast_and_one_year_from_an_archive_that_needs_no_account() -> None:
    ingest = commands()[1]
    assert ingest == [
        "ingest",
        "earth-search",
        "--collection",
        "sentinel-2-l2a",
        "--area",
        "matang",
        "--period",
        "2020",
    ]
    signed = {host for rule in archive_table().archives["earth-search"].signing for host in rule.hosts}
    assert signed == {"usgs-landsat"}, "Sentinel-2 is open"
    assert find_area("matang").name == "matang"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ((), ["init", "ingest", "plan", "build"]),
        (("LABELS=a.gpkg",), ["init", "ingest", "plan", "build", "train", "map"]),
    ],
)
def test_it_trains_and_maps_only_where_labels_are_given(variables: tuple[str, ...], expected: list[str]) -> None:
    lines = commands(*variables)
    assert [line[0] for line in lines] == expected
    for name, *words in lines:
        main.commands[name].make_context(name, words)


def test_its_plan_over_recorded_items_has_every_pass_and_its_bytes(neocube_home: Path, shared_data: Path) -> None:
    init, ingest, plan, *_ = commands(f"AREA={INSIDE_13TDE}", "PERIOD=2024")
    assert run(init).exit_code == 0
    ingest[1] = str(shared_data / RECORDED)
    report = json.loads(run([*ingest, "--json"]).stdout)
    assert (report["found"], report["added"], report["quarantined"]) == (10, 10, [])
    made = json.loads(run([*plan, "--json"]).stdout)
    assert {(cell["state"], cell["period"], cell["scenes"]) for cell in made["cells"]} == {("missing", "2024", 10)}
    assert made["scenes"] == 10
    assert made["notes"] == ["no scene of landsat-c2-l2 in 2024"]
    assert made["bytes_read"] > 0
    assert made["host_bytes"] > 0
