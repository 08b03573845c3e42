"""The picture of a reconciliation: which share of each month's acquisitions is indexed, by collection."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from flows.steps.pictures.cube import NOTHING
from flows.steps.pictures.learning import png

MOST_TICKS = 24


def months_between(first: str, last: str) -> list[str]:
    """`2020-11`, `2020-12`, `2021-01` … both ends included."""
    start, end = (int(month[:4]) * 12 + int(month[5:]) - 1 for month in (first, last))
    return [f"{number // 12}-{number % 12 + 1:02d}" for number in range(start, end + 1)]


def shares(freshness: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Collections, months without gaps, and indexed / expected (collection, month); NaN where nothing is expected."""
    dated = [row for row in freshness if row["month"] != "undated"]
    collections = sorted({row["collection"] for row in dated})
    months = months_between(min(row["month"] for row in dated), max(row["month"] for row in dated)) if dated else []
    table = np.full((len(collections), len(months)), np.nan)
    for row in dated:
        table[collections.index(row["collection"]), months.index(row["month"])] = row["indexed"] / row["expected"]
    return collections, months, table


def reconcile_picture(freshness: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """A PNG of months x collections, coloured by the share of expected acquisitions that is indexed."""
    collections, months, table = shares(freshness)
    width = min(16.0, max(7.0, 3.0 + 0.28 * len(months)))
    figure = Figure(figsize=(width, 2.4 + 0.45 * len(collections)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    if not months:
        axes.text(0.5, 0.5, "the archive lists nothing here", ha="center", va="center")
        axes.set_axis_off()
        return png(figure)
    colours = colormaps["YlGnBu"].with_extremes(bad=NOTHING)
    edges = np.arange(len(months) + 1) - 0.5, np.arange(len(collections) + 1) - 0.5
    shown = axes.pcolormesh(
        *edges, np.ma.masked_invalid(table), cmap=colours, vmin=0, vmax=1, edgecolors="white", lw=0.8
    )
    axes.set_facecolor(NOTHING)
    step = -(-len(months) // MOST_TICKS)
    axes.set_xticks(range(0, len(months), step), months[::step], rotation=90)
    axes.set_yticks(range(len(collections)), [name or "unknown" for name in collections])
    axes.invert_yaxis()
    figure.colorbar(shown, ax=axes, label="share indexed", shrink=0.9)
    legend = [Patch(facecolor=NOTHING, edgecolor="grey", label="nothing expected")]
    figure.legend(handles=legend, loc="outside lower center", frameon=False)
    return png(figure)
