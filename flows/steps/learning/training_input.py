"""What a model is to learn from, checked before anything is read, and the id that code and first weights add to it."""

from uuid import UUID

from flows.steps.learning.chip_training import CHIPS_VERSION
from flows.steps.learning.drawn_chips import DrawnChips
from flows.steps.learning.drawn_samples import DrawnSamples
from flows.steps.learning.label_files import LabelFile
from flows.steps.learning.model_files import NETWORK
from flows.steps.learning.network_training import NETWORKS_VERSION, network_id
from flows.steps.learning.temporal_training import temporal_id
from products.errors import RequestError
from products.learning.recipe import ModelRecipe
from products.scene_recipe import SceneRecipe

Drawn = DrawnSamples | DrawnChips


def check_input(recipe: ModelRecipe, given: LabelFile | Drawn) -> None:
    """RequestError unless the estimator can learn from labels, drawn pixels or drawn chips, whichever is given."""
    if recipe.has_network and isinstance(given, Drawn):
        raise RequestError(
            f"the recipe {recipe.name!r} trains a network, which learns from patches: expected labels, not drawn pixels; "
            "name a label file in samples.labels"
        )
    if recipe.estimator.chips and not isinstance(given, DrawnChips):
        raise RequestError(
            f"the recipe {recipe.name!r} learns from whole chips: expected samples: {{product: …}} to name a training set drawn with `chips`"
        )
    if isinstance(given, DrawnChips) and not recipe.estimator.chips:
        raise RequestError(
            f"{given.source.file.name} holds chips: expected estimator: {{chips: …}}, got {recipe.estimator.kind}, or a training set of pixels"
        )


def identified(model: UUID, recipe: ModelRecipe, features: SceneRecipe) -> tuple[UUID, str]:
    """The id of a model, with the code that trains it and the weights that it begins with, and the file of what it learns."""
    if recipe.has_network:
        return network_id(model, NETWORKS_VERSION, recipe.network[1]), NETWORK
    if recipe.temporal:
        return temporal_id(model, recipe, features), NETWORK
    if recipe.estimator.chips:
        return network_id(model, CHIPS_VERSION, recipe.estimator.chips), NETWORK
    return model, f"{recipe.estimator.kind}.npz"
