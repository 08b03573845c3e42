"""What the project is built on: declared, explained, pinned; and checked by the same commands everywhere."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[1]
OURS = ("flows", "products", "datacube_config")
GPU_MODULES = {"cupy", "cupyx", "cudf", "cuml", "rmm"}


def table_rows(path: Path) -> list[list[str]]:
    """The cells of every table row of a document."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    found: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def requirements() -> list[Requirement]:
    """The direct dependencies of pyproject.toml, of all extras."""
    extras = project()["optional-dependencies"].values()
    return [Requirement(line) for lines in (project()["dependencies"], *extras) for line in lines]


def test_every_dependency_stands_in_the_document_with_its_reason() -> None:
    rows = table_rows(REPOSITORY / "docs/dependencies.md")
    listed = {name.strip() for row in rows if row[-1] for name in row[0].split(",")}
    assert [each.name for each in requirements() if each.name.lower() not in listed] == []


def test_dependencies_are_in_the_order_of_their_names() -> None:
    for lines in (project()["dependencies"], *project()["optional-dependencies"].values()):
        names = [Requirement(line).name.lower() for line in lines]
        assert names == sorted(names)


def test_every_upper_bound_stands_in_the_document_with_its_reason() -> None:
    listed = {row[0] for row in table_rows(REPOSITORY / "docs/dependencies.md")}
    bounds = {f"{each.name} {spec}" for each in requirements() for spec in each.specifier if spec.operator == "<"}
    assert bounds <= listed


@pytest.mark.parametrize("extra", ["", "-cu12", "-cu13"])
def test_the_constraints_pin_every_dependency_within_its_bounds(extra: str) -> None:
    lines = (REPOSITORY / f"constraints{extra}.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.partition(" ;")[0].split("==") for line in lines if not line.strip().startswith("#"))
    others = {"gpu-cu12", "gpu-cu13"} - {f"gpu{extra}"}
    left_out = {Requirement(r).name for name in others for r in project()["optional-dependencies"][name]}
    assert "psycopg2" not in pinned, "it has no wheel for Linux"
    for each in requirements():
        if each.name not in left_out:
            assert each.specifier.contains(pinned[each.name.lower()]), each.name


def test_the_commit_hooks_run_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)
    assert recipe is not None
    lines = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert [hook["entry"] for repo in hooks for hook in repo["hooks"]] == lines
    assert {repo["repo"] for repo in hooks} == {"local"}


def test_steps_are_given_what_the_settings_say() -> None:
    readers = [path for path in (REPOSITORY / "flows/steps").rglob("*.py") if "get_settings" in path.read_text()]
    assert [path.name for path in readers] == ["odc_reader.py"]  # ODC calls it without arguments


def imported_modules() -> set[str]:
    """The top-level modules that the packages import, ours, Python's and the GPU's left out."""
    paths = [path for package in OURS for path in (REPOSITORY / package).rglob("*.py")]
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - set(OURS) - GPU_MODULES


def test_every_module_that_is_imported_is_a_declared_dependency() -> None:
    declared = {each.name.lower().replace("_", "-") for each in requirements()}
    owners = packages_distributions()
    names = {module: {owner.lower().replace("_", "-") for owner in owners[module]} for module in imported_modules()}
    assert {module: owners for module, owners in names.items() if not owners & declared} == {}


def modules_named_in(path: Path) -> set[str]:
    """The full names of the modules that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_of_odc_only_geometry_is_known_outside_the_steps() -> None:
    paths = [*(REPOSITORY / "products").rglob("*.py"), *(REPOSITORY / "flows").glob("*.py")]
    named = {name for path in paths for name in modules_named_in(path) if name.partition(".")[0] == "odc"}
    assert named
    assert {name for name in named if not name.startswith("odc.geo")} == set()


def test_a_plain_command_loads_no_prefect() -> None:
    bodies = "flows.cli, flows.plan_cells, flows.build_here, flows.sample_here, flows.train_here, flows.map_here, flows.ingest_here, flows.tend_here"
    program = f"import sys, flows.prefect_api, {bodies}; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


JUNIT = """<testsuites><testsuite>
<testcase classname="a" name="b"><skipped type="pytest.skip" message="test data ../shared/data is absent"/></testcase>
<testcase classname="a" name="c"><skipped type="pytest.skip" message="no CUDA device"/></testcase>
<testcase classname="a" name="d"/>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("expected", "status", "said"),
    [("no CUDA device", 1, "ci: unexpected skip: a.b: test data ../shared/data is absent\n"), (".*data\nCUDA", 0, "")],
)
def test_a_skip_that_is_not_expected_fails_continuous_integration(
    expected: str, status: int, said: str, tmp_path: Path
) -> None:
    report, reasons = tmp_path / "junit.xml", tmp_path / "expected.txt"
    report.write_text(JUNIT)
    reasons.write_text(expected)
    program = str(REPOSITORY / ".ci" / "unexpected_skips.py")
    done = subprocess.run([sys.executable, program, str(report), str(reasons)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, said)
