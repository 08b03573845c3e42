"""What a model looks at, for its card: permutation on the hold-out, impurity of a forest, Shapley values where a recipe asks for them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from products.learning.forest import Forest
from products.learning.learned import PixelModel
from products.learning.permutation import shuffled_agreement
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples
from products.learning.shapley import MAX_BACKGROUND, mean_effect, shapley_values

SHAP_PIXELS = 200
Rows = npt.NDArray[np.bool_]


def looked_at(model: PixelModel, samples: Samples, train: Rows, test: Rows, recipe: ModelRecipe) -> dict[str, Any]:
    """`permutation` of the tested rows; `importance` of a forest; `shap`, beside trained rows, where the recipe asks for it."""
    asked = recipe.explain
    values, code = samples.features[test], samples.column("code").astype(np.int64)[test]
    found = shuffled_agreement(model, values, code, asked.repeats, recipe.seed, asked.pixels)
    lost = {
        model.feature_names[i]: {"mean": round(float(found.mean[i]), 6), "std": round(float(found.std[i]), 6)}
        for i in np.argsort(-found.mean, kind="stable")
    }
    told: dict[str, Any] = {"permutation": {"pixels": found.pixels, "repeats": asked.repeats, "lost": lost}}
    if isinstance(model, Forest):
        told["importance"] = importance(model)
    if asked.shap:
        told["shap"] = shapley(model, samples, train, test, recipe)
    return told


def importance(forest: Forest) -> dict[str, float]:
    """Mean decrease in impurity of each feature, largest first; sums to 1."""
    order = np.argsort(-forest.importance, kind="stable")
    return {forest.feature_names[i]: round(float(forest.importance[i]), 4) for i in order}


def shapley(model: PixelModel, samples: Samples, train: Rows, test: Rows, recipe: ModelRecipe) -> dict[str, Any]:
    """Mean absolute Shapley value of each feature for each class, the largest sum first, on pixels drawn from the tested rows."""
    random = np.random.default_rng(recipe.seed)
    asked, beside = (
        samples.features[np.sort(random.permutation(np.flatnonzero(rows))[:most])]
        for rows, most in ((test, SHAP_PIXELS), (train, MAX_BACKGROUND))
    )
    effect = mean_effect(shapley_values(model, asked, beside)[0])
    return {
        "pixels": len(asked),
        "background": len(beside),
        "unit": "share" if isinstance(model, Forest) else "score before the softmax",
        "mean_absolute": {
            model.feature_names[i]: {
                name: round(float(value), 6) for name, value in zip(model.class_names, effect[i], strict=True)
            }
            for i in np.argsort(-effect.sum(axis=1), kind="stable")
        },
    }
