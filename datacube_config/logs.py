"""Logs of neocube as JSON lines on stderr; each record has the ids of the run, cell and scene that it is about."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Literal

Logs = Literal["off", "json"]
PACKAGES = ("datacube_config", "flows", "products")
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


class _Lines(logging.Handler):
    """A record a line on what stderr is then, with the ids in force; what a record says of itself wins over them."""

    def emit(self, record: logging.LogRecord) -> None:
        for name, text in _about.get().items():
            record.__dict__.setdefault(name, text)
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except (OSError, ValueError):
            self.handleError(record)


def start_logs(logs: Logs) -> None:
    """From now on write the records of our packages, from INFO on; `off` leaves logging as it is. Safe to repeat."""
    if logs == "off" or any(isinstance(each, _Lines) for each in logging.getLogger(PACKAGES[0]).handlers):
        return
    from pythonjsonlogger.json import JsonFormatter  # most commands write no logs

    renamed = {"levelname": "level", "name": "logger", "message": "event"}
    handler = _Lines()
    handler.setFormatter(JsonFormatter(["levelname", "name", "message"], rename_fields=renamed, timestamp="at"))
    for package in PACKAGES:
        logging.getLogger(package).addHandler(handler)
        logging.getLogger(package).setLevel(logging.INFO)


@contextmanager
def logged(**ids: str) -> Iterator[None]:
    """Records that are made in the block, in this thread, have these ids beside those of blocks around it."""
    token = _about.set({**_about.get(), **ids})
    try:
        yield
    finally:
        _about.reset(token)


def current_run() -> str:
    """The id of the run in force; empty where there is none."""
    return _about.get().get("run", "")
