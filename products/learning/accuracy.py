"""Agreement of predicted with true classes: confusion, per-class scores, and how they vary between blocks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


def confusion(rows: Int64, columns: Int64, n_classes: int) -> Int64:
    """Counts of pairs of codes 1 … n, such as (true class, predicted class), or (map class, reference class)."""
    table = np.bincount((rows - 1) * n_classes + columns - 1, minlength=n_classes**2)
    return table.reshape(n_classes, n_classes).astype(np.int64)


def scores(matrix: Int64, class_names: Sequence[str]) -> dict[str, Any]:
    """Overall and balanced accuracy, Cohen's kappa, and per class producer's (recall), user's (precision) accuracy and F1; None where undefined."""
    hits, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    per_class = {
        name: {
            "producers": _share(hits[i], true[i]),
            "users": _share(hits[i], predicted[i]),
            "f1": _share(2 * hits[i], true[i] + predicted[i]) if true[i] else None,
            "pixels": int(true[i]),
        }
        for i, name in enumerate(class_names)
    }
    return {
        "overall": _share(hits.sum(), matrix.sum()),
        "balanced": _known(balanced_accuracy(matrix)),
        "kappa": _known(cohens_kappa(matrix)),
        "per_class": per_class,
        "confusion": matrix.tolist(),
        "pixels": int(matrix.sum()),
    }


def balanced_accuracy(tables: npt.NDArray[Any]) -> Float64:
    """Mean producer's accuracy of the classes that there are, of (…, true, predicted) counts; NaN without any."""
    hits, true = np.einsum("...ii->...i", tables), tables.sum(axis=-1)
    there = true > 0
    share = np.divide(hits, true, out=np.zeros(hits.shape), where=there)
    n = there.sum(axis=-1)
    return np.asarray(np.divide(share.sum(axis=-1), n, out=np.full(n.shape, np.nan), where=n > 0))


def cohens_kappa(tables: npt.NDArray[Any]) -> Float64:
    """Agreement beyond chance (Cohen 1960, Educational and Psychological Measurement 20, 37-46) of (…, true, predicted) counts; NaN where chance is sure."""
    total = np.maximum(tables.sum(axis=(-2, -1)), 1)
    agreed = np.einsum("...ii->...", tables) / total
    chance = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1) / total.astype(np.float64) ** 2
    left = 1 - chance
    return np.asarray(np.divide(agreed - chance, left, out=np.full(left.shape, np.nan), where=left > 1e-12))


def block_spread(truth: Int64, predicted: Int64, block: Int64) -> dict[str, Any]:
    """Mean, variance, lowest and number of the blocks' own overall agreements."""
    blocks, position = np.unique(block, return_inverse=True)
    right = np.bincount(position, weights=(truth == predicted).astype(np.float64)) / np.bincount(position)
    return {
        "blocks": int(blocks.size),
        "mean": _rounded(right.mean()),
        "variance": _rounded(right.var(ddof=1)) if blocks.size > 1 else None,
        "lowest": _rounded(right.min()),
    }


def assess(truth: Int64, predicted: Int64, block: Int64, class_names: Sequence[str]) -> dict[str, Any]:
    """Scores of all rows, and their spread over blocks."""
    found = scores(confusion(truth, predicted, len(class_names)), class_names)
    return found | {"by_block": block_spread(truth, predicted, block)}


def _share(part: np.generic, whole: np.generic) -> float | None:
    return _rounded(float(part) / float(whole)) if whole else None


def _known(value: Float64) -> float | None:
    return None if np.isnan(value) else _rounded(float(value))


def _rounded(value: float) -> float:
    return round(float(value), 6)
