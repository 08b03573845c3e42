"""deployments/jupyterhub/start.sh with the real useradd in a folder: who has a home keeps it, whatever the container forgot."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deployments.command_lines import DEPLOYMENTS

Start = Callable[..., "subprocess.CompletedProcess[str]"]
STUBS = {
    "useradd": 'exec /usr/sbin/useradd --prefix "$ROOT" "$@"',
    "id": 'grep -q "^$1:" "$ROOT/etc/passwd"',
    "chpasswd": 'cat >>"$ROOT/passwords"',
    "jupyterhub": "echo the hub",
}


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a hub for names in a new container, with the homes of the one before."""
    if os.geteuid() or shutil.which("useradd", path="/usr/sbin") is None:
        pytest.skip("making users needs root and useradd (Debian: apt-get install passwd)")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, line in STUBS.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)

    def started(*names: str) -> "subprocess.CompletedProcess[str]":
        shutil.rmtree(tmp_path / "etc", ignore_errors=True)
        (tmp_path / "etc").mkdir()
        (tmp_path / "home").mkdir(exist_ok=True)
        (tmp_path / "etc/passwd").write_text(
            "root:x:0:0::/root:/bin/sh\nneocube:x:10001:10001::/var/lib/neocube:/bin/sh\n"
        )
        (tmp_path / "etc/group").write_text("root:x:0:\nneocube:x:10001:\n")
        (tmp_path / "users").write_text("# who\n\n" + "".join(f"{name}:$6$x:y\n" for name in names))
        given = {"ROOT": str(tmp_path), "HUB_USERS": str(tmp_path / "users"), "HUB_HOMES": str(tmp_path / "home")}
        kept = os.environ | given | {"PATH": os.pathsep.join([str(programs), os.environ["PATH"]])}
        script = str(DEPLOYMENTS / "jupyterhub/start.sh")
        return subprocess.run(["sh", script], env=kept, capture_output=True, text=True, check=False)

    return started


def ids(root: Path) -> dict[str, int]:
    """The users of the container, by name."""
    lines = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines()]
    return {name: int(number) for name, _, number, *_ in lines if name not in ("root", "neocube")}


def owners(root: Path) -> dict[str, tuple[int, int]]:
    """Owner and rights of each home."""
    return {home.name: (home.stat().st_uid, home.stat().st_mode & 0o777) for home in (root / "home").iterdir()}


def test_homes_keep_their_users_when_the_container_is_made_anew(start: Start, tmp_path: Path) -> None:
    first = start("ana", "ben", "cleo")
    assert (first.returncode, first.stdout) == (0, "the hub\n"), first.stderr
    before = ids(tmp_path)
    (tmp_path / "home/cleo").chmod(0o755)
    second = start("dora", "cleo", "ben")
    assert second.returncode == 0, second.stderr
    after = ids(tmp_path)
    assert {name: after[name] for name in ("ben", "cleo")} == {name: before[name] for name in ("ben", "cleo")}
    assert after["dora"] > max(before.values()), "not the id of the home of ana, who may come back"
    assert owners(tmp_path) == {name: (number, 0o700) for name, number in (before | after).items()}
    assert (tmp_path / "passwords").read_text().splitlines()[-1] == "ben:$6$x:y"


def test_a_home_of_nobody_or_of_two_is_refused_by_its_name(start: Start, tmp_path: Path) -> None:
    (tmp_path / "home/eve").mkdir(parents=True)
    done = start("eve")
    assert done.returncode == 1 and "the hub" not in done.stdout
    assert (
        f"{tmp_path}/home/eve: its owner has another home too, or is no user: chown it to an id of its own"
        in done.stderr
    )
