"""The table of README.md holds the rows that the bench makes, as `tests/bench/run.py --readme` writes them."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
BENCH = REPOSITORY / "tests" / "bench"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bench = load("readme_table")


def cells(text: str) -> list[list[str]]:
    """The rows of a Markdown table, without its head."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines[1:]]


def made_rows(**changed: Any) -> list[dict[str, Any]]:
    """A row for each line, named by its own texts."""
    common = {"ours_s": 0.25, "peer_s": 100.0, "measured": "2026-01-02, some CPU, 2 cores", **changed}
    return [{"name": "".join(line.name), **common} for line in bench.LINES]


@pytest.mark.parametrize(("name", "least"), [("README.md", 8), ("docs/benchmarks.md", 12)])
def test_a_document_has_the_rows_of_the_bench_in_their_order(name: str, least: int) -> None:
    table = (REPOSITORY / name).read_text().partition(bench.START)[2].partition(bench.END)[0]
    rows = cells(table)
    known = (r"(with|plan,) [\d,]+ known", r"\1 {known} known")
    shown = [(re.sub(*known, job.removesuffix(" (extrapolated)")), peer) for job, _, peer, *_ in rows]
    lines = [(line.job, line.peer) for line in bench.LINES]
    assert len(shown) >= least and shown == [line for line in lines if line in shown]
    assert all(re.fullmatch(r"[\d,.]+ m?s", value) for row in rows for value in (row[1], row[3]))
    assert re.search(r"^Measured \d{4}-\d\d-\d\d, .+, \d+ cores\.?", table, re.M)


def test_the_readme_is_short() -> None:
    lines = (REPOSITORY / "README.md").read_text().splitlines()
    assert len(lines) < 100
    assert 85 + sum(line.is_main for line in bench.LINES) < 100
    assert max(len(line) for line in lines if line.startswith("|")) <= 140


def test_each_line_is_of_a_row_that_a_bench_script_makes() -> None:
    scripts = "".join(path.read_text() for path in BENCH.glob("*.py") if path.name != "readme_table.py")
    known = {"LARGE": "100000", "MILLION": "1000000"}
    source = "".join(
        re.sub(r"\{(\w+)\}", lambda found, told={**known, "n_scenes": n}: told.get(found[1], "*"), scripts)
        for n in known.values()
    )
    assert [line.name[0] for line in bench.LINES if line.name[0] not in source] == []


def test_only_what_lies_between_the_markers_is_written(tmp_path: Path) -> None:
    readme, document, found = (tmp_path / name for name in ("README.md", "benchmarks.md", "bench.json"))
    document.write_text(f"{bench.START}\n{bench.END}\n")
    readme.write_text(f"above\n{bench.START}\nold\n{bench.END}\nbelow\n")
    found.write_text(json.dumps(made_rows()))
    bench.write_tables(readme, document, found)
    written = readme.read_text()
    assert written.startswith(f"above\n{bench.START}\n| job |") and written.endswith(f"{bench.END}\nbelow\n")
    assert "old" not in written and "Measured 2026-01-02, some CPU, 2 cores." in written
    assert {tuple(row[1::2]) for row in cells(written)} == {("250 ms", "100 s")}
    bench.write_tables(readme, document, found)
    assert readme.read_text() == written
    assert (
        len(cells(document.read_text()))
        == len(bench.LINES)
        > len(cells(written))
        == sum(line.is_main for line in bench.LINES)
    )


def test_the_median_of_rounds_is_the_ratio_and_an_extrapolated_row_says_so() -> None:
    rows = made_rows(peer_over_ours={"min": 1, "median": 3.5, "max": 4})
    rows[-1]["name"] += ": extrapolated from 3000"
    table = bench.table(rows)
    assert {row[-1] for row in cells(table)} == {"3.5"}
    assert cells(table)[-1][0].endswith("(extrapolated)")


def test_rows_and_lines_that_do_not_fit_each_other_are_named() -> None:
    with pytest.raises(ValueError, match="no line for the row 'something new'"):
        bench.table([*made_rows(), {"name": "something new"}])
    assert len(cells(bench.table(made_rows()[1:]))) == len(bench.LINES) - 1


def test_lines_without_a_row_are_told(tmp_path: Path) -> None:
    readme, document, found = (tmp_path / name for name in ("README.md", "benchmarks.md", "bench.json"))
    for path in (readme, document):
        path.write_text(f"{bench.START}\n{bench.END}\n")
    found.write_text(json.dumps(made_rows()[1:]))
    assert bench.write_tables(readme, document, found) == [bench.LINES[0].job]


def test_a_readme_without_markers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no table\n")
    (tmp_path / "bench.json").write_text(json.dumps(made_rows()))
    with pytest.raises(ValueError, match=r"no place for the table: expected <!-- bench: start -->"):
        bench.write_tables(tmp_path / "README.md", tmp_path / "benchmarks.md", tmp_path / "bench.json")


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0638, "63.8 ms"), (0.006, "6 ms"), (9.4, "9.4 s"), (32.88, "32.9 s"), (6435.9, "6,436 s")]
)
def test_times_have_three_digits(value: float, shown: str) -> None:
    assert bench.seconds(value) == shown


def test_how_many_scenes_are_known_is_what_the_row_says() -> None:
    rows = made_rows()
    at = next(number for number, line in enumerate(bench.LINES) if "{known}" in line.job)
    rows[at]["name"] += "50000 known"
    assert cells(bench.table(rows))[at][0] == bench.LINES[at].job.format(known="50,000")
