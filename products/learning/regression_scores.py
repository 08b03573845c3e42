"""How near predicted numbers are to true ones."""

from typing import Any

import numpy as np
import numpy.typing as npt

from products.errors import RequestError

Float64 = npt.NDArray[np.float64]


def regression_scores(truth: Float64, predicted: Float64) -> dict[str, float | int | None]:
    """Root mean square error, bias (predicted less true), mean absolute error, in the unit of the values, and the share of variance explained."""
    check_numbers(truth, predicted)
    error, about = predicted - truth, truth - truth.mean()
    total = float((about**2).sum())
    return {
        "rows": int(truth.size),
        "rmse": float(np.sqrt((error**2).mean())),
        "bias": float(error.mean()),
        "mae": float(np.abs(error).mean()),
        "r2": 1 - float((error**2).sum()) / total if total else None,
    }


def log_scores(truth: Float64, predicted: Float64) -> dict[str, float | int]:
    """Scores of values that span orders of magnitude, as chlorophyll-a; both must be above 0, rows that are not are counted and left out.

    Median symmetric accuracy and signed symmetric percentage bias, percent (Morley et al. 2018, Space Weather 16, 69-88), and the
    multiplicative bias and mean absolute error of Seegers et al. 2018, Optics Express 26, 7404-7422: 1 is perfect, 1.2 is 20 % too high or off.
    """
    check_numbers(truth, predicted)
    kept = (truth > 0) & (predicted > 0)
    if not kept.any():
        raise RequestError("expected true and predicted values above 0 for scores of their ratio: there is no such row")
    ratio = np.log(predicted[kept] / truth[kept])
    middle = float(np.median(ratio))
    return {
        "rows": int(kept.sum()),
        "not_positive": int(truth.size - kept.sum()),
        "median_symmetric_accuracy": 100 * float(np.expm1(np.median(np.abs(ratio)))),
        "signed_symmetric_bias": 100 * float(np.sign(middle) * np.expm1(abs(middle))),
        "log_bias": float(np.exp(ratio.mean())),
        "log_mae": float(np.exp(np.abs(ratio).mean())),
    }


def check_numbers(truth: Float64, predicted: Float64) -> None:
    """RequestError unless both have the same rows, some, all finite."""
    if truth.shape != predicted.shape or truth.size == 0:
        raise RequestError(
            f"expected as many predicted as true values, and some, got {predicted.shape} and {truth.shape}"
        )
    if not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
        bad = int((~np.isfinite(truth) | ~np.isfinite(predicted)).sum())
        raise RequestError(f"expected finite values, got {bad} rows with none: leave them out and say so")


def rounded(scores: dict[str, Any], digits: int = 6) -> dict[str, Any]:
    """The scores as a card shows them: numbers that are not whole with so many digits."""
    return {name: round(value, digits) if isinstance(value, float) else value for name, value in scores.items()}
