"""Learn a detector from pictures with boxes, try it on pictures that it never saw, and keep boxes, network and card in the store."""

import hashlib
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid5

import geopandas
import numpy as np
import pandas as pd
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from flows.steps.learning.box_files import image_paths, label_path, read_boxed
from flows.steps.learning.left_out import CARD_TEXT, PictureModelFiles, answered_in_turn, dealt
from flows.steps.learning.network_training import TrainingRoom
from flows.steps.networks.deep_packages import require_deep
from flows.steps.storage import Storage
from products.identity import NAMESPACE
from products.learning.box_card import box_card, box_notes
from products.learning.box_recipe import BoxRecipe
from products.learning.boxes import BoxedPicture, in_strips, on_ground
from products.learning.detection_scores import Detections, detection_scores
from products.scene_recipe import canonical_digest

if TYPE_CHECKING:
    from flows.steps.networks.detector import Detector

BOXES_VERSION = "boxes-1"
LAYER = "boxes"
Place = tuple[Affine, CRS | None]
Tell = Callable[[str], None]
Answer = tuple[Detections, NDArray[np.int64]]


def learn_boxes(
    storage: Storage, recipe: BoxRecipe, folder: Path, room: TrainingRoom, device: Literal["cpu", "gpu"], tell: Tell | None = None
) -> dict[str, Any]:  # fmt: skip
    """`model`, `name`, `metrics`, `notes` and `card` of a recipe on a folder of pictures; read from the card where the same was learned before."""
    require_deep()
    placed = read_boxed(folder, recipe.boxes)
    number = _number(recipe, folder, [picture.name for picture, _, _ in placed])
    files = PictureModelFiles(storage, LAYER, recipe.name, number)
    if known := files.known():
        return known
    cut = [(part, (affine, crs)) for picture, affine, crs in placed for part in in_strips(picture, recipe.boxes.strips)]
    pictures = [part for part, _ in cut]

    def train(chosen: list[int], part: str) -> tuple["Detector", dict[str, Any]]:
        return _trained([pictures[n] for n in chosen], recipe, room, device, f"{number}/{part}", tell)

    parts = dealt([each.name for each in pictures], recipe.folds)
    answers, detector, told = answered_in_turn(parts, train, lambda model, n: model.found(pictures[n]))
    n_lost = sum(len(picture.boxes) for picture, _, _ in placed) - sum(len(each.boxes) for each in pictures)
    metrics = box_metrics(pictures, answers, recipe.class_names)
    metrics |= {"folds": len(parts), "boxes_cut": n_lost, "training": told}
    notes = box_notes(recipe, metrics)
    card = box_card(recipe, str(number), folder.name, notes, metrics, detector.describe())
    maps = {f"{LAYER}-{name}.gpkg": _geopackage(frame) for name, frame in found_boxes(cut, answers, recipe).items()}
    written = {"detector.safetensors": detector.to_bytes(), CARD_TEXT: card.encode(), **maps}
    document = files.publish(recipe, metrics, notes, written, {LAYER: [files.path(name) for name in maps]})
    room.forget(number)
    return document


def box_metrics(
    pictures: Sequence[BoxedPicture], answers: Sequence[Answer], class_names: Sequence[str]
) -> dict[str, Any]:
    """Average precision of all pictures without regard to class, of each class where there are several, and of each picture."""
    pairs = list(zip(pictures, answers, strict=True))
    by_class = {
        name: detection_scores([_of_class(answer, picture.codes, code) for picture, answer in pairs])
        for code, name in enumerate(class_names, start=1)
    }
    return {
        "pictures": len(pairs),
        "all": detection_scores([found for found, _ in answers]),
        "by_class": by_class if len(class_names) > 1 else {},
        "by_picture": {picture.name: detection_scores([found]) for picture, (found, _) in pairs},
    }


def found_boxes(
    cut: Sequence[tuple[BoxedPicture, Place]], answers: Sequence[Answer], recipe: BoxRecipe
) -> dict[str, geopandas.GeoDataFrame]:
    """By CRS (`pixels`: none) the found boxes as polygons, with picture, class and confidence."""
    frames: dict[str, list[geopandas.GeoDataFrame]] = {}
    for (picture, (affine, crs)), (detections, codes) in zip(cut, answers, strict=True):
        sure = detections.confidence > recipe.boxes.keep_above
        moved = (affine if crs else Affine.identity()) @ Affine.translation(picture.left_px, 0)
        columns = {
            "picture": [picture.name] * int(sure.sum()),
            "class": [recipe.class_names[code - 1] for code in codes[sure]],
            "confidence": detections.confidence[sure].round(4),
        }
        shapes = on_ground(detections.found_boxes[sure], moved)
        frames.setdefault(_name_of(crs), []).append(geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()}


def _name_of(crs: CRS | None) -> str:
    """Of a CRS, fit for a file's name."""
    if crs is None:
        return "pixels"
    return "-".join(crs.to_authority() or (hashlib.sha256(crs.to_wkt().encode()).hexdigest()[:8],)).lower()


def _of_class(answer: Answer, true_codes: NDArray[np.int64], code: int) -> Detections:
    found, codes = answer
    is_it = codes == code
    return Detections(found.true_boxes[true_codes == code], found.found_boxes[is_it], found.confidence[is_it])


def _geopackage(frame: geopandas.GeoDataFrame) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # of boxes in pixels
        path = Path(folder) / "boxes.gpkg"
        frame.to_file(path, layer=LAYER, driver="GPKG", geometry_type="Polygon")
        return path.read_bytes()


def _number(recipe: BoxRecipe, folder: Path, names: Sequence[str]) -> UUID:
    files = [
        path
        for name in names
        for path in (*image_paths(folder, name, recipe.boxes), label_path(folder, name, recipe.boxes))
    ]
    digests = sorted((path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files)
    said = {"model": recipe.name, "version": recipe.version, "recipe": recipe.digest(), "learning": BOXES_VERSION}
    return uuid5(NAMESPACE, canonical_digest({**said, "pictures": digests}))


def _trained(
    pictures: Sequence[BoxedPicture], recipe: BoxRecipe, room: TrainingRoom, device: Literal["cpu", "gpu"], training: str, tell: Tell | None
) -> tuple["Detector", dict[str, Any]]:  # fmt: skip
    from flows.steps.networks.detector import train_detector
    from flows.steps.networks.training_loop import TrainingPlace

    place = TrainingPlace(room.folder / training, device, room.devices, room.nodes)
    return train_detector(pictures, recipe.retinanet, recipe.class_names, recipe.seed, place, training, tell)
