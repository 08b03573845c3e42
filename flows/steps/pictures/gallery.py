"""A picture of every feature of a cube, side by side."""

import io
import math

import numpy as np
import xarray
from matplotlib.figure import Figure

from flows.steps.pictures.cube import thinned, with_scenes
from flows.steps.pictures.times import passes_picture, series_picture
from products.errors import RequestError

COLUMNS = 6
TILE_PX = 160


def picture_of_kind(cube: xarray.Dataset) -> tuple[bytes, dict[str, int]]:
    """The PNG that shows a cube of features, passes or a series, and how many of what it holds; RequestError for a map of classes."""
    if "reflectance" in cube:
        return passes_picture(cube), {"passes": cube.sizes["time"]}
    if "series" in cube:
        return series_picture(cube), {"features": cube.sizes["feature"], "steps": cube.sizes["time"]}
    if "features" not in cube:
        name = cube.attrs.get("neocube:product", "the cube")
        raise RequestError(
            f"{name} has no features to draw, as it is a map of classes: its picture lies beside its GeoTIFFs"
        )
    return gallery_picture(cube), {"features": cube.sizes["feature"]}


def gallery_picture(cube: xarray.Dataset) -> bytes:
    """A PNG of all features of a cube's last cell, each between its 2nd and 98th percentile, written beneath its name; white is missing."""
    features = with_scenes(cube)["features"]
    names = [str(name) for name in features["feature"].values]
    rows = math.ceil(len(names) / COLUMNS)
    figure = Figure(figsize=(COLUMNS * 1.75, rows * 2.05), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, COLUMNS, squeeze=False)).ravel()
    for place, name in zip(axes, names, strict=False):
        values = thinned(features.sel(feature=name), TILE_PX)
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, [2, 98]) if known.size else (0.0, 1.0)
        place.imshow(values, cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
        place.set_title(f"{name}\n{low:.3g} to {high:.3g}" if known.size else f"{name}\nno value", fontsize=6.5)
    for place in axes:
        place.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=64, metadata={"Software": None}, pil_kwargs={"optimize": True})
    return buffer.getvalue()
