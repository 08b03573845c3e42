"""The models that cells are made of beside their scenes: one of tides, and weights of masks."""

from pathlib import Path

from flows.steps.loading.cloud_model import weight_keys
from flows.steps.loading.tides import needs_tides
from products.identity import SourceKey
from products.scene_recipe import SceneRecipe


def model_keys(recipe: SceneRecipe, tide_model: str | None, mask_weights: Path | str | None) -> tuple[SourceKey, ...]:
    """The configured models that a recipe uses, as sources of its cells: a tide model by its name, and weights that are not the published ones."""
    tides = (SourceKey("tide", tide_model),) if tide_model and needs_tides(recipe) else ()
    return (*tides, *weight_keys(recipe, mask_weights))
