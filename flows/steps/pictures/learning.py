"""Pictures of learning: where the blocks of each fold lie, and which classes are mistaken for which."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from products.learning.splits import BlockSplit

DPI = 110
MOST_BARS = 20


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, without the date of writing."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def split_picture(x: NDArray[Any], y: NDArray[Any], split: BlockSplit) -> bytes:
    """A map of the samples, coloured by fold, the hold-out in black."""
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    axes = figure.subplots()
    for fold in range(split.folds):
        rows = split.test_rows(fold)
        is_holdout = fold == split.holdout
        colour, label = ("black", "hold-out") if is_holdout else (f"C{fold}", f"fold {fold + 1}")
        axes.scatter(x[rows] / 1000, y[rows] / 1000, s=3, color=colour, label=label, linewidths=0)
    axes.set_aspect("equal")
    axes.set(title=f"Blocks of {split.block_m:g} m", xlabel="easting, km", ylabel="northing, km")
    figure.legend(markerscale=4, loc="outside lower center", ncols=split.folds, fontsize="small", frameon=False)
    return png(figure)


def confusion_picture(matrix: Sequence[Sequence[int]], class_names: Sequence[str], score: str) -> bytes:
    """The confusion matrix of the hold-out, shares of each true class."""
    counts = np.asarray(matrix, dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    figure = Figure(figsize=(4.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(class_names))
    axes.set_xticks(places, class_names)
    axes.set_yticks(places, class_names)
    axes.set(xlabel="predicted", ylabel="true", title=f"Hold-out {score}")
    for row in places:
        for column in places:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{int(counts[row, column])}", ha="center", va="center", color=colour)
    return png(figure)


def importance_picture(permutation: Mapping[str, Any], impurity: Mapping[str, float] | None = None) -> bytes:
    """Bars of the agreement that shuffling each feature costs, with the deviation of the repeats; the twenty that cost most.

    Beside them, of a forest, the twenty with the largest share in the decrease of impurity.
    """
    lost, splits = list(permutation["lost"].items())[:MOST_BARS], list((impurity or {}).items())[:MOST_BARS]
    panels = 2 if splits else 1
    figure = Figure(figsize=(5 * panels, 1 + 0.25 * len(lost)), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    names, means, deviations = [n for n, _ in lost], [e["mean"] for _, e in lost], [e["std"] for _, e in lost]
    axes[0].barh(names, means, xerr=deviations, color="C0", ecolor="black")
    axes[0].set(xlabel="agreement lost where shuffled", title=f"{permutation['pixels']} pixels of the hold-out")
    if splits:
        axes[1].barh([n for n, _ in splits], [share for _, share in splits], color="C1")
        axes[1].set(xlabel="share in the decrease of impurity", title="splits of the forest, training pixels")
    for each in axes:
        each.invert_yaxis()
    return png(figure)


def shap_picture(shap: Mapping[str, Any]) -> bytes:
    """Bars of the mean absolute Shapley value of each feature, the classes one after the other; the twenty largest."""
    top = list(shap["mean_absolute"].items())[:MOST_BARS]
    figure = Figure(figsize=(5, 1.4 + 0.25 * len(top)), layout="constrained")
    axes = figure.subplots()
    names, left = [name for name, _ in top], np.zeros(len(top))
    for class_name in top[0][1]:
        widths = np.array([of[class_name] for _, of in top])
        axes.barh(names, widths, left=left, label=class_name)
        left = left + widths
    axes.invert_yaxis()
    axes.set(xlabel=f"mean absolute Shapley value, {shap['unit']}", title=f"{shap['pixels']} pixels of the hold-out")
    figure.legend(loc="outside lower center", ncols=4, fontsize="small", frameon=False)
    return png(figure)
