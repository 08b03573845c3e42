"""Learn a model from samples in spatial blocks, and say how well it agrees where it never was."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from products.devices import Backend
from products.learning.accuracy import assess
from products.learning.explain import looked_at
from products.learning.fitting import fit_model
from products.learning.learned import PixelModel
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples
from products.learning.selection import select_features
from products.learning.splits import BlockSplit

LEARNING_VERSION = "learning-4"
ROWS_AT_ONCE = 65_536  # a multiple of what networks take at once


def fit_rows(
    backend: Backend, samples: Samples, rows: npt.NDArray[np.bool_], recipe: ModelRecipe, n_jobs: int
) -> PixelModel:
    """The estimator of a recipe, learned from some rows of the samples."""
    code = samples.column("code").astype(np.int64)[rows]
    return fit_model(backend, samples.feature_names, samples.features[rows], code, recipe, n_jobs)


def predicted(model: PixelModel, samples: Samples, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Class codes of some rows, (n,)."""
    return classified(model, samples.features, rows)[0].astype(np.int64)


def classified(
    model: PixelModel, features: npt.NDArray[np.float32], rows: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """As `PixelModel.classify`, of some rows of features (n, feature), which are copied a part at a time."""
    numbers = np.flatnonzero(rows)
    codes = np.empty(numbers.size, np.uint8)
    percent = np.empty((len(model.class_names), numbers.size), np.uint8)
    for start in range(0, numbers.size, ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        codes[part], percent[:, part] = model.classify(features.T[:, numbers[part]])
    return codes, percent


def learn(
    backend: Backend, samples: Samples, split: BlockSplit, recipe: ModelRecipe, n_jobs: int
) -> tuple[PixelModel, dict[str, Any]]:
    """The model learned from all blocks but the hold-out, and its agreement there and fold by fold; of the features that the recipe's selection keeps."""
    selection: dict[str, Any] = {}
    if recipe.selection:
        samples, told = select_features(backend, samples, split, recipe, recipe.selection, n_jobs)
        selection = {"selection": told}
    guesses = {}
    for fold in range(split.holdout + 1):  # the hold-out, whose model is kept, is the last
        train, test = split.train_rows(fold), split.test_rows(fold)
        model = fit_rows(backend, samples, train, recipe, n_jobs)
        guesses[fold] = predicted(model, samples, test)
    told = agreement(samples, split, train, guesses, recipe.class_names)
    return model, told | looked_at(model, samples, train, test, recipe) | selection


def agreement(
    samples: Samples,
    split: BlockSplit,
    train: npt.NDArray[np.bool_],
    guesses: Mapping[int, npt.NDArray[np.int64]],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """How well the class codes given to the test rows of each fold agree with theirs, and how many rows of each class were learned from."""
    code = samples.column("code").astype(np.int64)
    rows = {fold: split.test_rows(fold) for fold in guesses}
    scores = {fold: assess(code[rows[fold]], guesses[fold], split.block[rows[fold]], class_names) for fold in guesses}
    holdout, by_fold = scores.pop(split.holdout), [*scores.values()]
    overall = np.array([entry["overall"] for entry in by_fold if entry["overall"] is not None])
    return {
        "holdout": holdout,
        "folds": by_fold,
        "folds_mean": round(float(overall.mean()), 6) if overall.size else None,
        "folds_std": round(float(overall.std(ddof=1)), 6) if overall.size > 1 else None,
        "trained_on": {name: int((code[train] == number).sum()) for number, name in enumerate(class_names, start=1)},
    }
