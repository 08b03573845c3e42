"""What each feature adds to the answer of a model of trees for a pixel: Shapley values (Lundberg et al. 2020, Nat. Mach. Intell. 2, 56-67)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from products.errors import RequestError
from products.learning.forest import Forest
from products.learning.learned import Float32, Float64, PixelModel
from products.learning.trees import TreeModel

MAX_BACKGROUND = 100


def shapley_values(model: PixelModel, pixels: Float32, background: Float32) -> tuple[Float64, Float64]:
    """(pixel, feature, class) what each feature adds, and (class,) what they add it to: the mean over `background`, at most 100 rows are used.

    Interventional, on pixels (n, feature): a share of a forest, a score before the softmax of boosted trees. RequestError for other models.
    """
    import shap

    if not isinstance(model, TreeModel):
        raise RequestError(f"explain asks for shap of {model.describe()}: expected a model of trees; leave it out")
    base = background[:MAX_BACKGROUND]
    explainer = shap.TreeExplainer(_as_trees(model), data=base.astype(np.float64), model_output="raw")
    values = np.asarray(explainer.shap_values(pixels.astype(np.float64), check_additivity=False), dtype=np.float64)
    return values.reshape(*pixels.shape, -1), np.atleast_1d(np.asarray(explainer.expected_value, dtype=np.float64))


def mean_effect(values: Float64) -> Float64:
    """(feature, class) mean absolute Shapley value."""
    found: Float64 = np.abs(values).mean(axis=0)
    return found


def _as_trees(model: TreeModel) -> dict[str, Any]:
    """The model as the dictionary of trees that shap reads; missing features are never asked about."""
    scale = 1.0 / model.n_trees if isinstance(model, Forest) else 1.0
    bounds = zip(model.roots[:-1], model.roots[1:], strict=True)
    leaf_values = model.leaf_values.astype(np.float64) * scale
    return {
        "trees": [_tree(model, leaf_values, int(first), int(end)) for first, end in bounds],
        "internal_dtype": np.float64,
        "input_dtype": np.float64,
        "tree_output": "raw_value",
    }


def _tree(model: TreeModel, values: Float64, first: int, end: int) -> dict[str, npt.NDArray[Any]]:
    here = slice(first, end)
    is_leaf = model.feature[here] < 0
    left, right = (np.where(is_leaf, -1, side[here] - first) for side in (model.left, model.right))
    return {
        "children_left": left,
        "children_right": right,
        "children_default": left,
        "features": model.feature[here],
        "thresholds": model.threshold[here].astype(np.float64),
        "values": values[here],
        "node_sample_weight": np.ones(end - first),
    }
