"""Pictures of cubes along time: passes with the causes of their pixels, and series as maps and as courses of single pixels."""

import math

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Patch
from numpy.typing import NDArray

from flows.steps.pictures.cube import NOTHING, as_periods, with_scenes
from flows.steps.pictures.learning import png
from products.pixel.causes import NOT_EXPECTED, Cause
from products.sensors import SENSORS

ACROSS = 6
MOST_PASSES = 12
MAP_PX = 90
LEVELS = 10  # of each colour, which keeps the file small
EDGE_SHARE = 0.08  # of a map's sides: no place lies nearer to the edge
COLOURS = ("C0", "C1", "C3")
LETTER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}
BANDS = {band for sensor in SENSORS.values() for band in sensor.reflectance}
CAUSE_COLOURS = {
    Cause.USED: "#8cc98a", Cause.UNREAD: "#d0309a", Cause.NODATA: "#303030", Cause.CLOUD: "#ffffff", Cause.SHADOW: "#4a5a7a",
    Cause.CIRRUS: "#a9d4ee", Cause.SNOW: "#2fc4d6", Cause.SATURATED: "#f4e04d", Cause.DILATED: "#f0a35e",
    Cause.OUT_OF_RANGE: "#c0392b", Cause.SLC_GAP: "#8d6e63", Cause.PERSISTENT_CLOUD: "#d9b3e6",
}  # fmt: skip


def passes_picture(cube: xarray.Dataset, heading: str = "") -> bytes:
    """A PNG of at most twelve passes, spread evenly: each in red, green and blue (else its first band), and beneath it the cause of every pixel.

    All have the same colours, square roots between the 2nd and 98th percentile of what is used.
    """
    part = _seen_ground(cube)
    chosen = _spread(part.sizes["time"], MOST_PASSES)
    part = part.isel(time=chosen).load()
    names = [str(name) for name in part["band"].values]
    bands = ["red", "green", "blue"] if {"red", "green", "blue"} <= set(names) else names[:1] * 3
    cause, colours = part["cause"].values, _as_colours(part["reflectance"].sel(band=bands).values, part["cause"].values)
    down = math.ceil(len(chosen) / ACROSS)
    figure = Figure(figsize=(ACROSS * 1.35, down * 3.0 + 0.7), layout="constrained")
    axes = figure.subplots(2 * down, ACROSS, squeeze=False)
    palette = ListedColormap([*CAUSE_COLOURS.values(), NOTHING])
    for number in range(len(chosen)):
        upper, lower = (axes[2 * (number // ACROSS) + below, number % ACROSS] for below in (0, 1))
        upper.imshow(colours[number], interpolation="nearest")
        codes = np.where(cause[number] == NOT_EXPECTED, len(CAUSE_COLOURS), cause[number])
        lower.imshow(codes, cmap=palette, vmin=0, vmax=len(CAUSE_COLOURS), interpolation="nearest")
        seen = part.isel(time=number)
        upper.set_title(f"{np.datetime_as_string(seen['time'].values, 'D')}\n{seen['platform'].item()}", fontsize=7)
    _without_frames(axes, len(chosen), down)
    there = set(np.unique(cause).tolist())
    patches = [
        Patch(facecolor=colour, edgecolor="grey", label=each.name.lower().replace("_", " "))
        for each, colour in CAUSE_COLOURS.items()
        if int(each) in there
    ]
    nowhere = [Patch(facecolor=NOTHING, edgecolor="grey", label="not covered")] if NOT_EXPECTED in there else []
    columns = math.ceil(len(patches + nowhere) / 2)
    figure.legend(handles=patches + nowhere, loc="outside lower center", ncols=columns, frameon=False, fontsize="small")
    said = f"{len(chosen)} of {cube.sizes['time']} passes"
    figure.suptitle(f"{heading}: {said}" if heading else said, fontsize=9)
    return png(figure)


def over_ground(cube: xarray.Dataset) -> xarray.Dataset:
    """The passes of a cube that any pixel of it was under; all where none was."""
    is_over = (cube["cause"] != NOT_EXPECTED).any(["y", "x"]).values
    return cube.isel(time=np.flatnonzero(is_over)) if is_over.any() else cube


def series_picture(cube: xarray.Dataset, heading: str = "") -> bytes:
    """A PNG of the last feature at six steps, and of the course of every feature at three pixels, from west to east.

    Dots are steps with an observation.
    """
    part = _seen_ground(cube).load()
    names = [str(name) for name in part["feature"].values]
    shown = places(part)
    down = math.ceil(len(names) / 2)
    figure = Figure(figsize=(8.4, 1.7 + 1.9 * down), layout="constrained")
    if heading:
        figure.suptitle(heading)
    halves = figure.add_gridspec(2, 1, height_ratios=[1.5, 1.9 * down + 0.2])
    above, below = (figure.add_subfigure(halves[number]) for number in (0, 1))
    _draw_maps(above, part, names[-1], shown)
    panels = below.subplots(down, min(2, len(names)), squeeze=False, sharex=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw_courses(axes, part, name, shown)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    below.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return png(figure)


def _draw_maps(figure: FigureBase, part: xarray.Dataset, name: str, chosen: dict[str, tuple[int, int]]) -> None:
    layers = part["series"].sel(feature=name)
    known = layers.values[np.isfinite(layers.values)]
    low, high = np.percentile(known, [2, 98]) if known.size else (0.0, 1.0)
    steps = _spread(part.sizes["time"], ACROSS)
    axes = figure.subplots(1, ACROSS)
    for place, step in zip(axes, steps, strict=False):
        shown = place.imshow(layers.values[step], cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
        place.set_title(f"from {np.datetime_as_string(part['time'].values[step], 'D')}", fontsize=7)
        for (letter, (row, column)), colour in zip(chosen.items(), COLOURS, strict=False):
            place.plot(column, row, "o", markersize=3, color=colour, markeredgecolor="white", markeredgewidth=0.6)
            place.annotate(letter, (column, row), (4, -2), textcoords="offset points", fontsize=7, bbox=LETTER)
    for place in axes:
        place.set_axis_off()
    figure.colorbar(shown, ax=axes, shrink=0.8, label=name)


def _draw_courses(axes: Axes, part: xarray.Dataset, name: str, chosen: dict[str, tuple[int, int]]) -> None:
    middles = part["time"].values + (part["time_end"].values - part["time"].values) // 2
    for (letter, (row, column)), colour in zip(chosen.items(), COLOURS, strict=False):
        pixel = part.isel(y=row, x=column)
        values, is_seen = pixel["series"].sel(feature=name).values, pixel["observed"].values > 0
        label = f"{letter}: {pixel['x'].item() / 1000:.2f} km east, {pixel['y'].item() / 1000:.2f} km north"
        axes.plot(middles, values, linewidth=1, color=colour, label=label)
        axes.plot(middles[is_seen], values[is_seen], "o", markersize=3, color=colour)
    axes.set_ylabel(f"{name}, reflectance" if name in BANDS else name)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]


def places(part: xarray.Dataset) -> dict[str, tuple[int, int]]:
    """Row and column of a pixel in the western, the middle and the eastern third: of those with a value in every step the one most often seen.

    Of equals the middle one, away from the edge of the map.
    """
    values, n_seen = part["series"].isel(feature=-1).values, (part["observed"].values > 0).sum(axis=0)
    is_whole = np.isfinite(values).all(axis=0)
    height, width = is_whole.shape
    rows, columns = (max(1, int(EDGE_SHARE * side)) for side in (height, width))
    is_whole[:rows] = is_whole[height - rows :] = is_whole[:, :columns] = is_whole[:, width - columns :] = False
    found = {}
    for third, letter in enumerate("ABC"):
        is_there = is_whole & (np.arange(width) * 3 // width == third)
        if is_there.any():
            best = np.flatnonzero(is_there & (n_seen == n_seen[is_there].max()))
            row, column = divmod(int(best[best.size // 2]), width)
            found[letter] = (row, column)
    return found


def _seen_ground(cube: xarray.Dataset) -> xarray.Dataset:
    """The rows and columns over which any scene lay, every n-th so that no side is longer than a map."""
    seen = with_scenes(as_periods(cube))
    step = max(1, -(-max(seen.sizes["y"], seen.sizes["x"]) // MAP_PX))
    return cube.sel(y=seen["y"].values, x=seen["x"].values).isel(y=slice(None, None, step), x=slice(None, None, step))


def _spread(n: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, n - 1, min(most, n)).astype(int)).tolist()


def _as_colours(layers: NDArray[np.float32], cause: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(time, y, x, 4) in 0 to 1, of layers (time, band, y, x); without colour where nothing is known."""
    stack = np.moveaxis(layers, 1, -1)
    is_known = np.asarray(np.isfinite(stack).all(axis=-1))
    used = stack[(cause == Cause.USED) & is_known]
    used = used if used.size else stack[is_known]
    low, high = np.percentile(used, [2, 98], axis=0) if used.size else (np.zeros(3), np.ones(3))
    scaled = (
        np.round(LEVELS * np.sqrt(np.clip((np.nan_to_num(stack) - low) / np.maximum(high - low, 1e-6), 0, 1))) / LEVELS
    )
    return np.concatenate([scaled, is_known[..., None]], axis=-1).astype(np.float32)


def _without_frames(axes: NDArray[np.object_], n_shown: int, down: int) -> None:
    """Panels keep their edge, but no ticks; those beyond what is shown are left out."""
    for number in range(down * ACROSS):
        for below in (0, 1):
            place = axes[2 * (number // ACROSS) + below, number % ACROSS]
            if number >= n_shown:
                place.set_axis_off()
            place.set(xticks=[], yticks=[])
            place.set_facecolor(NOTHING)
