"""Fit the estimator of a recipe to pixels: scikit-learn on the CPU, cuML on the GPU, the same arrays of either."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from products.devices import Backend
from products.errors import RequestError
from products.learning.boosting import boosting_from_sklearn
from products.learning.clusters import Clusters, class_shares
from products.learning.estimator_spec import GradientBoostingSpec, KmeansSpec, KnnSpec, LinearSpec, RandomForestSpec
from products.learning.forest import forest_from_sklearn
from products.learning.learned import ArrayModel, Codes, Float32
from products.learning.linear import linear_from_sklearn, standard_of, standardised
from products.learning.neighbours import Neighbours
from products.learning.recipe import ModelRecipe


@dataclass(frozen=True, slots=True)
class Pixels:
    """What an estimator is fitted to: `values` (n, feature) float32 and class codes 1 … `code` (n,)."""

    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    values: Float32
    code: Codes


Fit = Callable[[Backend, Pixels, Any, int, int], ArrayModel]


def fit_model(
    backend: Backend, feature_names: Sequence[str], values: Float32, code: npt.NDArray[Any], recipe: ModelRecipe, n_jobs: int
) -> ArrayModel:  # fmt: skip
    """The estimator of a recipe, fitted to values (n, feature) with class codes (n,); the number of jobs does not change it."""
    pixels = Pixels(tuple(feature_names), recipe.class_names, values, code.astype(np.int64))
    with threadpool_limits(
        n_jobs if recipe.estimator.gradient_boosting else 1
    ):  # the others add in the order of threads
        return FITS[recipe.estimator.kind](backend, pixels, recipe.estimator.spec, recipe.seed, n_jobs)


def _fit_forest(backend: Backend, pixels: Pixels, spec: RandomForestSpec, seed: int, n_jobs: int) -> ArrayModel:
    estimator = backend.random_forest(spec.trees, spec.max_depth, spec.min_leaf, seed, n_jobs)
    estimator.fit(backend.upload(pixels.values), backend.upload(pixels.code.astype(np.int32)))
    return forest_from_sklearn(backend.as_sklearn(estimator), pixels.feature_names, pixels.class_names)


def _fit_boosting(backend: Backend, pixels: Pixels, spec: GradientBoostingSpec, seed: int, n_jobs: int) -> ArrayModel:
    """On the CPU, whatever the device: cuML has no boosting."""
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
    )  # takes a second to load, which mapping need not wait for

    _need_two_classes(pixels, "gradient_boosting")
    estimator = HistGradientBoostingClassifier(
        max_iter=spec.rounds, learning_rate=spec.learning_rate, max_leaf_nodes=spec.max_leaves,
        min_samples_leaf=spec.min_leaf, l2_regularization=spec.l2, early_stopping=False, random_state=seed,
    )  # fmt: skip
    estimator.fit(pixels.values, pixels.code)
    return boosting_from_sklearn(estimator, pixels.feature_names, pixels.class_names)


def _fit_linear(backend: Backend, pixels: Pixels, spec: LinearSpec, seed: int, n_jobs: int) -> ArrayModel:
    _need_two_classes(pixels, "linear")
    mean, scale = standard_of(pixels.values)
    estimator = backend.logistic_regression(1.0 / spec.l2, spec.max_iterations)
    estimator.fit(backend.upload(standardised(pixels.values, mean, scale)), backend.upload(pixels.code))
    fitted = backend.as_sklearn(estimator)
    return linear_from_sklearn(fitted, pixels.feature_names, pixels.class_names, mean, scale)


def _fit_knn(backend: Backend, pixels: Pixels, spec: KnnSpec, seed: int, n_jobs: int) -> ArrayModel:
    """There is nothing to fit: the pixels are kept."""
    if spec.neighbours > pixels.code.size:
        raise RequestError(
            f"knn asks for {spec.neighbours} neighbours of {pixels.code.size} training pixels: ask for fewer"
        )
    mean, scale = standard_of(pixels.values)
    point, k = standardised(pixels.values, mean, scale), np.array([spec.neighbours], np.int64)
    return Neighbours(pixels.feature_names, pixels.class_names, mean, scale, point, pixels.code.astype(np.uint8), k)


def _fit_kmeans(backend: Backend, pixels: Pixels, spec: KmeansSpec, seed: int, n_jobs: int) -> ArrayModel:
    if spec.clusters > pixels.code.size:
        raise RequestError(
            f"kmeans asks for {spec.clusters} clusters of {pixels.code.size} training pixels: ask for fewer"
        )
    mean, scale = standard_of(pixels.values)
    estimator = backend.kmeans(spec.clusters, spec.starts, seed)
    estimator.fit(backend.upload(standardised(pixels.values, mean, scale)))
    centre = np.asarray(backend.as_sklearn(estimator).cluster_centers_, dtype=np.float64)
    n_classes = len(pixels.class_names)
    unnamed = Clusters(
        pixels.feature_names, pixels.class_names, mean, scale, centre, np.zeros((len(centre), n_classes))
    )
    cluster = unnamed.nearest(np.ascontiguousarray(pixels.values.T))
    share = class_shares(cluster, pixels.code, len(centre), n_classes)
    return Clusters(pixels.feature_names, pixels.class_names, mean, scale, centre, share)


FITS: Mapping[str, Fit] = {
    "random_forest": _fit_forest,
    "gradient_boosting": _fit_boosting,
    "linear": _fit_linear,
    "knn": _fit_knn,
    "kmeans": _fit_kmeans,
}


def _need_two_classes(pixels: Pixels, kind: str) -> None:
    there = np.unique(pixels.code)
    if there.size < 2:
        raise RequestError(
            f"{kind} has training pixels of one class only, {pixels.class_names[there[0] - 1]}, in a fold: expected two or more; "
            "label more places, or lower block_m or folds"
        )
