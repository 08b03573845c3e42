"""What a run says of itself in the logs, and the id that it gives to all that is said in it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from datacube_config.logs import current_run, logged, start_logs
from datacube_config.settings import get_settings

_log = logging.getLogger(__name__)


@contextmanager
def logged_run(what: str) -> Iterator[None]:
    """A run, for a block or as a decorator: `what` it does; its id is that of the run around it, or a new one."""
    start_logs(get_settings().logs)
    started = time.monotonic()
    with logged(run=current_run() or str(uuid4())):
        _log.info("run begun", extra={"what": what})
        try:
            yield
        except BaseException as error:
            if _log.isEnabledFor(logging.INFO):  # where logs are off, Python's last resort would repeat it on stderr
                _log.error(
                    "run failed", extra={"what": what, "cause": str(error) or type(error).__name__, **_since(started)}
                )
            raise
        _log.info("run ended", extra={"what": what, **_since(started)})


def _since(started: float) -> dict[str, float]:
    return {"seconds": round(time.monotonic() - started, 3)}
