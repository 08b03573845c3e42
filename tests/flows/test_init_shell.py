"""`neocube settings --shell`: ODC's own tools find the index, as long as the shell lives."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from datacube_config.cluster import Cluster, is_running
from datacube_config.settings import Settings

REPOSITORY = Path(__file__).parents[2]
COUNT = "import datacube; print(len(datacube.Datacube().list_products()))"


def shell(program: str, *lines: str) -> subprocess.CompletedProcess[str]:
    script = "\n".join([f'eval "$({sys.executable} -m flows.cli settings --shell)"', *lines])
    return subprocess.run([program, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def stops_within(home: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(Cluster(home)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("program", ["sh"])
@pytest.mark.full
def test_a_bare_datacube_reads_the_embedded_index_until_the_shell_ends(
    embedded_settings: Settings, program: str
) -> None:
    done = shell(
        program, f"{sys.executable} -c '{COUNT}'", f"{Path(sys.executable).with_name('datacube')} product list"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "4"
    assert "sentinel2_msi_l2a" in done.stdout
    assert stops_within(embedded_settings.home, 30)


def test_a_bare_datacube_reads_the_index_of_a_server(
    postgis_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert postgis_settings.index_url is not None
    monkeypatch.setenv("NEOCUBE_INDEX_URL", postgis_settings.index_url.get_secret_value())
    done = shell("sh", f"{sys.executable} -c '{COUNT}'")
    assert done.stdout == "4\n", done.stderr


def test_a_server_that_cannot_start_is_said_in_one_line(neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOCUBE_HOME", "/proc/neocube")
    assert "expected the home /proc/neocube to be a folder" in shell("sh").stderr
