"""Processes that die by SIGKILL at a chosen call."""

import os
import signal
import warnings
from collections.abc import Callable
from typing import Any

import pytest

Patch = Callable[[pytest.MonkeyPatch], None]


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, call: int = 1) -> Patch:
    """Die when `owner.name` is called for the `call`-th time, instead of doing it."""
    original = getattr(owner, name)

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        calls = iter(range(1, 1_000_000))
        monkeypatch.setattr(owner, name, lambda *a, **k: die() if next(calls) == call else original(*a, **k))

    return patch


def after(owner: Any, name: str, call: int = 1) -> Patch:
    """Die when the `call`-th call of `owner.name` is done."""
    original = getattr(owner, name)

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        calls = iter(range(1, 1_000_000))

        def done(*a: Any, **k: Any) -> Any:
            result = original(*a, **k)
            return die() if next(calls) == call else result

        monkeypatch.setattr(owner, name, done)

    return patch


def killed_by(work: Callable[[], object], patch: Patch) -> int:
    """Run `work` with a patch in a forked process and return the signal that ended it."""
    return os.WTERMSIG(os.waitpid(fork(work, patch), 0)[1])


def fork(work: Callable[[], object], patch: Patch | None = None) -> int:
    """A forked process that does `work`: exit code 0 if it ends well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside the thread of the API
        child = os.fork()
    if child == 0:
        try:
            with pytest.MonkeyPatch.context() as monkeypatch:
                if patch:
                    patch(monkeypatch)
                work()
            os._exit(0)
        finally:
            os._exit(17)
    return child
