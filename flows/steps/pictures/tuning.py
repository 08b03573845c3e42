"""A picture of how settings were tuned."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from matplotlib.figure import Figure

from flows.steps.pictures.learning import png


def tuning_picture(found: Mapping[str, Any]) -> bytes:
    """The agreement of each trial in the order of trials with the best so far, and over each setting that was tuned."""
    trials = found["trials"]
    scores, numbers = [each["agreement"] for each in trials], range(1, len(trials) + 1)
    names = list(found["best"])
    figure = Figure(figsize=(3.2 * (1 + len(names)), 3), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(names), sharey=True)
    first.plot(numbers, list(accumulate(scores, max)), color="C1", label="best so far")
    first.scatter(numbers, scores, s=12, color="C0")
    first.set(xlabel="trial", ylabel="agreement on inner folds")
    first.legend(frameon=False, fontsize="small")
    for axes, name in zip(others, names, strict=True):
        values = [each["settings"][name] for each in trials]
        axes.scatter(values, scores, s=12, color="C0")
        axes.axvline(found["best"][name], color="C1", linewidth=1)
        if min(values) > 0 and max(values) > 30 * min(values):
            axes.set_xscale("log")
        axes.set_xlabel(name)
    return png(figure)
