"""A server that is being started again is asked again."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import httpx

PATIENCE_S, EVERY_S = 300.0, 2.0
P = ParamSpec("P")
R = TypeVar("R")


def asked_again(call: Callable[P, R]) -> Callable[P, R]:
    """A call of a server's API, repeated while nobody answers, or a gateway does, for PATIENCE_S at most."""

    def patient(*args: P.args, **kwargs: P.kwargs) -> R:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return call(*args, **kwargs)
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                is_refusal = isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
                if is_refusal or time.monotonic() > end:
                    raise
                time.sleep(EVERY_S)

    return patient
