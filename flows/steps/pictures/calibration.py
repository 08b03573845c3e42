"""The picture of calibration: what probabilities said, and what happened."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from flows.steps.pictures.learning import png


def calibration_picture(found: Mapping[str, Any]) -> bytes:
    """Observed share over probability for the likeliest class, and for each class, as a PNG; on the diagonal probabilities mean what they say."""
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="0.7", linewidth=1)
    for name, each in found["by_class"].items():
        axes.plot(
            each["reliability"]["said"],
            each["reliability"]["observed"],
            marker="o",
            markersize=3,
            linewidth=1,
            label=name,
        )
    top = found["reliability"]
    axes.plot(top["said"], top["observed"], color="black", marker="s", markersize=4, label="the likeliest class")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability", ylabel="observed share, hold-out")
    axes.set_title(f"Calibration error {found['ece']:.3f}, Brier score {found['brier']:.3f}", fontsize="medium")
    axes.legend(frameon=False, fontsize="small")
    return png(figure)
