"""The picture of a preview: the composite beside how often each pixel was seen clearly."""

import io

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from flows.steps.pictures.cube import NOTHING


def preview_picture(composite: NDArray[np.float32], n_used: NDArray[np.uint16], title: str) -> bytes:
    """A PNG of two or three layers (layer, y, x), 2nd to 98th percentile, and of counts (y, x); grey where nothing was clear."""
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.set_facecolor(NOTHING)
    left.imshow(_colours(composite), interpolation="nearest")
    shown = right.imshow(np.ma.masked_equal(n_used, 0), cmap="YlGnBu", vmin=0, interpolation="nearest")
    right.set_facecolor(NOTHING)
    figure.colorbar(shown, ax=right, label="clear observations", shrink=0.8)
    for axes in (left, right):
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(title.replace("$", r"\$"), fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return buffer.getvalue()


def _colours(composite: NDArray[np.float32]) -> NDArray[np.float32]:
    """Red, green, blue and opacity (y, x, 4) in 0 to 1."""
    is_known = np.asarray(np.isfinite(composite).all(axis=0))
    layers = composite[[0, 1, 2]] if len(composite) > 2 else composite[[0, 0, 1]]
    if is_known.any():
        low, high = np.percentile(layers[:, is_known], [2, 98], axis=1)
        spread = np.maximum(high - low, 1e-6)[:, None, None]
        layers = np.sqrt(np.clip((layers - low[:, None, None]) / spread, 0, 1))
    return np.moveaxis(np.concatenate([np.nan_to_num(layers), is_known[None]]), 0, -1).astype(np.float32)
