"""Pictures of trials on tables: which classes are told as which, quantities told beside measured ones, and the classes of labelled pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from flows.steps.pictures.found_shapes import as_image
from flows.steps.pictures.learning import png

MOST_SHOWN = 4
MOST_POINTS = 1000
PANEL_PX = 256
LEVELS = 6  # of each colour of a labelled picture, which keeps the file small
TICKS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
FEW_TICKS = (1.0, 2.0, 5.0)
WIDE = 20  # a range whose end is so many times its start has few ticks
COLOURS = ("#e8dcb5", "#3b4a6b", "#d95f4c", "#4f9d69", "#8a6bb1", "#e0a030", "#5bb5c5", "#9c5b3b")
NO_CLASS = "#ffffff"


@dataclass(frozen=True, slots=True)
class ToldQuantity:
    """Values (n,) of a quantity that were measured and told, the ends of their intervals, and what the baseline tells, (0,) without one."""

    name: str
    measured: NDArray[np.float64]
    told: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    by_baseline: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ToldPixels:
    """A labelled picture: bands (band, y, x), and the class codes (y, x) that are true and that were told, 0 where there is none."""

    name: str
    bands: NDArray[np.float32]
    true: NDArray[np.uint8]
    told: NDArray[np.uint8]


def matrices_picture(scores: Mapping[str, Mapping[str, Any]], class_names: Sequence[str]) -> bytes:
    """A PNG of the confusion matrix of each part that was tested, shares of each true class above the rows, beneath its scores."""
    side = max(3.6, 1.4 + 0.75 * len(class_names))
    figure = Figure(figsize=(side * len(scores) + 0.4, side + 0.2), layout="constrained")
    for axes, (name, entry) in zip(figure.subplots(1, len(scores), squeeze=False)[0], scores.items(), strict=True):
        _draw_matrix(axes, np.asarray(entry["confusion"], dtype=float), class_names)
        accuracy, kappa = entry["balanced_accuracy"], entry["kappa"]
        axes.set_title(
            f"tested on {name}\nbalanced accuracy {accuracy['value']:.3f}, kappa {kappa['value']:.3f}",
            fontsize="medium",
        )
    return png(figure)


def quantity_picture(shown: ToldQuantity, title: str) -> bytes:
    """A PNG of what was told over what was measured, in logarithms, with intervals; on the line both are equal. Of many rows, some spread evenly."""
    n_rows = shown.measured.size
    rows = np.unique(np.linspace(0, n_rows - 1, min(MOST_POINTS, n_rows)).astype(int))
    measured, told = shown.measured[rows], shown.told[rows]
    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    axes.axline((1, 1), (2, 2), color="0.7", linewidth=1, label="equal")
    ends = [told - shown.low[rows], shown.high[rows] - told]
    axes.errorbar(measured, told, ends, fmt="o", markersize=4, elinewidth=0.8, label="the recipe, with its interval")
    if shown.by_baseline.size:
        axes.plot(measured, shown.by_baseline[rows], "x", markersize=5, label="the baseline")
    axes.set(xlim=_around(measured), ylim=_around(np.concatenate([shown.low[rows], shown.high[rows]])))
    for axis, (least, most) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        axis.set_major_locator(LogLocator(subs=FEW_TICKS if most > WIDE * least else TICKS, numticks=50))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_locator(NullLocator())
    axes.set(xlabel=f"{shown.name}, measured", ylabel=f"{shown.name}, predicted")
    some = "" if rows.size == n_rows else f"\n{rows.size} of them are shown"
    axes.set_title(title + some, fontsize="medium")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return png(figure)


def pixels_picture(pictures: Sequence[ToldPixels], class_names: Sequence[str]) -> bytes:
    """A PNG with a row for each labelled picture: its bands, brightened by square roots, its labels, and the classes that were told; large ones thinned."""
    colours = ListedColormap([NO_CLASS, *(COLOURS[n % len(COLOURS)] for n in range(len(class_names)))])
    figure = Figure(figsize=(7.4, 2.6 * len(pictures) + 0.4), layout="constrained")
    for row, each in zip(figure.subplots(len(pictures), 3, squeeze=False), pictures, strict=True):
        height, width = each.true.shape
        step = max(1, -(-max(height, width) // PANEL_PX))
        thin = (..., slice(None, None, step), slice(None, None, step))
        image = np.round(np.sqrt(as_image(each.bands[thin])) * LEVELS) / LEVELS
        row[0].imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        for axes, codes in zip(row[1:], (each.true, each.told), strict=True):
            axes.imshow(codes[thin], cmap=colours, vmin=0, vmax=len(class_names), interpolation="nearest")
        for axes, title in zip(row, (f"{each.name}, {width} x {height} px", "labelled", "predicted"), strict=True):
            axes.set(title=title, xticks=[], yticks=[])
    patches = [Patch(facecolor=colours(n + 1), edgecolor="grey", label=name) for n, name in enumerate(class_names)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 6), frameon=False)
    return png(figure)


def _around(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()) / 1.08, float(values.max()) * 1.08


def _draw_matrix(axes: Axes, counts: NDArray[np.float64], class_names: Sequence[str]) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(class_names))
    axes.set_xticks(places, class_names, rotation=0 if len(class_names) < 4 else 45)
    axes.set_yticks(places, class_names)
    axes.set(xlabel="predicted", ylabel="labelled")
    for row in places:
        for column in places:
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{shares[row, column]:.0%}\n{int(counts[row, column])}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize="small")
