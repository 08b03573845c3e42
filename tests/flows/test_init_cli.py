"""`neocube init`, `settings` and `status` as commands, each in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datacube_config.cluster import Cluster, is_running
from datacube_config.settings import Settings
from tests.flows.small_disks import mounted

SOURCE_PRODUCTS = ["landsat_etm_c2_l2", "landsat_oli_c2_l2", "landsat_tm_c2_l2", "sentinel2_msi_l2a"]
REPOSITORY = Path(__file__).parents[2]


def neocube_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_init_prints_one_json_document(neocube_home: Path) -> None:
    done = neocube_process("init", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["driver"] == "postgres"
    assert document["products"] == SOURCE_PRODUCTS
    assert not is_running(Cluster(neocube_home))


def test_status_of_an_initialised_home_is_ok(embedded_settings: Settings) -> None:
    done = neocube_process("status", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    found = {check["name"]: check["found"] for check in document["checks"]}
    assert document["ok"]
    assert (found["index"], found["scenes"], found["cells"], found["quarantine"]) == ("postgres driver", 0, 0, 0)
    assert "can be written" in found["storage"]
    assert "gpu" in found


def test_status_before_init_names_the_check_that_fails(neocube_home: Path) -> None:
    done = neocube_process("status")
    assert done.returncode == 1
    assert "FAIL index:" in done.stdout
    assert "run `neocube init`" in done.stdout


def test_status_says_that_the_storage_cannot_be_written(
    embedded_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_STORE_URL", "/proc/store")
    done = neocube_process("status", "--json")
    assert done.returncode == 1
    assert [check["name"] for check in json.loads(done.stdout)["checks"] if not check["ok"]] == ["storage"]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("NEOCUBE_HOME", "/proc/neocube", "expected the home /proc/neocube to be a folder"),
        ("NEOCUBE_INDEX_URL", "postgresql://odc:s3cret@127.0.0.1:9/cube", "cannot be reached"),
        ("NEOCUBE_INDEX_URL", "sqlite:///cube", "index_url: Value error, expected postgresql://"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_line_and_exit_code_2(
    neocube_home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    done = neocube_process("init", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert "s3cret" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes in read-only folders")
def test_a_read_only_home_is_one_line_and_exit_code_2(neocube_home: Path) -> None:
    neocube_home.mkdir(mode=0o555)
    done = neocube_process("init")
    assert done.returncode == 2
    assert "Permission denied: set NEOCUBE_HOME to one" in done.stderr


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that nobody can write on, root included."""
    with mounted(tmp_path / "disk", "ro,size=1m") as folder:
        yield folder


@pytest.mark.full
def test_a_home_on_a_read_only_disk_is_one_line_and_exit_code_2(
    read_only_disk: Path, neocube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in (read_only_disk, read_only_disk / "home"):
        monkeypatch.setenv("NEOCUBE_HOME", str(home))
        for command in (["init"], ["plan", "mangrove_features", "--area", "demo", "--period", "2020"]):
            done = neocube_process(*command)
            assert (done.returncode, done.stdout) == (2, "")
            assert "Read-only file system: set NEOCUBE_HOME to one" in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1
        shown = neocube_process("status")
        assert (shown.returncode, shown.stdout.count("FAIL"), shown.stdout.count("Read-only file system")) == (1, 2, 2)
    assert not neocube_home.exists()


def test_settings_say_where_each_came_from_with_secrets_masked(
    neocube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOCUBE_S3_SECRET_ACCESS_KEY", "s3cret")
    document = json.loads(neocube_process("settings", "--json").stdout)
    assert document["home"] == {"value": str(neocube_home), "source": "NEOCUBE_HOME"}
    assert document["failure_budget"] == {"value": 0.05, "source": "default"}
    assert document["s3_secret_access_key"] == {"value": "**********", "source": "NEOCUBE_S3_SECRET_ACCESS_KEY"}
    assert "settle_days = 16  (default)" in neocube_process("settings").stdout


def test_help_of_every_command_has_an_example() -> None:
    for command in ("init", "settings", "status"):
        assert "Example:" in neocube_process(command, "--help").stdout
