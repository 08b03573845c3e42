"""The embedded PostgreSQL of a home: started on demand, shared, stopped by whoever leaves last."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datacube_config.cluster import Cluster, is_running, start, stop
from datacube_config.errors import IndexUnavailable

_log = logging.getLogger(__name__)


@contextmanager
def embedded_server(home: Path) -> Iterator[str]:
    """The URL of the home's PostgreSQL, which runs while any process is inside; IndexUnavailable with the reason."""
    cluster = Cluster(home.resolve())
    lease = _enter(cluster)
    try:
        yield cluster.url
    finally:
        _leave(cluster, lease)


def revive(home: Path) -> bool:
    """Start the server of a home again where it died, for whoever is inside; whether it had. IndexUnavailable with the reason."""
    cluster = Cluster(home.resolve())
    if is_running(cluster):
        return False
    with _doing_alone(cluster):
        if is_running(cluster):
            return False
        start(cluster)
        return True


def _enter(cluster: Cluster) -> int:
    """A shared lease (an open file with a flock, which the kernel drops with its process) on a running server."""
    try:
        cluster.home.mkdir(parents=True, exist_ok=True)
        lease = _lock_file(cluster, "postgres.lease")
    except OSError as error:
        raise IndexUnavailable(
            f"expected the home {cluster.home} to be a folder that this user can write in, got: {error.strerror}: "
            "set NEOCUBE_HOME to one"
        ) from error
    try:
        with _doing_alone(cluster):
            fcntl.flock(lease, fcntl.LOCK_SH)
            if not is_running(cluster):
                start(cluster)
    except OSError as error:
        os.close(lease)
        raise IndexUnavailable(
            f"the embedded index in {cluster.home} cannot start: {error}: check its owner and free space"
        ) from error
    except BaseException:
        os.close(lease)
        raise
    return lease


def _leave(cluster: Cluster, lease: int) -> None:
    """Give the lease back, and stop the server where no other process holds one."""
    try:
        with _doing_alone(cluster):
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stop(cluster)
    except BlockingIOError:
        _log.debug("other processes still use the embedded index in %s", cluster.home)
    finally:
        os.close(lease)


@contextmanager
def _doing_alone(cluster: Cluster) -> Iterator[None]:
    """One process at a time starts, joins or stops the server."""
    turn = _lock_file(cluster, "postgres.turn")
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield
    finally:
        os.close(turn)


def _lock_file(cluster: Cluster, name: str) -> int:
    """An open file of the home, not inherited, owned by the owner of the home also where root makes it."""
    descriptor = os.open(cluster.home / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        owner = cluster.home.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor
