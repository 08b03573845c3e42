"""Try the recipe of a model that is learned from a table: without Prefect."""

from collections.abc import Callable, Sequence
from typing import Any

from datacube_config.settings import get_settings
from flows.steps.learning.network_training import TRAINING, TrainingResources
from flows.steps.learning.table_training import learn_table
from flows.steps.learning.tracking import tracker_at
from flows.steps.storage import open_storage
from products.devices import LEARNING, NETWORKS, DeviceChoice, choose_backend
from products.registry import table_recipe


def train_table(
    recipe: str,
    tables: Sequence[str],
    device: DeviceChoice = "auto",
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """`model`, `metrics`, `notes`, `card` and `pictures` of a recipe on the files of its table, or what the same gave before."""
    settings, wanted = get_settings(), table_recipe(recipe)
    tracker = tracker_at(settings.mlflow_uri)
    storage = open_storage(settings)
    storage.check_writable()
    budget = settings.memory_budget_bytes
    resources = TrainingResources(settings.home / TRAINING, settings.train_devices, settings.train_nodes, budget)
    backend = choose_backend(device, NETWORKS if wanted.estimator.is_network else LEARNING)
    found = learn_table(storage, wanted, tables, settings.decode_thread_count, backend, resources, tell)
    if tracker:
        tracker.log(storage, found, found["recipe"])
    return found
