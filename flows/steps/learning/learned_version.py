"""Which version of its features something was learned or drawn from, so that it meets cells of no other."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from datacube_config.connection import Index
from flows.steps.index.catalogue import published_cell
from products.errors import RequestError
from products.scene_recipe import SceneRecipe


def learned_version(index: Index, said: Mapping[str, Any]) -> int | None:
    """What a card or the document of a set says, else the version of the first of its cells that the index still has; None where neither tells."""
    if said.get("features_version") is not None:
        return int(said["features_version"])
    rows = (index.dc.index.datasets.get(UUID(cell)) for cell in said["cells"])
    return next((published_cell(row).version for row in rows if row is not None), None)


def require_version(what: str, version: int | None, recipe: SceneRecipe, remedy: str) -> None:
    """RequestError where `what` came from another version of the features than their recipe has; nothing is said where its version is not known."""
    if version is not None and version != recipe.version:
        raise RequestError(
            f"{what} from {recipe.name} version {version}, the recipe of {recipe.name} has version {recipe.version} now: "
            f"{remedy}, or go back to the recipe and the cells of version {version}"
        )
