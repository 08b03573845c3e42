"""Find lines or boxes in a folder of pictures with a model that was learned from others: without Prefect."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datacube_config.settings import get_settings
from flows.steps.learning.picture_mapping import find_in_pictures
from flows.steps.storage import open_storage
from flows.steps.unindexed_models import model_of_pictures
from products.errors import RequestError


def map_pictures(model: str, folder: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """`model`, `found` by picture, `files` and `picture`, or what the same model found in the same pictures before."""
    storage = open_storage(get_settings())
    if not Path(folder).is_dir():
        raise RequestError(f"no folder of pictures at {folder}")
    storage.check_writable()
    return find_in_pictures(model_of_pictures(storage, model), Path(folder), tell)
