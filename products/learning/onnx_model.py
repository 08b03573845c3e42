"""A model of single pixels as an ONNX graph, made from its arrays: `features` (n, feature) float32 to `probabilities` (n, class) and `code` (n,)."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from products.errors import RequestError
from products.learning.boosting import Boosting
from products.learning.clusters import Clusters
from products.learning.forest import Forest
from products.learning.learned import Float32, PixelModel
from products.learning.linear import Linear
from products.learning.trees import TreeModel, rounded_down

ONNX_TOLERANCE: Final = 1e-5
"""Largest difference of a share from the model's own: trees are added in float32 by ONNX runtimes."""
OPSETS: Final = {"": 17, "ai.onnx.ml": 3}
IR_VERSION: Final = 8


def onnx_graph(model: PixelModel) -> bytes:
    """The graph; a pixel without a feature (NaN or infinite) has NaN probabilities and code 0. RequestError for a kind without one."""
    from onnx import TensorProto, helper

    build = GRAPHS.get(type(model))
    if build is None:
        raise RequestError(
            f"there is no ONNX graph for {model.describe()}: expected a forest, boosted trees, a linear model or k-means"
        )
    nodes, tensors = build(model)
    n_features, n_classes = len(model.feature_names), len(model.class_names)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [*nodes, *_without_missing()],
        "neocube",
        [value("features", TensorProto.FLOAT, ["n", n_features])],
        [value("probabilities", TensorProto.FLOAT, ["n", n_classes]), value("code", TensorProto.INT64, ["n"])],
        [helper.make_tensor(name, *_proto(array)) for name, array in (tensors | _CONSTANTS).items()],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="neocube")
    said = {"digest": model.digest(), "features": ",".join(model.feature_names), "classes": ",".join(model.class_names)}
    helper.set_model_props(made, said)
    content: bytes = made.SerializeToString(deterministic=True)
    return content


Tensors = dict[str, npt.NDArray[Any]]
Graph = tuple[list[Any], Tensors]
_CONSTANTS: Tensors = {
    "zero": np.zeros(1, np.float32),
    "feature_axis": np.ones(1, np.int64),
    "nodata": np.zeros(1, np.int64),
    "one": np.ones(1, np.int64),
}


def _without_missing() -> list[Any]:
    """`shares` to `probabilities` and `code`: a feature times 0 is NaN where it is no number, and so is the sum."""
    return [
        _node("Mul", "features zero", "nothing"),
        _node("ReduceSum", "nothing feature_axis", "missing_or_zero", keepdims=1),
        _node("Add", "shares missing_or_zero", "probabilities"),
        _node("ArgMax", "shares", "best", axis=1, keepdims=0),
        _node("Add", "best one", "known_code"),
        _node("IsNaN", "missing_or_zero", "is_missing_column"),
        _node("Squeeze", "is_missing_column feature_axis", "is_missing"),
        _node("Where", "is_missing nodata known_code", "code"),
    ]


def _forest(model: Forest) -> Graph:
    return [_trees(model, "shares", aggregate_function="AVERAGE")], {}


def _boosting(model: Boosting) -> Graph:
    scores = _trees(model, "scores", aggregate_function="SUM", base_values=model.baseline.astype(np.float32).tolist())
    return [scores, _node("Softmax", "scores", "shares", axis=1)], {}


def _trees(model: TreeModel, output: str, **settings: Any) -> Any:  # noqa: ANN401
    """All trees as one operator; float32 thresholds rounded down divide float32 values as those of the model do."""
    leaf = model.feature < 0
    tree = np.repeat(np.arange(model.n_trees), np.diff(model.roots))
    number = np.arange(tree.size) - model.roots[tree]
    targets = model.leaf_values.shape[1]
    weights = model.leaf_values[leaf].astype(np.float32)
    return _node(
        "TreeEnsembleRegressor",
        "features",
        output,
        domain="ai.onnx.ml",
        n_targets=targets,
        nodes_treeids=tree.tolist(),
        nodes_nodeids=number.tolist(),
        nodes_featureids=np.where(leaf, 0, model.feature).tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_values=rounded_down(model.threshold).tolist(),
        nodes_truenodeids=np.where(leaf, 0, model.left - model.roots[tree]).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, model.right - model.roots[tree]).tolist(),
        target_treeids=np.repeat(tree[leaf], targets).tolist(),
        target_nodeids=np.repeat(number[leaf], targets).tolist(),
        target_ids=np.tile(np.arange(targets), int(leaf.sum())).tolist(),
        target_weights=weights.ravel().tolist(),
        **settings,
    )


def _linear(model: Linear) -> Graph:
    nodes = [
        *_standardised(),
        _node("MatMul", "standard weight", "weighted"),
        _node("Add", "weighted intercept", "scores"),
        _node("Softmax", "scores", "exact_shares", axis=1),
        _node("Cast", "exact_shares", "shares", to=_FLOAT),
    ]
    weight = np.ascontiguousarray(model.weight.T)
    return nodes, {"mean": model.mean, "scale": model.scale, "weight": weight, "intercept": model.intercept}


def _clusters(model: Clusters) -> Graph:
    nodes = [
        *_standardised(),
        _node("Unsqueeze", "standard feature_axis", "pixel"),
        _node("Sub", "pixel centre", "apart"),
        _node("Mul", "apart apart", "squared"),
        _node("ReduceSum", "squared last_axis", "distance", keepdims=0),
        _node("ArgMin", "distance", "cluster", axis=1, keepdims=0),
        _node("Gather", "share cluster", "shares", axis=0),
    ]
    tensors: Tensors = {
        "centre": model.centre[None],
        "share": model.share.astype(np.float32),
        "last_axis": np.array([2]),
    }
    return nodes, {"mean": model.mean, "scale": model.scale, **tensors}


_FLOAT, _DOUBLE = 1, 11  # onnx.TensorProto.FLOAT and DOUBLE


def _standardised() -> list[Any]:
    return [
        _node("Cast", "features", "exact", to=_DOUBLE),
        _node("Sub", "exact mean", "centred"),
        _node("Div", "centred scale", "standard"),
    ]


def _node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:  # noqa: ANN401
    from onnx import helper

    return helper.make_node(operator, inputs.split(), [output], **attributes)


def _proto(array: npt.NDArray[Any]) -> tuple[int, list[int], Any]:
    """Element type, shape and values, as onnx.helper.make_tensor wants them."""
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(array.dtype), list(array.shape), array.ravel()


GRAPHS: Mapping[type[PixelModel], Callable[[Any], Graph]] = {
    Forest: _forest,
    Boosting: _boosting,
    Linear: _linear,
    Clusters: _clusters,
}


def trial_pixels(model: PixelModel, n: int, seed: int) -> Float32:
    """(feature, n) float32 pixels that try a model: of trees, values at their own thresholds and a step above; the last lacks a feature."""
    random = np.random.default_rng(seed)
    pixels = random.normal(0, 2, (len(model.feature_names), n))
    if isinstance(model, Linear | Clusters):
        pixels = pixels * model.scale[:, None] + model.mean[:, None]
    if isinstance(model, TreeModel):
        for number in np.unique(model.feature[model.feature >= 0]):
            at = random.choice(rounded_down(model.threshold[model.feature == number]), n)
            pixels[number] = np.where(random.random(n) < 0.5, at, np.nextafter(at, np.float32(np.inf)))
    found = pixels.astype(np.float32)
    found[0, -1] = np.nan
    return found
