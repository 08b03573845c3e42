"""Order: what runs, when, how often it is retried. Its functions for researchers are loaded when first named."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.cube_here import open_cube as open_cube
    from flows.dask_runner import task_runner as task_runner
    from flows.from_python import build as build
    from flows.from_python import make_map as make_map
    from flows.from_python import passport as passport
    from flows.from_python import preview as preview
    from flows.from_python import request as request
    from flows.from_python import train as train
    from flows.plan_cells import plan as plan
    from flows.steps.cubes.odc_reader import BY_PASS as BY_PASS
    from flows.steps.learning.model_files import read_model as read_model
    from flows.steps.learning.rasters_under_labels import at_steps as at_steps
    from flows.steps.learning.rasters_under_labels import clear_series as clear_series
    from flows.steps.learning.rasters_under_labels import under_labels as under_labels
    from flows.steps.simulation.track_pictures import write_track_pictures as write_track_pictures
    from flows.steps.simulation.vehicle_pictures import write_vehicle_pictures as write_vehicle_pictures

HOMES = {
    "open_cube": "flows.cube_here",
    "BY_PASS": "flows.steps.cubes.odc_reader",
    "plan": "flows.plan_cells",
    "build": "flows.from_python",
    "train": "flows.from_python",
    "make_map": "flows.from_python",
    "passport": "flows.from_python",
    "preview": "flows.from_python",
    "request": "flows.from_python",
    "task_runner": "flows.dask_runner",
    "read_model": "flows.steps.learning.model_files",
    "under_labels": "flows.steps.learning.rasters_under_labels",
    "at_steps": "flows.steps.learning.rasters_under_labels",
    "clear_series": "flows.steps.learning.rasters_under_labels",
    "write_track_pictures": "flows.steps.simulation.track_pictures",
    "write_vehicle_pictures": "flows.steps.simulation.vehicle_pictures",
}

__all__ = [
    "BY_PASS",
    "at_steps",
    "build",
    "clear_series",
    "make_map",
    "open_cube",
    "passport",
    "plan",
    "preview",
    "read_model",
    "request",
    "task_runner",
    "train",
    "under_labels",
    "write_track_pictures",
    "write_vehicle_pictures",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in HOMES:
        raise AttributeError(f"module 'flows' has no attribute {name!r}: expected one of {', '.join(sorted(HOMES))}")
    return getattr(import_module(HOMES[name]), name)
