"""A recipe tried on a table: each row is answered by an estimator that never saw its group, or never saw it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from products.errors import RequestError
from products.learning.accuracy import balanced_accuracy, confusion, scores
from products.learning.forest import forest_from_sklearn
from products.learning.learned import Learned
from products.learning.linear import linear_from_sklearn
from products.learning.sample_table import Float64, Floats, Int64, Rows, SampleTable, drawn, held_out
from products.learning.table_recipe import TableRecipe
from products.learning.table_scores import quantity_scores, share_better, with_interval

TABLE_VERSION = "table-4"
PENALTIES = np.logspace(-3, 3, 13)
RANDOM_FOLDS = 5
TREES, LEAST_LEAF = 100, 5  # of a random forest, and the rows of a leaf
BYTES_AT_ONCE = 2**26
CHIPS_AT_ONCE, SERIES_AT_ONCE = 64, 4096  # multiples of the batches that networks fill
LEAST_ROWS = 3  # of a quantity: each is left out in turn, and what is left still has a slope
Unfitted = Callable[[TableRecipe, int], Any]  # an estimator with `fit` and `predict`, as scikit-learn has them


@dataclass(frozen=True, slots=True)
class Answers:
    """What each row (n,) was told by an estimator that never saw it: a class code, or ln of a quantity.

    Of a quantity also ln of the ends of its interval, and what the baseline tells; (0,) where there is none.
    """

    told: Float64
    low: Float64
    high: Float64
    by_baseline: Float64


def tried(table: SampleTable, recipe: TableRecipe, n_jobs: int = 1, network: Unfitted | None = None) -> dict[str, Any]:
    """The metrics of a recipe on a table; the number of jobs does not change them. `network` makes the estimators of a recipe of networks."""
    return scored(table, recipe, answered(table, recipe, n_jobs, network), n_jobs)


def answered(table: SampleTable, recipe: TableRecipe, n_jobs: int = 1, network: Unfitted | None = None) -> Answers:
    """The answers to all rows, each part that is left out in turn."""
    make = _made_by(recipe, network)
    return _classes_told(table, recipe, n_jobs, make) if recipe.class_names else _quantities_told(table, recipe, n_jobs)


def scored(table: SampleTable, recipe: TableRecipe, answers: Answers, n_jobs: int = 1) -> dict[str, Any]:
    """The metrics of the answers to a table."""
    if recipe.class_names:
        return _scored_classes(table, recipe, answers, n_jobs)
    return _scored_quantity(table, recipe, answers)


def _made_by(recipe: TableRecipe, network: Unfitted | None) -> Unfitted:
    if not recipe.estimator.is_network:
        return unfitted
    if network is None:
        raise TypeError(f"{recipe.estimator.kind} is a network: expected what makes it")
    return network


def unfitted(recipe: TableRecipe, n_jobs: int) -> Any:  # noqa: ANN401
    """An estimator of scikit-learn: a random forest, or a regression of standardised features, logistic for classes, ridge for a quantity."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor  # these take a second to load
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if recipe.estimator.linear:
        weighted = LogisticRegression(max_iter=1000, class_weight="balanced")
        return make_pipeline(StandardScaler(), weighted if recipe.class_names else RidgeCV(PENALTIES))
    shared = {"n_estimators": TREES, "min_samples_leaf": LEAST_LEAF, "random_state": recipe.seed, "n_jobs": n_jobs}
    return (
        RandomForestClassifier(class_weight="balanced", **shared)
        if recipe.class_names
        else RandomForestRegressor(**shared)
    )


def fitted(table: SampleTable, recipe: TableRecipe, n_jobs: int = 1, network: Unfitted | None = None) -> Learned:
    """The classifier of a recipe, learned from all rows that are drawn; it asks for the columns as the recipe scales them, and its formulas."""
    rows = drawn(table, np.ones(table.n_rows, np.bool_), recipe.table.max_per_class, recipe.seed)
    estimator = _made_by(recipe, network)(recipe, n_jobs).fit(table.values[rows], table.target[rows].astype(np.int64))
    names = recipe.table.feature_names
    if recipe.estimator.is_network:
        learned: Learned = estimator.learned
        return learned
    if recipe.estimator.random_forest:
        return forest_from_sklearn(estimator, names, recipe.class_names)
    scaler, logistic = estimator[0], estimator[-1]
    return linear_from_sklearn(logistic, names, recipe.class_names, scaler.mean_, scaler.scale_)


def _classes_told(table: SampleTable, recipe: TableRecipe, n_jobs: int, make: Unfitted) -> Answers:
    told = np.zeros(table.n_rows)
    for test in held_out(table, recipe):
        told[test] = _answers(table, recipe, test, _named(table, recipe, test), n_jobs, make)
    return Answers(told, np.empty(0), np.empty(0), np.empty(0))


def _scored_classes(table: SampleTable, recipe: TableRecipe, answers: Answers, n_jobs: int) -> dict[str, Any]:
    random, names = np.random.default_rng(recipe.seed), recipe.class_names
    truth, guess = table.target.astype(np.int64), answers.told.astype(np.int64)
    parts = table.group if recipe.leave_out == "group" else np.zeros(table.n_rows, np.int64)
    matrices = np.stack(
        [confusion(truth[parts == part], guess[parts == part], len(names)) for part in np.unique(parts)]
    )
    by_group = {
        table.group_names[part]: scores(matrix, names) | with_interval(matrix[None], random)
        for part, matrix in enumerate(matrices)
        if len(matrices) > 1 and np.count_nonzero(matrix.sum(axis=1)) > 1
    }
    return {
        "left_out": recipe.leave_out,
        "all": scores(matrices.sum(axis=0), names) | with_interval(matrices, random),
        "by_group": by_group,
        **({} if recipe.estimator.is_network else _flattered(table, recipe, random, n_jobs)),
        "rows": table.n_rows,
        "rows_dropped": table.n_dropped,
    }


def _answers(table: SampleTable, recipe: TableRecipe, test: Rows, named: str, n_jobs: int, make: Unfitted) -> Int64:
    """Codes of the tested rows, learned from the others; RequestError where these are of one class and the estimator needs two."""
    rows = drawn(table, ~test, recipe.table.max_per_class, recipe.seed)
    there = np.unique(table.target[rows]).astype(np.int64)
    if recipe.estimator.linear and there.size < 2:
        raise RequestError(
            f"without {named} all rows are of the class {recipe.class_names[there[0] - 1]}: linear learns from two or more; "
            "add rows of other classes, in other groups, or take random_forest"
        )
    estimator = make(recipe, n_jobs).fit(table.values[rows], table.target[rows].astype(np.int64))
    asked, most = np.flatnonzero(test), _at_once(table)
    found = np.empty(asked.size, np.int64)
    for start in range(0, asked.size, most):
        found[start : start + most] = estimator.predict(table.values[asked[start : start + most]])
    return found


def _at_once(table: SampleTable) -> int:
    """How many rows are copied to be answered together: 64 MB or less, in numbers that fill the batches of networks."""
    return max(CHIPS_AT_ONCE, BYTES_AT_ONCE // table.values[:1].nbytes // SERIES_AT_ONCE * SERIES_AT_ONCE)


def _flattered(
    table: SampleTable, recipe: TableRecipe, random: np.random.Generator, n_jobs: int
) -> dict[str, dict[str, float]]:
    """Balanced accuracy on folds of rows dealt at random, which neighbours of training rows flatter."""
    fold = random.permutation(table.n_rows) % min(RANDOM_FOLDS, table.n_rows)
    guess = np.zeros(table.n_rows, np.int64)
    for number in range(int(fold.max()) + 1):
        guess[fold == number] = _answers(
            table, recipe, fold == number, "a fold of rows dealt at random", n_jobs, unfitted
        )
    score = balanced_accuracy(confusion(table.target.astype(np.int64), guess, len(recipe.class_names)))
    return {"random_folds": {"balanced_accuracy": round(float(score), 4)}}


def _quantities_told(table: SampleTable, recipe: TableRecipe, n_jobs: int) -> Answers:
    logs = np.log(table.target)
    told, low, high = (np.zeros(table.n_rows) for _ in range(3))
    by_baseline = np.zeros(table.n_rows if recipe.baseline else 0)
    for test in held_out(table, recipe):
        train = ~test
        if (n_left := int(train.sum())) < LEAST_ROWS:
            raise RequestError(
                f"without {_named(table, recipe, test)} {n_left} row{'' if n_left == 1 else 's'} of a quantity can be learned from: "
                "expected three or more; add rows, in other groups"
            )
        told[test] = _quantity(table.values, logs, train, test, recipe, n_jobs)
        width = _residual_quantile(table.values[train], logs[train], recipe, n_jobs)
        low[test], high[test] = told[test] - width, told[test] + width
        if recipe.baseline:
            slope, offset = np.polyfit(table.baseline[train], logs[train], 1)
            by_baseline[test] = slope * table.baseline[test] + offset
    return Answers(told, low, high, by_baseline)


def _scored_quantity(table: SampleTable, recipe: TableRecipe, answers: Answers) -> dict[str, Any]:
    random, logs, low, high = np.random.default_rng(recipe.seed), np.log(table.target), answers.low, answers.high
    ours, theirs = np.exp(answers.told), np.exp(answers.by_baseline)
    found: dict[str, Any] = {
        "left_out": recipe.leave_out,
        "model": quantity_scores(table.target, ours),
        "interval": {
            "asked": recipe.coverage,
            "covered": round(float(np.mean((low <= logs) & (logs <= high))), 4),
            "mean_factor": round(float(np.exp(np.mean(high - low) / 2)), 4),
        },
        "rows": table.n_rows,
        "rows_dropped": table.n_dropped,
    }
    if recipe.baseline:
        found["baseline"] = quantity_scores(table.target, theirs)
        found["share_better_than_baseline"] = share_better(table.target, ours, theirs, random)
    return found


def _quantity(values: Floats, logs: Float64, train: Any, test: Any, recipe: TableRecipe, n_jobs: int) -> Float64:  # noqa: ANN401
    return np.asarray(unfitted(recipe, n_jobs).fit(values[train], logs[train]).predict(values[test]), dtype=np.float64)


def _residual_quantile(values: Floats, logs: Float64, recipe: TableRecipe, n_jobs: int) -> float:
    """The half width of an interval: the residual, of rows left out in turn, that the asked share stays below (conformal: Lei et al. 2018, JASA 113, 1094)."""
    from sklearn.model_selection import KFold, cross_val_predict

    folds = KFold(min(10, logs.size))
    lost = np.sort(np.abs(cross_val_predict(unfitted(recipe, n_jobs), values, logs, cv=folds) - logs))
    return float(lost[min(int(np.ceil(recipe.coverage * (logs.size + 1))), logs.size) - 1])


def _named(table: SampleTable, recipe: TableRecipe, test: Rows) -> str:
    """What is left out: a group by its name, a row by its number, from 1."""
    first = int(np.flatnonzero(test)[0])
    return f"the group {table.group_names[table.group[first]]!r}" if recipe.leave_out == "group" else f"row {first + 1}"
