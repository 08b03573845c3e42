"""Found boxes as tables of polygons, and as pictures to look at."""

from collections.abc import Iterator, Sequence

import geopandas
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from flows.steps.learning.shape_files import Frames, by_crs
from flows.steps.pictures.found_shapes import Shown, box_outlines, found_picture, precision_picture, spread
from products.learning.box_recipe import BoxRecipe
from products.learning.boxes import BoxedPicture, on_ground
from products.learning.detection_scores import Detections, average_precision, recall_and_precision

Place = tuple[Affine, CRS | None]
Answer = tuple[Detections, NDArray[np.int64]]
SHOWN_ACROSS = 4


def found_boxes(
    cut: Sequence[tuple[BoxedPicture, Place]], answers: Sequence[Answer], class_names: Sequence[str], keep_above: float
) -> Frames:
    """By CRS (`pixels`: none) the boxes found with a confidence above `keep_above` as polygons, with picture, class and confidence."""
    return by_crs(_frames(cut, answers, class_names, keep_above))


def boxes_picture(pictures: Sequence[BoxedPicture], answers: Sequence[Answer], keep_above: float) -> bytes:
    """A PNG of pictures spread over the folder, true boxes in blue, found ones in orange, with their average precision where there are true ones."""
    shown = []
    for number in spread(len(pictures)):
        picture, (found, _) = pictures[number], answers[number]
        sure = found.found_boxes[found.confidence > keep_above]
        precision = average_precision([found])
        said = f"{len(sure)} found" if precision is None else f"AP 0.50: {precision:.2f}"
        title = f"{picture.name}\n{said}"
        shown.append(Shown(title, picture.bands, box_outlines(picture.boxes), box_outlines(sure)))
    return found_picture(shown, SHOWN_ACROSS)


def precision_curves(pictures: Sequence[BoxedPicture], answers: Sequence[Answer], recipe: BoxRecipe) -> bytes:
    """A PNG of precision over recall at an overlap of 0.5: of all boxes, and of each class where there are several."""
    parts = {"all": [found for found, _ in answers]}
    if len(recipe.class_names) > 1:
        pairs = list(zip(pictures, answers, strict=True))
        for code, name in enumerate(recipe.class_names, start=1):
            parts[name] = [of_class(answer, picture.codes, code) for picture, answer in pairs]
    curves = {name: recall_and_precision(part) for name, part in parts.items()}
    return precision_picture([(name, *curve) for name, curve in curves.items() if curve])


def of_class(answer: Answer, true_codes: NDArray[np.int64], code: int) -> Detections:
    """The true and the found boxes of one class."""
    found, codes = answer
    is_it = codes == code
    return Detections(found.true_boxes[true_codes == code], found.found_boxes[is_it], found.confidence[is_it])


def _frames(
    cut: Sequence[tuple[BoxedPicture, Place]], answers: Sequence[Answer], class_names: Sequence[str], keep_above: float
) -> Iterator[geopandas.GeoDataFrame]:
    for (picture, (affine, crs)), (detections, codes) in zip(cut, answers, strict=True):
        sure = detections.confidence > keep_above
        moved = (affine if crs else Affine.identity()) @ Affine.translation(picture.left_px, 0)
        columns = {
            "picture": [picture.name] * int(sure.sum()),
            "class": [class_names[code - 1] for code in codes[sure]],
            "confidence": detections.confidence[sure].round(4),
        }
        yield geopandas.GeoDataFrame(columns, geometry=on_ground(detections.found_boxes[sure], moved), crs=crs)
