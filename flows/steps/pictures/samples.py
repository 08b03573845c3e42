"""Pictures of training sets: where the samples of each class lie."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from flows.steps.pictures.learning import png


def samples_picture(x: NDArray[Any], y: NDArray[Any], code: NDArray[Any], classes: Sequence[str]) -> bytes:
    """A map of samples (metres), coloured by class code 1, 2, …, with the number of each."""
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(classes, start=1):
        rows = np.asarray(code) == number
        axes.scatter(
            x[rows] / 1000,
            y[rows] / 1000,
            s=4,
            color=f"C{(number - 1) % 10}",
            label=f"{name} ({rows.sum()})",
            linewidths=0,
        )
    _finish(figure, axes, columns=min(len(classes), 4))
    return png(figure)


def values_picture(x: NDArray[Any], y: NDArray[Any], value: NDArray[Any], name: str) -> bytes:
    """A map of samples (metres), coloured by their value."""
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    axes = figure.subplots()
    shown = axes.scatter(x / 1000, y / 1000, s=14, c=value, cmap="viridis", linewidths=0)
    figure.colorbar(shown, ax=axes, label=name, location="bottom", shrink=0.7)
    _finish(figure, axes, columns=0)
    return png(figure)


def _finish(figure: Figure, axes: Any, columns: int) -> None:  # noqa: ANN401
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(title="Samples", xlabel="easting, km", ylabel="northing, km")
    axes.ticklabel_format(useOffset=False)
    if columns:
        figure.legend(markerscale=3, loc="outside lower center", ncols=columns, fontsize="small", frameon=False)
