"""A recipe tried on a table: each row is answered by an estimator that never saw its group, or never saw it."""

from typing import Any

import numpy as np

from products.learning.accuracy import balanced_accuracy, confusion, scores
from products.learning.forest import forest_from_sklearn
from products.learning.learned import PixelModel
from products.learning.linear import linear_from_sklearn
from products.learning.sample_table import Float64, Int64, SampleTable, drawn, held_out
from products.learning.table_recipe import TableRecipe
from products.learning.table_scores import quantity_scores, share_better, with_interval

TABLE_VERSION = "table-1"
PENALTIES = np.logspace(-3, 3, 13)
RANDOM_FOLDS = 5


def tried(table: SampleTable, recipe: TableRecipe, n_jobs: int = 1) -> dict[str, Any]:
    """The metrics of a recipe on a table; the number of jobs does not change them."""
    return _tried_classes(table, recipe, n_jobs) if recipe.class_names else _tried_quantity(table, recipe, n_jobs)


def unfitted(recipe: TableRecipe, n_jobs: int) -> Any:  # noqa: ANN401
    """An estimator of scikit-learn: a random forest, or a regression of standardised features, logistic for classes, ridge for a quantity."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor  # these take a second to load
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if recipe.estimator == "linear":
        weighted = LogisticRegression(max_iter=1000, class_weight="balanced")
        return make_pipeline(StandardScaler(), weighted if recipe.class_names else RidgeCV(PENALTIES))
    shared = {"n_estimators": 100, "min_samples_leaf": 5, "random_state": recipe.seed, "n_jobs": n_jobs}
    return (
        RandomForestClassifier(class_weight="balanced", **shared)
        if recipe.class_names
        else RandomForestRegressor(**shared)
    )


def fitted(table: SampleTable, recipe: TableRecipe, n_jobs: int = 1) -> PixelModel:
    """The classifier of a recipe, learned from all rows that are drawn; it asks for the columns as the recipe scales them, and its formulas."""
    rows = drawn(table, np.ones(table.n_rows, np.bool_), recipe.table.max_per_class, recipe.seed)
    estimator = unfitted(recipe, n_jobs).fit(table.values[rows], table.target[rows].astype(np.int64))
    names = (*recipe.table.features, *recipe.table.formulas)
    if recipe.estimator == "random_forest":
        return forest_from_sklearn(estimator, names, recipe.class_names)
    scaler, logistic = estimator[0], estimator[-1]
    return linear_from_sklearn(logistic, names, recipe.class_names, scaler.mean_, scaler.scale_)


def _tried_classes(table: SampleTable, recipe: TableRecipe, n_jobs: int) -> dict[str, Any]:
    random, names = np.random.default_rng(recipe.seed), recipe.class_names
    truth, guess = table.target.astype(np.int64), np.zeros(table.n_rows, np.int64)
    for test in held_out(table, recipe):
        guess[test] = _answers(table, recipe, ~test, test, n_jobs)
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
        "random_folds": {"balanced_accuracy": round(float(_on_random_folds(table, recipe, random, n_jobs)), 4)},
        "rows": table.n_rows,
        "rows_dropped": table.n_dropped,
    }


def _answers(table: SampleTable, recipe: TableRecipe, train: Any, test: Any, n_jobs: int) -> Int64:  # noqa: ANN401, masks
    rows = drawn(table, train, recipe.table.max_per_class, recipe.seed)
    estimator = unfitted(recipe, n_jobs).fit(table.values[rows], table.target[rows])
    return np.asarray(estimator.predict(table.values[test]), dtype=np.int64)


def _on_random_folds(table: SampleTable, recipe: TableRecipe, random: np.random.Generator, n_jobs: int) -> Float64:
    """Balanced accuracy on folds of rows dealt at random, which neighbours of training rows flatter."""
    fold = random.permutation(table.n_rows) % min(RANDOM_FOLDS, table.n_rows)
    guess = np.zeros(table.n_rows, np.int64)
    for number in range(int(fold.max()) + 1):
        guess[fold == number] = _answers(table, recipe, fold != number, fold == number, n_jobs)
    return balanced_accuracy(confusion(table.target.astype(np.int64), guess, len(recipe.class_names)))


def _tried_quantity(table: SampleTable, recipe: TableRecipe, n_jobs: int) -> dict[str, Any]:
    random, logs = np.random.default_rng(recipe.seed), np.log(table.target)
    guess, low, high = (np.zeros(table.n_rows) for _ in range(3))
    by_baseline = np.zeros(table.n_rows)
    for test in held_out(table, recipe):
        train = ~test
        guess[test] = _quantity(table.values, logs, train, test, recipe, n_jobs)
        width = _residual_quantile(table.values[train], logs[train], recipe, n_jobs)
        low[test], high[test] = guess[test] - width, guess[test] + width
        if recipe.baseline:
            slope, offset = np.polyfit(table.baseline[train], logs[train], 1)
            by_baseline[test] = slope * table.baseline[test] + offset
    found: dict[str, Any] = {
        "left_out": recipe.leave_out,
        "model": quantity_scores(table.target, np.exp(guess)),
        "interval": {
            "asked": recipe.coverage,
            "covered": round(float(np.mean((low <= logs) & (logs <= high))), 4),
            "mean_factor": round(float(np.exp(np.mean(high - low) / 2)), 4),
        },
        "rows": table.n_rows,
        "rows_dropped": table.n_dropped,
    }
    if recipe.baseline:
        found["baseline"] = quantity_scores(table.target, np.exp(by_baseline))
        found["share_better_than_baseline"] = share_better(table.target, np.exp(guess), np.exp(by_baseline), random)
    return found


def _quantity(values: Float64, logs: Float64, train: Any, test: Any, recipe: TableRecipe, n_jobs: int) -> Float64:  # noqa: ANN401
    return np.asarray(unfitted(recipe, n_jobs).fit(values[train], logs[train]).predict(values[test]), dtype=np.float64)


def _residual_quantile(values: Float64, logs: Float64, recipe: TableRecipe, n_jobs: int) -> float:
    """The half width of an interval: the residual, of rows left out in turn, that the asked share stays below (conformal: Lei et al. 2018, JASA 113, 1094)."""
    from sklearn.model_selection import KFold, cross_val_predict

    folds = KFold(min(10, logs.size))
    lost = np.sort(np.abs(cross_val_predict(unfitted(recipe, n_jobs), values, logs, cv=folds) - logs))
    return float(lost[min(int(np.ceil(recipe.coverage * (logs.size + 1))), logs.size) - 1])
