"""Found lines as tables, a row for each picture and so for each date, and as a picture to look at."""

from collections.abc import Sequence

import geopandas
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from flows.steps.learning.picture_files import LinedPicture, Picture
from flows.steps.learning.shape_files import Frames, by_crs
from flows.steps.pictures.found_shapes import Shown, found_picture, spread
from products.learning.line_scores import FoundLines, deviation_px

Lines = Sequence[NDArray[np.float64]]


def lines_frame(picture: Picture, lines: Lines) -> geopandas.GeoDataFrame:
    """One row: `picture`, `date` (none where its name has none) and the lines in its CRS, or in pixels (x right, y down) where it lies nowhere."""
    placed = [_placed(picture, line) for line in lines]
    shape = shapely.MultiLineString(placed) if placed else None
    columns = {"picture": [picture.name], "date": pd.to_datetime([picture.date or "NaT"])}
    return geopandas.GeoDataFrame(columns, geometry=[shape], crs=picture.crs)


def compared_frames(pictures: Sequence[LinedPicture], answers: Sequence[FoundLines]) -> Frames:
    """By CRS a row for each picture, in the order of group and date, with its group and the mean and median distance to the true lines."""
    order = sorted(range(len(pictures)), key=lambda n: (pictures[n].group, pictures[n].date or "", pictures[n].name))
    return by_crs(_compared(pictures[n], answers[n]) for n in order)


def compared_picture(pictures: Sequence[LinedPicture], answers: Sequence[FoundLines]) -> bytes:
    """A PNG of pictures spread over the folder, true lines in blue, found ones in orange, with the mean distance."""
    shown = []
    for number in spread(len(pictures)):
        picture, answer = pictures[number], answers[number]
        apart = deviation_px(answer)
        far = "none found" if not apart.size else _said(float(apart.mean()), picture.pixel_m)
        title = f"{picture.group}{f', {picture.date}' if picture.date else ''}\n{far}"
        shown.append(Shown(title, picture.bands[:1], answer.true, answer.found))
    return found_picture(shown)


def _compared(picture: LinedPicture, answer: FoundLines) -> geopandas.GeoDataFrame:
    frame, apart = lines_frame(picture, answer.found), deviation_px(answer)
    mean, median = (float(apart.mean()), float(np.median(apart))) if apart.size else (np.nan, np.nan)
    metres = np.nan if picture.pixel_m is None else picture.pixel_m
    frame.insert(1, "group", picture.group)
    for name, value in (
        ("mean_px", mean),
        ("median_px", median),
        ("mean_m", mean * metres),
        ("median_m", median * metres),
    ):
        frame[name] = round(value, 3)
    return frame


def _placed(picture: Picture, line: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.array(picture.affine[:6]).reshape(2, 3)
    return line if picture.crs is None else line @ matrix[:, :2].T + matrix[:, 2]


def _said(distance_px: float, pixel_m: float | None) -> str:
    return f"{distance_px:.1f} px" if pixel_m is None else f"{distance_px * pixel_m:.0f} m"
