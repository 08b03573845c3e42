"""Pictures of what was found in pictures: lines and boxes over the image, and the precision of boxes over their recall."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from flows.steps.pictures.learning import png

SHOWN, ACROSS = 12, 6
SIDE_INCHES = 2.4
TRUE, FOUND = "C0", "C1"  # blue, orange
Outline = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shown:
    """Bands (band, y, x) with a title, and the outlines (n, 2: x, y) in pixels that are true and that were found."""

    title: str
    bands: NDArray[np.float32]
    true: Sequence[Outline]
    found: Sequence[Outline]


def spread(n: int) -> list[int]:
    """The numbers of at most 12 of `n` pictures, spread evenly."""
    return np.unique(np.linspace(0, n - 1, min(SHOWN, n)).astype(int)).tolist()


def found_picture(pictures: Sequence[Shown], across: int = ACROSS) -> bytes:
    """A PNG of pictures side by side, true outlines in blue, found ones in orange."""
    columns = min(across, len(pictures))
    down = -(-len(pictures) // columns)
    tallest = max(each.bands.shape[1] / each.bands.shape[2] for each in pictures)
    figure = Figure(
        figsize=(SIDE_INCHES * columns, (SIDE_INCHES * min(tallest, 2.0) + 0.4) * down), layout="constrained"
    )
    axes = figure.subplots(down, columns, squeeze=False).ravel()
    for place, each in zip(axes, pictures, strict=False):
        rows, width = each.bands.shape[1:]
        place.imshow(as_image(each.bands), cmap="gray", vmin=0, vmax=1, extent=(0, width, rows, 0))
        for outlines, colour in ((each.true, TRUE), (each.found, FOUND)):
            for outline in outlines:
                place.plot(*outline.T, color=colour, linewidth=1.1)
        place.set(xlim=(0, width), ylim=(rows, 0))
        place.set_title(each.title, fontsize=7)
    for place in axes:
        place.set_axis_off()
    return png(figure)


def precision_picture(curves: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]]) -> bytes:
    """A PNG of precision over recall, a line for each name."""
    figure = Figure(figsize=(4.5, 4), layout="constrained")
    axes = figure.subplots()
    for name, recall, precision in curves:
        axes.step(np.concatenate([[0.0], recall]), np.concatenate([[1.0], precision]), where="post", label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(fontsize="small", frameon=False)
    return png(figure)


def box_outlines(boxes: NDArray[np.float64]) -> list[Outline]:
    """The closed outlines of boxes (n, 4: left, top, right, bottom)."""
    return [boxes[n][[[0, 1], [2, 1], [2, 3], [0, 3], [0, 1]]] for n in range(len(boxes))]


def as_image(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first three bands (y, x, 3), or the first (y, x), between their percentiles 2 and 98; black where missing."""
    chosen = bands[:3] if len(bands) >= 3 else bands[:1]
    low, high = (np.nanpercentile(chosen, share, axis=(1, 2), keepdims=True) for share in (2, 98))
    scaled = np.nan_to_num((chosen - low) / np.where(high > low, high - low, 1)).clip(0, 1).astype(np.float32)
    return scaled.transpose(1, 2, 0) if len(chosen) == 3 else scaled[0]
