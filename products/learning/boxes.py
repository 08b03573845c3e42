"""Boxes in pictures: cut with them, turned with them, drawn around by chance, and put on the map."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from shapely.affinity import affine_transform

Floats = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BoxedPicture:
    """Bands (band, y, x), NaN where missing, with boxes (n, 4: left, top, right, bottom, pixels) and their class codes, (n,).

    `left_px` is the first column of a strip in its picture.
    """

    name: str
    bands: Floats
    boxes: Float64
    codes: Codes
    left_px: int = 0


def in_strips(picture: BoxedPicture, n: int) -> list[BoxedPicture]:
    """The picture in `n` strips from left to right; a box across a cut is in none of them."""
    if n == 1:
        return [picture]
    cuts = np.linspace(0, picture.bands.shape[2], n + 1).astype(int)
    found = []
    for number, (left, right) in enumerate(pairwise(cuts.tolist()), start=1):
        inside = (picture.boxes[:, 0] >= left) & (picture.boxes[:, 2] <= right)
        boxes = picture.boxes[inside] - [left, 0, left, 0]
        name = f"{picture.name}, strip {number}"
        found.append(BoxedPicture(name, picture.bands[:, :, left:right], boxes, picture.codes[inside], left))
    return found


def crop(picture: BoxedPicture, side_px: int, draw: np.random.Generator) -> BoxedPicture:
    """A square of the picture, every other one on a box; NaN beyond its edges, and the boxes of which at least half is in it, cut off at its edges."""
    rows, columns = picture.bands.shape[1:]
    if len(picture.boxes) and draw.random() < 0.5:
        box = picture.boxes[draw.integers(len(picture.boxes))]
        middle = (box[:2] + box[2:]) / 2 + draw.uniform(-side_px / 3, side_px / 3, 2)
        left, top = (middle - side_px / 2).astype(int)
    else:
        left, top = (int(draw.integers(0, max(1, length - side_px + 1))) for length in (columns, rows))
    left, top = int(np.clip(left, 0, max(0, columns - side_px))), int(np.clip(top, 0, max(0, rows - side_px)))
    cut = picture.bands[:, top : top + side_px, left : left + side_px]
    bands = np.full((len(cut), side_px, side_px), np.nan, np.float32)
    bands[:, : cut.shape[1], : cut.shape[2]] = cut
    moved = picture.boxes - [left, top, left, top]
    clipped = moved.clip(0, side_px)
    kept = _areas(clipped) >= 0.5 * _areas(moved)
    kept &= ((clipped[:, 2:] - clipped[:, :2]) >= 1).all(axis=1)
    return BoxedPicture(picture.name, bands, clipped[kept], picture.codes[kept])


def turned(picture: BoxedPicture, flips: bool, turns: bool, draw: np.random.Generator) -> BoxedPicture:
    """A square picture mirrored and turned by quarters, by chance."""
    bands, boxes = picture.bands, picture.boxes
    side = bands.shape[2]
    if flips and draw.random() < 0.5:
        bands, boxes = (
            bands[:, :, ::-1],
            np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], 1),
        )
    for _ in range(int(draw.integers(4)) if turns else 0):
        bands = np.rot90(bands, 1, (1, 2))
        boxes = np.stack([boxes[:, 1], side - boxes[:, 2], boxes[:, 3], side - boxes[:, 0]], 1)
    return BoxedPicture(picture.name, np.ascontiguousarray(bands), boxes, picture.codes)


def on_ground(boxes: Float64, affine: Affine) -> list[shapely.Polygon]:
    """The boxes as polygons in the coordinates of the map; a picture that is turned turns them."""
    placed: Sequence[Any] = [affine_transform(shapely.box(*box), affine.to_shapely()) for box in boxes]
    return list(placed)


def _areas(boxes: Float64) -> Float64:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
