"""`neocube simulate` and the flow of the same name."""

import json
from pathlib import Path

from click.testing import CliRunner

from flows.cli import main
from flows.simulate import simulate

SMALL = ["--size-px", "48", "--period", "2020-01", "--max-scenes-per-platform", "1"]


def test_the_command_prints_one_json_document(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["simulate", str(tmp_path / "a"), *SMALL, "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"items": 8, "truth": str(tmp_path / "a" / "truth"), "faults": []}
    assert (tmp_path / "a" / "catalog.json").is_file()


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["simulate", str(tmp_path / "a"), *SMALL, "--faults", "usual"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{len(list(tmp_path.glob('a/*/*/*.json')))} items in {tmp_path / 'a'}")
    assert "fault: missing_asset in " in result.stdout


def test_a_wrong_request_ends_with_2_and_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["simulate", str(tmp_path / "a"), "--area", "atlantis", "--json"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("neocube: unknown area 'atlantis'")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_the_flow_takes_typed_parameters_and_returns_the_same(tmp_path: Path) -> None:
    assert simulate.parameters.properties["faults"]["enum"] == ["none", "usual", "harsh"]
    told = simulate.fn(str(tmp_path / "a"), period="2020-01", size_px=48, max_scenes_per_platform=1)
    assert told["items"] == 8
