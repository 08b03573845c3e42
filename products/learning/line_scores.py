"""How well lines are found: distances between found and true ones, how often none is found, and how much of them agrees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from products.errors import RequestError

Float64 = npt.NDArray[np.float64]
SPACING_PX = 0.5


@dataclass(frozen=True, slots=True)
class FoundLines:
    """True and found lines of one picture, each (n, 2: x, y) in pixels; `pixel_m` is the side of a pixel in metres, None where the picture lies nowhere."""

    name: str
    group: str
    true: Sequence[Float64]
    found: Sequence[Float64]
    pixel_m: float | None = None

    def __post_init__(self) -> None:
        if not self.true:
            raise RequestError(f"the picture {self.name} has no true line: expected one or more to compare with")


def distances_px(picture: FoundLines) -> tuple[Float64, Float64]:
    """From points every half pixel along the true lines to the nearest found one, (n,), and from the found to the true, (m,); empty without a found line."""
    if not picture.found:
        return np.empty(0), np.empty(0)
    true, found = _joined(picture.true), _joined(picture.found)
    return shapely.distance(_points(true), found), shapely.distance(_points(found), true)


def deviation_px(picture: FoundLines) -> Float64:
    """All distances of a picture, of both directions: what Gourmelon et al. 2022 (ESSD 14, 4287) average, and Cheng et al. 2021 (Cryosphere 15, 1663)."""
    return np.concatenate(distances_px(picture))


def line_scores(pictures: Sequence[FoundLines], tolerance_px: float, failure_px: float) -> dict[str, Any]:
    """Mean and median distance over all pictures where a line is found, pixels and metres, and the share of pictures that fail.

    A picture fails where nothing is found, or on average further than `failure_px` from the truth. Completeness is the share of the true length with a found
    line within `tolerance_px`, correctness the share of the found length with a true one (Heipke et al. 1997, IAPRS 32, 151).
    """
    apart = [distances_px(picture) for picture in pictures]
    both = [np.concatenate(each) for each in apart]
    is_found = [bool(picture.found) for picture in pictures]
    far = [bool(each.size) and float(each.mean()) > failure_px for each in both]
    metres = [each * picture.pixel_m for each, picture in zip(both, pictures, strict=True) if picture.pixel_m]
    return {
        "pictures": len(pictures),
        "not_found": is_found.count(False),
        "far": far.count(True),
        "failure_rate": _rounded((is_found.count(False) + far.count(True)) / len(pictures)) if pictures else None,
        **_mean_and_median(both, "px"),
        **_mean_and_median(metres, "m"),
        "completeness": _share(_along(pictures, apart), tolerance_px),
        "correctness": _share([of_found for _, of_found in apart], tolerance_px),
    }


def by_group(pictures: Sequence[FoundLines], tolerance_px: float, failure_px: float) -> dict[str, dict[str, Any]]:
    """The `line_scores` of the pictures of each group, by its name."""
    names = sorted({picture.group for picture in pictures})
    return {
        name: line_scores([each for each in pictures if each.group == name], tolerance_px, failure_px) for name in names
    }


def _along(pictures: Sequence[FoundLines], apart: Sequence[tuple[Float64, Float64]]) -> list[Float64]:
    """Distances from the true lines, endless where nothing is found."""
    return [
        of_true if picture.found else np.full(_points(_joined(picture.true)).size, np.inf)
        for picture, (of_true, _) in zip(pictures, apart, strict=True)
    ]


def _mean_and_median(parts: Sequence[Float64], unit: str) -> dict[str, float | None]:
    values = np.concatenate([*parts, np.empty(0)])
    mean, median = (values.mean(), np.median(values)) if values.size else (None, None)
    return {f"mean_{unit}": _rounded(mean), f"median_{unit}": _rounded(median)}


def _share(parts: Sequence[Float64], tolerance_px: float) -> float | None:
    values = np.concatenate([*parts, np.empty(0)])
    return _rounded(np.mean(values <= tolerance_px)) if values.size else None


def _joined(lines: Sequence[Float64]) -> shapely.MultiLineString:
    return shapely.MultiLineString([shapely.LineString(line) for line in lines])


def _points(lines: shapely.MultiLineString) -> npt.NDArray[Any]:
    """The middles of equal pieces of at most SPACING_PX of each line."""
    parts = []
    for line in lines.geoms:
        n = max(1, int(np.ceil(line.length / SPACING_PX)))
        parts.append(shapely.line_interpolate_point(line, (np.arange(n) + 0.5) / n, normalized=True))
    return np.concatenate(parts)


def _rounded(value: Any) -> float | None:  # noqa: ANN401
    return None if value is None else round(float(value), 4)
