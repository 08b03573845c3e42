"""Order: what runs, when, how often it is retried. Its functions for researchers are loaded when first named."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.steps.cubes.open_cube import open_cube as open_cube

HOMES = {
    "open_cube": "flows.steps.cubes.open_cube",
    "plan": "flows.plan_cells",
    "build": "flows.build_here",
    "task_runner": "flows.dask_runner",
}

__all__ = ["build", "open_cube", "plan", "task_runner"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in HOMES:
        raise AttributeError(f"module 'flows' has no attribute {name!r}: expected one of {', '.join(sorted(HOMES))}")
    return getattr(import_module(HOMES[name]), name)
