"""The Makefile in a fresh clone: each target installs what it needs first, and only once."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what the Makefile looks at, and no `.venv`."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def commands_of(target: str, folder: Path) -> str:
    """What `make` would run for a target."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "GPU")}
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("target", ["test", "test-full", "lint"])
def test_what_needs_the_tools_of_a_developer_installs_them_once(target: str, clone: Path) -> None:
    assert "-e '.[dev,deep]'" in commands_of(target, clone)
    (clone / ".venv").mkdir()
    (clone / ".venv" / "neocube-dev").touch()
    assert "-e" not in commands_of(target, clone).split()


def test_the_benchmark_installs_its_peers_once(clone: Path) -> None:
    assert "-e '.[dev,deep,bench]'" in commands_of("bench", clone)
    (clone / ".venv").mkdir()
    (clone / ".venv" / "neocube-dev").touch()
    assert "-e '.[dev,deep,bench]'" in commands_of("bench", clone)
    (clone / ".venv" / "neocube-bench").touch()
    assert "-e" not in commands_of("bench", clone).split()


def test_the_demo_installs_no_tools_of_a_developer(clone: Path) -> None:
    assert "-e '.'" in commands_of("demo", clone) and "[dev" not in commands_of("demo", clone)


def test_an_installation_for_developers_is_one_for_the_demo_too(clone: Path) -> None:
    assert ".venv/neocube-base .venv/neocube-dev" in commands_of("install", clone)
    (clone / ".venv").mkdir()
    (clone / ".venv" / "neocube-base").touch()
    assert "-e" not in commands_of("demo", clone).split()
