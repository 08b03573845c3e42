"""A picture of every feature of a cube, side by side."""

import io
import math
from collections.abc import Sequence

import numpy as np
import xarray
from matplotlib import image
from matplotlib.figure import Figure

from flows.steps.pictures.cube import place_of, thinned, with_scenes
from flows.steps.pictures.times import over_ground, passes_picture, series_picture
from products.errors import RequestError

COLUMNS = 6
TILE_PX = 160


def picture_of_kind(*sites: xarray.Dataset) -> tuple[bytes, dict[str, int]]:
    """The PNG that shows a cube of features, passes or a series, of several sites one below the other, and how many of what it holds.

    RequestError for a map of classes.
    """
    cube, headings = sites[0], [place_of(site) if len(sites) > 1 else "" for site in sites]
    if "reflectance" in cube:
        parts = [over_ground(site) for site in sites] if len(sites) > 1 else sites
        pictures = [passes_picture(part, heading) for part, heading in zip(parts, headings, strict=True)]
        return _below_each_other(pictures), {"passes": cube.sizes["time"]}
    if "series" in cube:
        pictures = [series_picture(site, heading) for site, heading in zip(sites, headings, strict=True)]
        return _below_each_other(pictures), {"features": cube.sizes["feature"], "steps": cube.sizes["time"]}
    if "features" not in cube:
        name = cube.attrs.get("neocube:product", "the cube")
        raise RequestError(
            f"{name} has no features to draw, as it is a map of classes: its picture lies beside its GeoTIFFs"
        )
    pictures = [gallery_picture(site, heading) for site, heading in zip(sites, headings, strict=True)]
    return _below_each_other(pictures), {"features": cube.sizes["feature"]}


def _below_each_other(pictures: Sequence[bytes]) -> bytes:
    """PNGs of one width as one; one as it is."""
    if len(pictures) == 1:
        return pictures[0]
    shown = [image.imread(io.BytesIO(picture), format="png") for picture in pictures]
    buffer = io.BytesIO()
    image.imsave(buffer, np.concatenate(shown), format="png", metadata={"Software": "neocube"})
    return buffer.getvalue()


def gallery_picture(cube: xarray.Dataset, heading: str = "") -> bytes:
    """A PNG of all features of a cube's last cell, each between its 2nd and 98th percentile, written beneath its name; white is missing."""
    features = with_scenes(cube)["features"]
    names = [str(name) for name in features["feature"].values]
    rows = math.ceil(len(names) / COLUMNS)
    figure = Figure(figsize=(COLUMNS * 1.75, rows * 2.05), layout="constrained")
    if heading:
        figure.suptitle(heading)
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
