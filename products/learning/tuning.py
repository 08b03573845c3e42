"""Better settings of an estimator, found inside the training blocks before the hold-out is looked at."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from products.devices import Backend
from products.errors import RequestError
from products.learning.accuracy import assess
from products.learning.estimators import fit_rows, predicted
from products.learning.leaks import refuse_leaks, touched
from products.learning.recipe import ModelRecipe
from products.learning.samples import Samples
from products.learning.splits import BlockSplit, deal_blocks
from products.learning.tune_spec import TuneSpec, checked

Settings = dict[str, int | float]
Agreement = Callable[[ModelRecipe, int], float]  # of a recipe in the trial of a number, from 0


def require_optuna(spec: TuneSpec | None) -> None:
    """RequestError where a recipe is to be tuned and the package that does it is not there."""
    if spec and find_spec("optuna") is None:
        raise RequestError("tune needs the package optuna: install neocube[tune], or leave tune out")


def inner_split(split: BlockSplit, code: npt.NDArray[np.int64], folds: int, seed: int) -> BlockSplit:
    """The training blocks of a split dealt into folds of their own; rows of the hold-out and its buffer are in none, and the last fold is empty."""
    rows, fold = split.apart_rows(split.holdout), np.full(split.fold.shape, -1, np.int64)
    fold[rows] = deal_blocks(split.block[rows], code[rows], folds, seed)
    refuse_leaks(touched(fold >= 0, split.test_rows(split.holdout)))
    return replace(split, fold=fold, folds=folds + 1)


def agreement_on_folds(backend: Backend, samples: Samples, inner: BlockSplit, n_jobs: int) -> Agreement:
    """Of a recipe of single pixels: the mean agreement of the folds, each answered by a model of the others."""
    code = samples.column("code").astype(np.int64)

    def agreement(recipe: ModelRecipe, _: int) -> float:
        found = []
        for fold in range(inner.holdout):
            test = inner.test_rows(fold)
            guess = predicted(fit_rows(backend, samples, inner.train_rows(fold), recipe, n_jobs), samples, test)
            found.append(assess(code[test], guess, inner.block[test], recipe.class_names)["overall"])
        return float(np.mean(found))

    return agreement


def tuned(
    recipe: ModelRecipe, spec: TuneSpec, agreement: Agreement, is_over: Callable[[], bool]
) -> tuple[ModelRecipe, dict[str, Any]]:
    """The recipe with the settings of the best trial, and every trial (tree-structured Parzen estimators: Bergstra et al. 2011, NIPS 24, 2546-2554).

    The recipe's own settings are the first trial where they lie in the ranges; of equals the first counts. The same seed tries the same, until it is over.
    """
    import optuna  # takes a second to load

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=recipe.seed))
    finally:
        optuna.logging.set_verbosity(level)
    own: Settings = {name: getattr(recipe.estimator.spec, name) for name in spec.parameters}
    if all(low <= own[name] <= high for name, (low, high) in spec.parameters.items()):
        study.enqueue_trial(own)
    trials: list[dict[str, Any]] = []
    while len(trials) < spec.trials and not (trials and is_over()):
        trial = study.ask()
        settings = _drawn(trial, own, spec)
        score = agreement(with_settings(recipe, settings), len(trials))
        study.tell(trial, score)
        trials.append({"settings": settings, "agreement": round(score, 6)})
    best = max(trials, key=lambda each: each["agreement"])
    told = {
        "best": best["settings"],
        "recipe": own,
        "agreement": best["agreement"],
        "folds": spec.folds,
        "stopped_by": "trials" if len(trials) == spec.trials else "seconds",
        "trials": trials,
    }
    return with_settings(recipe, best["settings"]), {"tuning": told}


def with_settings(recipe: ModelRecipe, settings: Settings) -> ModelRecipe:
    """The recipe with some settings of its estimator replaced; RequestError where it cannot have them together."""
    kind = recipe.estimator.kind
    spec = checked(recipe.estimator.spec, settings, kind)
    return recipe.model_copy(update={"estimator": recipe.estimator.model_copy(update={kind: spec})})


def _drawn(trial: Any, own: Settings, spec: TuneSpec) -> Settings:  # noqa: ANN401
    return {
        name: trial.suggest_int(name, int(low), int(high), log=spec.is_by_ratio(name))
        if isinstance(own[name], int)
        else trial.suggest_float(name, low, high, log=spec.is_by_ratio(name))
        for name, (low, high) in spec.parameters.items()
    }
