"""Found lines as GeoJSON, one feature a picture, and as a picture to look at."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pyproj import Transformer

from flows.steps.learning.picture_files import Picture
from flows.steps.pictures.learning import png
from products.learning.line_scores import FoundLines, deviation_px

SHOWN, ACROSS = 12, 6
DIGITS = {"lonlat": 7, "pixels": 1}


def lines_document(pictures: Sequence[Picture], answers: Sequence[FoundLines]) -> dict[str, Any]:
    """A feature collection: the lines of each picture with its date, in degrees, or in pixels (x right, y down) where it lies nowhere.

    `coordinates` of a feature says which; a picture without a found line has no geometry.
    """
    features = [_feature(picture, answer) for picture, answer in zip(pictures, answers, strict=True)]
    return {"type": "FeatureCollection", "features": features}


def found_picture(pictures: Sequence[Picture], answers: Sequence[FoundLines]) -> bytes:
    """A PNG of the first band of pictures spread over the folder, true lines in blue, found ones in orange."""
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(SHOWN, len(pictures))).astype(int))
    down = -(-len(chosen) // ACROSS)
    figure = Figure(figsize=(2.2 * ACROSS, 3.1 * down), layout="constrained")
    axes = figure.subplots(down, ACROSS, squeeze=False).ravel()
    for place, number in zip(axes, chosen, strict=False):
        picture, answer = pictures[number], answers[number]
        place.imshow(picture.bands[0], cmap="gray", extent=(0, picture.bands.shape[2], picture.bands.shape[1], 0))
        for lines, colour in ((answer.true, "C0"), (answer.found, "C1")):
            for line in lines:
                place.plot(*line.T, color=colour, linewidth=1.2)
        apart = deviation_px(answer)
        said = f"{apart.mean():.1f} px" if apart.size else "not found"
        place.set_title(f"{picture.group}, {picture.date or ''}\n{said}", fontsize=7)
    for place in axes:
        place.set_axis_off()
    return png(figure)


def _feature(picture: Picture, answer: FoundLines) -> dict[str, Any]:
    apart, unit = deviation_px(answer), "lonlat" if picture.crs else "pixels"
    said = {
        "picture": picture.name,
        "group": picture.group,
        "date": picture.date,
        "mean_px": round(float(apart.mean()), 3) if apart.size else None,
        "coordinates": unit,
    }
    lines = [np.round(_placed(picture, line), DIGITS[unit]).tolist() for line in answer.found]
    geometry = {"type": "MultiLineString", "coordinates": lines} if lines else None
    return {"type": "Feature", "properties": said, "geometry": geometry}


def _placed(picture: Picture, line: NDArray[np.float64]) -> NDArray[np.float64]:
    if picture.crs is None:
        return line
    x, y = picture.affine @ (line[:, 0], line[:, 1])
    return np.stack(Transformer.from_crs(picture.crs, "EPSG:4326", always_xy=True).transform(x, y), axis=1)
