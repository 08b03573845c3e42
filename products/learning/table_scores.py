"""Scores of classes from confusion matrices with bootstrap intervals, and of positive quantities in logarithms."""

from typing import Any

import numpy as np
import numpy.typing as npt

from products.learning.accuracy import balanced_accuracy, cohens_kappa
from products.learning.regression_scores import log_scores, regression_scores

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
TIMES = 2000
FEW_GROUPS = 10


def kappa(matrix: npt.NDArray[Any]) -> Float64:
    """Cohen's kappa of matrices (…, true, predicted); 0 where chance is sure, so that an interval of bootstrap samples has no gap."""
    found: Float64 = np.nan_to_num(cohens_kappa(matrix), nan=0.0)
    return found


def resampled(matrices: Int64, random: np.random.Generator) -> Int64:
    """`TIMES` bootstrap sums of the matrices (group, true, predicted): of groups drawn anew, or of rows within each where there are fewer than ten.

    Drawing rows with replacement is drawing the cells of their confusion matrix (Efron and Tibshirani 1993, ch. 6).
    """
    n_groups, n, _ = matrices.shape
    if n_groups >= FEW_GROUPS:
        weight = random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=TIMES)
        return np.tensordot(weight, matrices, axes=1).astype(np.int64)
    cells = np.zeros((TIMES, n * n), np.int64)
    for matrix in matrices:
        cells += random.multinomial(matrix.sum(), matrix.ravel() / matrix.sum(), size=TIMES)
    return cells.reshape(TIMES, n, n)


def with_interval(matrices: Int64, random: np.random.Generator) -> dict[str, Any]:
    """Balanced accuracy and kappa of all matrices together, each with its 95 % percentile interval."""
    whole, again = matrices.sum(axis=0), resampled(matrices, random)
    return {
        name: {"value": _rounded(score(whole)), "interval_95": [_rounded(each) for each in np.nanpercentile(score(again), [2.5, 97.5])]}
        for name, score in (("balanced_accuracy", balanced_accuracy), ("kappa", kappa))
    }  # fmt: skip


def quantity_scores(truth: Float64, predicted: Float64) -> dict[str, float]:
    """Of positive values the median symmetric accuracy in percent, the bias as a factor, and the root mean square error in their unit."""
    by_ratio, by_difference = log_scores(truth, predicted), regression_scores(truth, predicted)
    return {
        "median_symmetric_accuracy_percent": _rounded(by_ratio["median_symmetric_accuracy"]),
        "bias_factor": _rounded(by_ratio["log_bias"]),
        "rmse": _rounded(by_difference["rmse"]),
    }


def share_better(truth: Float64, ours: Float64, theirs: Float64, random: np.random.Generator) -> float:
    """The share of bootstrap samples of rows in which the median |ln ratio| of ours is below theirs."""
    rows = random.integers(0, truth.size, (TIMES, truth.size))
    lost = [np.median(np.abs(np.log(guess / truth))[rows], axis=1) for guess in (ours, theirs)]
    return _rounded(np.mean(lost[0] < lost[1]))


def _rounded(value: Any) -> float:  # noqa: ANN401
    return round(float(value), 4)
