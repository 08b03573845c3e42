"""Which features a model needs: chosen on spatial folds, before the hold-out is looked at."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from products.devices import Backend
from products.errors import RequestError
from products.learning.fitting import fit_model
from products.learning.permutation import shuffled_agreement
from products.learning.recipe import ModelRecipe, SelectionSpec
from products.learning.samples import Samples
from products.learning.splits import BlockSplit

Rows = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


def select_features(
    backend: Backend, samples: Samples, split: BlockSplit, recipe: ModelRecipe, spec: SelectionSpec, n_jobs: int
) -> tuple[Samples, dict[str, Any]]:
    """The samples with the features that are kept, in cube order, and how they were chosen."""
    from sklearn.feature_selection import mutual_info_classif  # takes a second to load, which mapping need not wait for

    names = samples.feature_names
    if spec.keep > len(names):
        raise RequestError(
            f"selection keeps {spec.keep} features of {len(names)}: expected at most as many as there are"
        )
    free = split.train_rows(split.holdout)
    values, code = samples.features[free], samples.column("code").astype(np.int64)[free]
    if spec.method == "mutual_information":
        scores = mutual_info_classif(values, code, discrete_features=False, random_state=recipe.seed)
        found = _best(names, scores, spec.keep)
    else:
        folds = [(split.train_rows(n)[free], split.test_rows(n)[free]) for n in range(split.holdout)]
        by_folds = _permutation if spec.method == "permutation" else _recursive
        found = by_folds(backend, names, values, code, folds, recipe, spec, n_jobs)
    kept = tuple(name for name in names if name in found["kept"])
    left_out = [name for name in names if name not in kept]
    told = {"method": spec.method, **found, "kept": list(kept), "left_out": left_out}
    return replace(samples, feature_names=kept), told


def _permutation(
    backend: Backend, names: Sequence[str], values: Floats, code: Codes, folds: list[tuple[Rows, Rows]],
    recipe: ModelRecipe, spec: SelectionSpec, n_jobs: int,
) -> dict[str, Any]:  # fmt: skip
    """Agreement that is lost where one feature is shuffled among the rows of a fold, mean of the folds."""
    lost = np.zeros((len(folds), len(names)))
    for number, (train, test) in enumerate(folds):
        model = fit_model(backend, names, values[train], code[train], recipe, n_jobs)
        lost[number] = shuffled_agreement(model, values[test], code[test], spec.repeats, recipe.seed).mean
    return _best(names, lost.mean(axis=0), spec.keep)


def _recursive(
    backend: Backend, names: Sequence[str], values: Floats, code: Codes, folds: list[tuple[Rows, Rows]],
    recipe: ModelRecipe, spec: SelectionSpec, n_jobs: int,
) -> dict[str, Any]:  # fmt: skip
    """Recursive elimination (Guyon et al. 2002, Machine Learning 46, 389-422) down to the number that agrees best on the folds, on the CPU."""
    from sklearn.feature_selection import RFECV

    rows = [(np.flatnonzero(train), np.flatnonzero(test)) for train, test in folds]
    forest = recipe.estimator.random_forest
    assert forest is not None  # the recipe sees to that
    on_cpu = Backend("cpu", "scikit-learn eliminates there")
    estimator = on_cpu.random_forest(forest.trees, forest.max_depth, forest.min_leaf, recipe.seed, n_jobs)
    search = RFECV(estimator, cv=rows, scoring="accuracy", min_features_to_select=spec.keep).fit(values, code)
    rounds = zip(search.cv_results_["n_features"], search.cv_results_["mean_test_score"], strict=True)
    return {
        "kept": [name for name, is_kept in zip(names, search.support_, strict=True) if is_kept],
        "rank": {name: int(rank) for name, rank in zip(names, search.ranking_, strict=True)},
        "by_number": {str(n): round(float(score), 6) for n, score in rounds},
    }


def _best(names: Sequence[str], scores: npt.NDArray[np.float64], keep: int) -> dict[str, Any]:
    """The names of the highest scores, the earlier of equals, and all scores, highest first."""
    order = np.argsort(-scores, kind="stable")
    return {
        "kept": [names[place] for place in order[:keep]],
        "scores": {names[place]: round(float(scores[place]), 6) for place in order},
    }
