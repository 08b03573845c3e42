"""Scores of classes from confusion matrices with bootstrap intervals, and of positive quantities in logarithms."""

from typing import Any

import numpy as np
import numpy.typing as npt

from products.learning.accuracy import balanced_accuracy, cohens_kappa

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
TIMES = 2000
FEW_GROUPS = 10


def kappa(matrix: npt.NDArray[Any]) -> Float64:
    """Cohen's kappa of matrices (…, true, predicted); 0 where chance is sure, so that an interval of bootstrap samples has no gap."""
    found: Float64 = np.nan_to_num(cohens_kappa(matrix), nan=0.0)
    return found


def resampled(matrices: Int64, random: np.random.Generator, times: int = TIMES) -> Int64:
    """`times` bootstrap sums of the matrices (group, true, predicted): of groups drawn anew, or of rows within each where there are fewer than ten.

    Drawing rows with replacement is drawing the cells of their confusion matrix (Efron and Tibshirani 1993, ch. 6).
    """
    n_groups, n, _ = matrices.shape
    if n_groups >= FEW_GROUPS:
        weight = random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=times)
        return np.tensordot(weight, matrices, axes=1).astype(np.int64)
    cells = np.zeros((times, n * n), np.int64)
    for matrix in matrices:
        cells += random.multinomial(matrix.sum(), matrix.ravel() / matrix.sum(), size=times)
    return cells.reshape(times, n, n)


def with_interval(matrices: Int64, random: np.random.Generator) -> dict[str, Any]:
    """Balanced accuracy and kappa of all matrices together, each with its 95 % percentile interval."""
    whole, again = matrices.sum(axis=0), resampled(matrices, random)
    return {
        name: {"value": _rounded(score(whole)), "interval_95": [_rounded(each) for each in np.nanpercentile(score(again), [2.5, 97.5])]}
        for name, score in (("balanced_accuracy", balanced_accuracy), ("kappa", kappa))
    }  # fmt: skip


def quantity_scores(truth: Float64, predicted: Float64) -> dict[str, float]:
    """Median symmetric accuracy in percent (Morley et al. 2018, Space Weather 16, 69-88), bias as a factor (Seegers et al. 2018, Opt. Express 26, 7404).

    The root of the mean squared error is in the unit of the quantity.
    """
    ratio = np.log(predicted / truth)
    return {
        "median_symmetric_accuracy_percent": _rounded(100 * np.expm1(np.median(np.abs(ratio)))),
        "bias_factor": _rounded(np.exp(ratio.mean())),
        "rmse": _rounded(np.sqrt(np.mean((predicted - truth) ** 2))),
    }


def share_better(truth: Float64, ours: Float64, theirs: Float64, random: np.random.Generator) -> float:
    """The share of bootstrap samples of rows in which the median |ln ratio| of ours is below theirs."""
    rows = random.integers(0, truth.size, (TIMES, truth.size))
    lost = [np.median(np.abs(np.log(guess / truth))[rows], axis=1) for guess in (ours, theirs)]
    return _rounded(np.mean(lost[0] < lost[1]))


def _rounded(value: Any) -> float:  # noqa: ANN401
    return round(float(value), 4)
