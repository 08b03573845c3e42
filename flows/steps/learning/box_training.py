"""Learn a detector from pictures with boxes, try it on pictures that it never saw, and keep boxes, network and card in the store."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
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
from flows.steps.learning.line_training import Tell, dealt
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
Answer = tuple[Detections, NDArray[np.int64]]


def learn_boxes(
    storage: Storage, recipe: BoxRecipe, folder: Path, room: TrainingRoom, device: Literal["cpu", "gpu"], tell: Tell | None = None
) -> dict[str, Any]:  # fmt: skip
    """`model`, `name`, `metrics`, `notes` and `card` of a recipe on a folder of pictures; read from the card where the same was learned before."""
    require_deep()
    placed = read_boxed(folder, recipe.boxes)
    number = _number(recipe, folder, [picture.name for picture, _, _ in placed])
    place = storage.path("boxes", recipe.name, str(number))
    if storage.exists(f"{place}/card.json"):
        known: dict[str, Any] = json.loads(storage.read_bytes(f"{place}/card.json"))
        return {**known, "trained": False}
    cut = [(part, (affine, crs)) for picture, affine, crs in placed for part in in_strips(picture, recipe.boxes.strips)]
    pictures = [part for part, _ in cut]
    parts, answers, training = dealt([each.name for each in pictures], recipe.folds), dict[int, Answer](), []
    for part, tested in enumerate(parts, start=1):
        learned = [each for n, each in enumerate(pictures) if n not in tested]
        detector, losses = _trained(learned, recipe, room, device, f"{number}/{part}", tell)
        training.append({"left_out": [pictures[n].name for n in tested], "losses": losses})
        answers |= {n: detector.found(pictures[n]) for n in tested}
    detector, losses = _trained(pictures, recipe, room, device, f"{number}/all", tell)
    training.append({"left_out": [], "losses": losses})
    ordered = {each.name: answers[n] for n, each in enumerate(pictures)}
    n_lost = sum(len(picture.boxes) for picture, _, _ in placed) - sum(len(each.boxes) for each in pictures)
    codes = {each.name: each.codes for each in pictures}
    metrics = box_metrics(ordered, codes, recipe.class_names) | {
        "folds": len(parts),
        "boxes_cut": n_lost,
        "training": training,
    }
    notes = box_notes(recipe, metrics)
    document = {
        "model": str(number),
        "name": recipe.name,
        "version": recipe.version,
        "metrics": metrics,
        "notes": notes,
    }
    document |= {"recipe": recipe.model_dump(mode="json"), "card": f"{place}/card.md"}
    document |= {"boxes": _written(storage, place, found_boxes(cut, list(ordered.values()), recipe))}
    storage.write_bytes(f"{place}/detector.safetensors", detector.to_bytes())
    card = box_card(recipe, str(number), folder.name, notes, metrics, detector.describe())
    storage.write_bytes(f"{place}/card.md", card.encode())
    storage.write_bytes(f"{place}/card.json", json.dumps(document, indent=1).encode())
    room.forget(number)
    return {**document, "trained": True}


def box_metrics(
    answers: Mapping[str, Answer], codes: Mapping[str, NDArray[np.int64]], class_names: Sequence[str]
) -> dict[str, Any]:
    """Average precision of all pictures without regard to class, of each class, and of each picture."""
    by_class = {
        name: detection_scores([_of_class(each, codes[picture], code) for picture, each in answers.items()])
        for code, name in enumerate(class_names, start=1)
    }
    return {
        "pictures": len(answers),
        "all": detection_scores([found for found, _ in answers.values()]),
        "by_class": by_class if len(class_names) > 1 else {},
        "by_picture": {name: detection_scores([found]) for name, (found, _) in answers.items()},
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


def _written(storage: Storage, place: str, frames: Mapping[str, geopandas.GeoDataFrame]) -> list[str]:
    """One GeoPackage for each CRS; their places in the store."""
    places = []
    for name, frame in frames.items():
        target = f"{place}/{LAYER}-{name}.gpkg"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "boxes.gpkg"
            frame.to_file(path, layer=LAYER, driver="GPKG", geometry_type="Polygon")
            storage.write_bytes(target, path.read_bytes())
        places.append(target)
    return places


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
) -> tuple["Detector", list[dict[str, float]]]:  # fmt: skip
    from flows.steps.networks.detector import train_detector
    from flows.steps.networks.training_loop import TrainingPlace

    place = TrainingPlace(room.folder / training, device, room.devices, room.nodes)
    return train_detector(pictures, recipe.retinanet, recipe.class_names, recipe.seed, place, training, tell)
