"""`python -m flows.steps.service.prefect_child PARENT MODULE …` is `python -m MODULE …` that ends with its parent, also when that is killed (Linux)."""

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

import psutil

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LOOK_EVERY_S, GRACE_S = 1.0, 15.0


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent ends; end now if it has ended already. Elsewhere than on Linux nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)
    threading.Thread(target=_end_after_grace, args=(parent,), daemon=True).start()


def _end_after_grace(parent: int) -> None:
    """End this process and what it started, at the latest some seconds after the parent: a worker waits for a server that is gone too."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    time.sleep(GRACE_S)
    end_children()
    os._exit(128 + signal.SIGTERM)


def end_children() -> None:
    """Kill what this process started, and what that started."""
    for child in psutil.Process().children(recursive=True):
        child.kill()


if __name__ == "__main__":
    parent = int(sys.argv.pop(1))
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    end_with_parent(parent)
    try:
        runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
    finally:
        if os.getppid() != parent:  # a worker that ends at once leaves the flow runs that it started
            end_children()
