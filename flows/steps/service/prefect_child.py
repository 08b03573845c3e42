"""`python -m flows.steps.service.prefect_child …` is `prefect …` that is told to end (SIGTERM) when its parent is gone, also by SIGKILL (Linux)."""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent ends; end now if it has ended already. Elsewhere than on Linux nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    end_with_parent(int(sys.argv.pop(1)))
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
