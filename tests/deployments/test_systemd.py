"""deployments/systemd: units that systemd reads, commands that run, users that the database knows, and few privileges."""

import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.deployments.command_lines import DEPLOYMENTS, check_command

FOLDER = DEPLOYMENTS / "systemd"
SERVICES = sorted(path.name for path in FOLDER.glob("*.service"))
SYSTEM_UNITS = Path("/usr/lib/systemd/system")
MOST_EXPOSURE = 20  # tenths; systemd calls 0 to 2.0 safe, and a service without any limits has 9.6
ENVIRONMENT_FILES = {"neocube.env", "page.env", "prefect-server.env"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system with the units, systemd's own, and programs where the units look for them."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(FOLDER, units)
    shutil.copytree(SYSTEM_UNITS, tmp_path / "usr/lib/systemd/system", symlinks=True)
    programs = {program for name in SERVICES for program, *_ in commands(name)}
    for program in programs:
        place = tmp_path / program.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", place)
    return tmp_path


def unit(name: str) -> str:
    return (FOLDER / name).read_text()


def commands(name: str) -> list[list[str]]:
    """The command lines of a service."""
    return [shlex.split(line) for line in re.findall(r"^Exec\w+=-?(.+)$", unit(name), re.M)]


def users() -> set[str]:
    """The system users that sysusers makes."""
    return set(re.findall(r"^u (\w+)", unit("neocube.sysusers.conf"), re.M))


@pytest.mark.parametrize("name", [*SERVICES, "neocube.target"])
def test_systemd_reads_the_unit(name: str, root: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "--man=no", "--generators=no", name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_few_privileges(name: str, root: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--root={root}", f"--threshold={MOST_EXPOSURE}", "--no-pager", name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_commands_that_there_are(name: str) -> None:
    for words in commands(name):
        check_command(words)


def test_every_service_is_wanted_by_the_target_and_ends_with_it() -> None:
    (wanted,) = re.findall(r"^Wants=(.+)$", unit("neocube.target"), re.M)
    assert sorted(wanted.split()) == SERVICES
    assert all("PartOf=neocube.target" in unit(name) for name in SERVICES)


def test_every_service_runs_as_the_role_that_it_has_in_the_database() -> None:
    roles = (DEPLOYMENTS / "postgres/roles.sql").read_text()
    for name in SERVICES:
        (user,) = re.findall(r"^User=(\w+)$", unit(name), re.M)
        (role,) = re.findall(r"=postgresql(?:\+asyncpg)?://(\w+)@/", unit(name))
        assert user == role
        assert user in users()
        assert f"'{role}'" in roles


def test_sysusers_makes_the_users(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed (Debian: apt-get install systemd)")
    place = tmp_path / "etc/sysusers.d/neocube.conf"
    place.parent.mkdir(parents=True)
    shutil.copy(FOLDER / "neocube.sysusers.conf", place)
    command = ["systemd-sysusers", f"--root={tmp_path}", place.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    (members,) = (
        line.split(":")[3] for line in (tmp_path / "etc/group").read_text().splitlines() if line[:8] == "neocube:"
    )
    assert users() <= made
    assert set(members.split(",")) == users() - {"neocube"}


def test_every_environment_file_stands_in_the_document() -> None:
    named = {
        path for name in SERVICES for path in re.findall(r"^EnvironmentFile=/etc/neocube/(\S+)$", unit(name), re.M)
    }
    named |= set(re.findall(r"^EnvironmentFile=/etc/neocube/(\S+)$", unit("neocube-.service.d/hardening.conf"), re.M))
    document = (DEPLOYMENTS.parent / "docs/operations.md").read_text()
    assert named == ENVIRONMENT_FILES
    assert [name for name in named if f"/etc/neocube/{name}" not in document] == []


def test_no_secret_stands_in_a_unit() -> None:
    for name in SERVICES:
        assert re.findall(r"(?i)(?:password|secret|auth_string|session_key)=", unit(name)) == []


def test_what_the_units_share_is_given_once() -> None:
    shared = ConfigParser(strict=False, interpolation=None)
    shared.optionxform = str  # type: ignore[assignment,method-assign]
    shared.read(FOLDER / "neocube-.service.d/hardening.conf")
    hardening = {key for key in shared["Service"] if key.startswith(("Protect", "Restrict", "Private", "SystemCall"))}
    assert {"ProtectSystem", "RestrictNamespaces", "PrivateDevices", "SystemCallFilter"} <= hardening
    assert [name for name in SERVICES if any(f"\n{key}=" in unit(name) for key in hardening)] == []
