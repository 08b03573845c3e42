"""Order: what runs, when, how often it is retried. Its functions for researchers are loaded when first named."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.cube_here import open_cube as open_cube
    from flows.from_python import build as build
    from flows.from_python import make_map as make_map
    from flows.from_python import passport as passport
    from flows.from_python import preview as preview
    from flows.from_python import request as request
    from flows.from_python import train as train
    from flows.plan_cells import plan as plan

HOMES = {
    "open_cube": "flows.cube_here",
    "plan": "flows.plan_cells",
    "build": "flows.from_python",
    "train": "flows.from_python",
    "make_map": "flows.from_python",
    "passport": "flows.from_python",
    "preview": "flows.from_python",
    "request": "flows.from_python",
    "task_runner": "flows.dask_runner",
}

__all__ = ["build", "make_map", "open_cube", "passport", "plan", "preview", "request", "task_runner", "train"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in HOMES:
        raise AttributeError(f"module 'flows' has no attribute {name!r}: expected one of {', '.join(sorted(HOMES))}")
    return getattr(import_module(HOMES[name]), name)
