"""The quicklook of a map, with its legend."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.pictures.learning import png

MOST_PX = 1200
NO_DATA = (235, 235, 235)


def map_picture(
    codes: NDArray[np.uint8],
    geobox: GeoBox,
    class_names: Sequence[str],
    colours: Mapping[int, tuple[int, int, int]],
    title: str,
) -> bytes:
    """The class codes (y, x) in their colours as a PNG, thinned to at most 1200 pixels a side."""
    step = max(1, -(-max(codes.shape) // MOST_PX))
    palette = np.full((256, 3), NO_DATA, np.uint8)
    for code, colour in colours.items():
        palette[code] = colour
    box = geobox.extent.boundingbox
    figure = Figure(figsize=(7, 6.4), layout="constrained")
    axes = figure.subplots()
    frame = (box.left / 1000, box.right / 1000, box.bottom / 1000, box.top / 1000)
    axes.imshow(palette[codes[::step, ::step]], extent=frame, interpolation="nearest")
    axes.set(title=title, xlabel=f"easting, km ({geobox.crs})", ylabel="northing, km")
    entries = [(name, colours[code]) for code, name in enumerate(class_names, start=1)]
    if (codes == 0).any():
        entries.append(("no data", NO_DATA))
    handles = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*colour), edgecolor="grey", label=name) for name, colour in entries
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return png(figure)
