"""The picture of the tides under the passes over a cube: what was seen of the tide range, and what never was."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from flows.steps.cubes.cell_tides import ToldTides
from flows.steps.pictures.cube import NOTHING
from flows.steps.pictures.learning import png

MOST_TILES = 4


def tides_picture(cells: Sequence[ToldTides]) -> bytes:
    """A PNG with a panel for each of at most four cells: heights of the passes by day, and the range of the hourly tide, of which grey was never seen."""
    shown = cells[:MOST_TILES]
    figure = Figure(figsize=(8, 2.9 * len(shown) + 0.3), layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False, sharex=True)[:, 0]
    for axes, cell in zip(panels, shown, strict=True):
        _draw(axes, cell)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize="small")
    return png(figure)


def _draw(axes: Axes, cell: ToldTides) -> None:
    told = cell.document
    by_platform: dict[str, list[tuple[np.datetime64, float]]] = {}
    for number, height in told["heights_m"].items():
        platform, _, day = number.split("/")
        by_platform.setdefault(platform, []).append((np.datetime64(day), height))
    for platform, passes in sorted(by_platform.items()):
        days, heights = zip(*sorted(passes), strict=True)
        axes.plot(np.array(days), heights, "o", markersize=3.5, label=platform)
    low, high = told["observed_low_m"], told["observed_high_m"]
    axes.axhspan(told["lowest_m"], low, color=NOTHING, linewidth=0, label="never seen")
    axes.axhspan(high, told["highest_m"], color=NOTHING, linewidth=0)
    axes.set_ylabel("tide, m above mean sea level")
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
    seen = f"{told['passes']} passes saw {told['spread']:.0%} of the tide range"
    rest = f"{told['offset_low']:.0%} lies below and {told['offset_high']:.0%} above"
    axes.set_title(f"{cell.tile}, {cell.period}: {seen}; {rest}", fontsize="small")
