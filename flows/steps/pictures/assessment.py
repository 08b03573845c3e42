"""The picture of an assessment: estimated areas beside pixel counts, and accuracies, with their 95 % intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flows.steps.pictures.learning import png


def assessment_picture(document: Mapping[str, Any]) -> bytes:
    """Bars of area, hectares, and points of user's and producer's accuracy, as a PNG."""
    areas, per_class = document["areas"], document["accuracy"]["per_class"]
    kept = [each for each in areas if each["pixel_count"] or each["area"]["estimate"]]
    names = [each["class"] for each in kept]
    figure = Figure(figsize=(4 + 0.9 * len(names), 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    place = np.arange(len(names))
    left.bar(place - 0.2, [each["pixel_count_ha"] for each in kept], 0.4, color="0.75", label="pixel count")
    estimated = [each["area"] for each in kept]
    left.bar(place + 0.2, [each["estimate"] for each in estimated], 0.4, color="C0", label="estimate")
    left.errorbar(
        place + 0.2, [each["estimate"] for each in estimated], _ends(estimated), fmt="none", color="black", capsize=3
    )
    left.set(ylabel="ha", title="Area, 95 % interval")
    for shift, kind, label in ((-0.12, "users", "user's"), (0.12, "producers", "producer's")):
        found = [(n, per_class[name][kind]) for n, name in enumerate(names) if per_class[name][kind]]
        at, shown = [n + shift for n, _ in found], [each for _, each in found]
        right.errorbar(at, [each["estimate"] for each in shown], _ends(shown), fmt="o", capsize=3, label=label)
    right.set(ylim=(0, 1.02), title=f"{document['score'].capitalize()} of {document['map']}, 95 % interval")
    for axes in (left, right):
        _name(axes, place, names)
    return png(figure)


def _ends(intervals: list[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Lengths below and above each estimate, (2, n)."""
    value = np.array([each["estimate"] for each in intervals])
    low, high = (np.array([each["interval_95"][end] for each in intervals]) for end in (0, 1))
    return np.maximum([value - low, high - value], 0.0)


def _name(axes: Axes, place: np.ndarray[Any, Any], names: list[str]) -> None:
    axes.set_xticks(place, names, rotation=30, ha="right")
    axes.legend(frameon=False, fontsize="small")
