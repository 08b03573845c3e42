"""Work that outlasts its index: where the database is started again, what a run began is gone on with."""

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from datacube_config.connection import open_index
from datacube_config.errors import IndexDown, IndexLost
from datacube_config.settings import get_settings

PATIENCE_S, EVERY_S = 600.0, 5.0
_log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


def outlasting(run: Callable[P, R]) -> Callable[P, R]:
    """The function, of work that may be repeated: where the index gives out it is called again once the index answers, within PATIENCE_S."""

    @wraps(run)
    def gone_on_with(*args: P.args, **kwargs: P.kwargs) -> R:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return run(*args, **kwargs)
            except (IndexLost, IndexDown) as error:
                if time.monotonic() > end:
                    raise
                _log.warning("index lost", extra={"cause": str(error)})
                _await_index(end)

    return gone_on_with


def _await_index(end: float) -> None:
    """Return when the index answers; IndexDown or IndexLost where it does not until `end`."""
    while True:
        time.sleep(EVERY_S)
        try:
            with open_index(get_settings()):
                return
        except (IndexLost, IndexDown):
            if time.monotonic() > end:
                raise
