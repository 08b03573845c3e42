"""Whether a Prefect server is configured, wherever Prefect itself would find it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.prefect_api import has_prefect_api

REPOSITORY = Path(__file__).parents[2]
PROFILES = 'active = "x"\n\n[profiles.x]\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\n'


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without files, a Prefect home without profiles, no variable."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("PREFECT_API_URL", "PREFECT_PROFILES_PATH", "PREFECT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))


def test_without_a_variable_or_a_file_there_is_no_server() -> None:
    assert not has_prefect_api()


def test_a_project_that_is_not_about_prefect_names_no_server(tmp_path: Path) -> None:
    (tmp_path / "here" / "pyproject.toml").write_text('[project]\ndependencies = ["prefect"]\n')
    (tmp_path / "here" / ".env").write_text("OTHER=1\n")
    assert not has_prefect_api()


def test_a_profile_names_a_server(tmp_path: Path) -> None:
    (tmp_path / "prefect").mkdir(exist_ok=True)
    (tmp_path / "prefect" / "profiles.toml").write_text(PROFILES)
    program = "from flows.prefect_api import has_prefect_api; print(has_prefect_api())"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
