"""Waiting for what another process does."""

import time
from collections.abc import Callable

PATIENCE_S = 400.0


def wait_until(is_so: Callable[[], object], what: str, every_s: float = 1.0, patience_s: float = PATIENCE_S) -> None:
    """Return once it is so; AssertionError with `what` after so many seconds."""
    end = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < end, f"waited {patience_s:.0f} s for {what}"
        time.sleep(every_s)
