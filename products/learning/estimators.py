"""Fit estimators on sample tables: scikit-learn on the CPU, cuML on the GPU, one file format for both."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from products.devices import Backend
from products.learning.accuracy import assess
from products.learning.forest import Forest, forest_from_sklearn
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples
from products.learning.selection import select_features, unfitted
from products.learning.splits import BlockSplit

LEARNING_VERSION = "learning-2"


def fit_forest(
    backend: Backend, samples: Samples, rows: npt.NDArray[np.bool_], recipe: ModelRecipe, n_jobs: int
) -> Forest:
    """A forest learned from some rows of the samples; the number of jobs does not change it."""
    estimator = unfitted(backend, recipe, n_jobs)
    table = samples.table[rows] if backend.device == "cpu" else samples.table[backend.upload(rows)]
    features = table[list(samples.feature_names)]
    if backend.device == "cpu":
        estimator.fit(features.to_numpy(dtype=np.float32), table["code"].to_numpy())
    else:
        estimator.fit(features, table["code"].astype("int32"))
    return forest_from_sklearn(backend.as_sklearn(estimator), samples.feature_names, recipe.class_names)


def predicted(forest: Forest, samples: Samples, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Class codes of some rows, (n,)."""
    return forest.classify(np.ascontiguousarray(samples.features[rows].T))[0].astype(np.int64)


def learn(
    backend: Backend, samples: Samples, split: BlockSplit, recipe: ModelRecipe, n_jobs: int
) -> tuple[Forest, dict[str, Any]]:
    """The forest learned from all blocks but the hold-out, and its agreement there and fold by fold; of the features that the recipe's selection keeps."""
    selection: dict[str, Any] = {}
    if recipe.selection:
        samples, told = select_features(backend, samples, split, recipe, recipe.selection, n_jobs)
        selection = {"selection": told}
    code = samples.column("code").astype(np.int64)
    by_fold = []
    for fold in range(split.holdout):
        train, test = split.train_rows(fold), split.test_rows(fold)
        guess = predicted(fit_forest(backend, samples, train, recipe, n_jobs), samples, test)
        by_fold.append(assess(code[test], guess, split.block[test], recipe.class_names))
    train, test = split.train_rows(split.holdout), split.test_rows(split.holdout)
    forest = fit_forest(backend, samples, train, recipe, n_jobs)
    holdout = assess(code[test], predicted(forest, samples, test), split.block[test], recipe.class_names)
    overall = np.array([entry["overall"] for entry in by_fold])
    return forest, {
        "holdout": holdout,
        "folds": by_fold,
        "folds_mean": round(float(overall.mean()), 6),
        "folds_std": round(float(overall.std(ddof=1)), 6) if overall.size > 1 else None,
        "trained_on": samples_used(code, train, recipe.class_names),
        "importance": importance(forest),
        **selection,
    }


def samples_used(
    code: npt.NDArray[np.int64], train: npt.NDArray[np.bool_], class_names: Sequence[str]
) -> dict[str, int]:
    """Number of training rows of each class."""
    return {name: int((code[train] == number).sum()) for number, name in enumerate(class_names, start=1)}


def importance(forest: Forest) -> dict[str, float]:
    """Mean decrease in impurity of each feature, largest first; sums to 1."""
    order = np.argsort(-forest.importance, kind="stable")
    return {forest.feature_names[i]: round(float(forest.importance[i]), 4) for i in order}
