"""Point ODC's own tools at the index of a home, from a shell."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from datacube_config.embedded import embedded_server
from datacube_config.errors import IndexUnavailable
from datacube_config.settings import Settings


def shell_lines(settings: Settings) -> str:
    """Lines for `eval`: the variables that ODC 1.9 reads; a keeper runs the embedded server until the shell ends."""
    lines = [f"export ODC_ENVIRONMENT=default ODC_DEFAULT_INDEX_DRIVER={settings.index_driver}"]
    if settings.index_url is not None:
        return "\n".join([*lines, f"export ODC_DEFAULT_DB_URL={shlex.quote(settings.index_url.get_secret_value())}"])
    with embedded_server(settings.home) as url:
        lines.append(f"export ODC_DEFAULT_DB_URL={shlex.quote(url)}")
    return "\n".join([*lines, f"{shlex.join([sys.executable, '-m', 'datacube_config.shell', str(settings.home)])} $$"])


def keep_for(home: Path, pid: int) -> None:
    """Run the embedded server of a home until the process `pid` ends; a child process stays when this returns."""
    keeper = subprocess.Popen(
        [sys.executable, "-m", "datacube_config.shell", str(home), str(pid), "--stay"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert keeper.stdout is not None
    assert keeper.stderr is not None
    if keeper.stdout.readline() != "running\n":
        raise IndexUnavailable(keeper.stderr.read().strip())


def _stay(home: Path, pid: int) -> None:
    """Hold a lease while `pid` lives."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with embedded_server(home):
        sys.stdout.write("running\n")
        sys.stdout.flush()
        for descriptor in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        try:
            psutil.Process(pid).wait()
        except psutil.NoSuchProcess:
            return


def main(arguments: list[str]) -> int:
    """`HOME PID` starts a keeper; with `--stay` this process is it."""
    home, pid = Path(arguments[0]), int(arguments[1])
    try:
        (_stay if "--stay" in arguments else keep_for)(home, pid)
    except IndexUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
