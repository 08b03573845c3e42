"""The card of a model for people, and the pictures in it."""

from typing import Any

from flows.steps.pictures.learning import confusion_picture, importance_picture, shap_picture, split_picture
from flows.steps.pictures.tuning import tuning_picture
from products.learning.card import TrainingFacts, card_markdown, score_name
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples
from products.learning.splits import BlockSplit


def shown(
    recipe: ModelRecipe, facts: TrainingFacts, metrics: dict[str, Any], samples: Samples, split: BlockSplit
) -> dict[str, bytes]:
    """The card for people and its pictures, by file name."""
    matrix, score = metrics["holdout"]["confusion"], score_name(facts.simulated)
    return {
        "card.md": card_markdown(recipe, facts, metrics).encode(),
        "split.png": split_picture(samples.column("x"), samples.column("y"), split),
        "confusion.png": confusion_picture(matrix, recipe.class_names, score),
        **(
            {"importance.png": importance_picture(metrics["permutation"], metrics.get("importance"))}
            if "permutation" in metrics
            else {}
        ),
        **({"tuning.png": tuning_picture(metrics["tuning"])} if "tuning" in metrics else {}),
        **({"shap.png": shap_picture(metrics["shap"])} if "shap" in metrics else {}),
    }
