"""Learn the recipe of a model from a folder of labelled pictures: without Prefect."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datacube_config.settings import get_settings
from flows.steps.learning.box_training import learn_boxes
from flows.steps.learning.line_training import learn_lines
from flows.steps.learning.network_training import TRAINING, TrainingResources
from flows.steps.learning.tracking import tracker_at
from flows.steps.storage import open_storage
from products.devices import NETWORKS, choose_backend
from products.errors import RequestError
from products.learning.line_recipe import LineRecipe
from products.registry import picture_recipe


def train_pictures(
    recipe: str, folder: str, device: str = "auto", tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """`model`, `metrics`, `notes` and `card` of a recipe on a folder of pictures, or what the same gave before."""
    settings, wanted = get_settings(), picture_recipe(recipe)
    if not Path(folder).is_dir():
        raise RequestError(f"no folder of pictures at {folder}")
    tracker = tracker_at(settings.mlflow_uri)
    storage = open_storage(settings)
    storage.check_writable()
    resources = TrainingResources(settings.home / TRAINING, settings.train_devices, settings.train_nodes)
    chosen = choose_backend(device, NETWORKS).device
    if isinstance(wanted, LineRecipe):
        found = learn_lines(storage, wanted, Path(folder), resources, chosen, tell)
    else:
        found = learn_boxes(storage, wanted, Path(folder), resources, chosen, tell)
    if tracker:
        tracker.log(storage, found, found["recipe"])
    return found
