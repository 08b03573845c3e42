"""Try the recipe of a model that is learned from a table: without Prefect."""

from collections.abc import Sequence
from typing import Any

from datacube_config.settings import get_settings
from flows.steps.learning.table_training import learn_table
from flows.steps.storage import open_storage
from products.registry import table_recipe


def train_table(recipe: str, tables: Sequence[str]) -> dict[str, Any]:
    """`model`, `metrics`, `notes` and `card` of a recipe on the files of its table, or what the same gave before."""
    settings, wanted = get_settings(), table_recipe(recipe)
    storage = open_storage(settings)
    storage.check_writable()
    return learn_table(storage, wanted, tables, settings.decode_thread_count)
