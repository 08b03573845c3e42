"""Learn a detector from pictures with boxes, try it on pictures that it never saw, and keep boxes, network and card in the store."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from flows.steps.learning.box_files import image_paths, label_path, read_boxed
from flows.steps.learning.found_boxes import Answer, boxes_picture, found_boxes, of_class, precision_curves
from flows.steps.learning.left_out import answered_in_turn, dealt
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.shape_files import geopackages
from flows.steps.networks.deep_packages import require_deep
from flows.steps.storage import Storage
from flows.steps.unindexed_models import CARD_TEXT, UnindexedModel
from products.devices import Device
from products.identity import NAMESPACE
from products.learning.box_card import box_card, box_notes
from products.learning.box_recipe import BoxRecipe
from products.learning.boxes import BoxedPicture, in_strips
from products.learning.detection_scores import detection_scores
from products.scene_recipe import canonical_digest

if TYPE_CHECKING:
    from flows.steps.networks.detector import Detector

BOXES_VERSION = "boxes-3"
LAYER, DETECTOR = "boxes", "detector.safetensors"
Tell = Callable[[str], None]


def learn_boxes(
    storage: Storage, recipe: BoxRecipe, folder: Path, resources: TrainingResources, device: Device, tell: Tell | None = None
) -> dict[str, Any]:  # fmt: skip
    """`model`, `name`, `metrics`, `notes` and `card` of a recipe on a folder of pictures; read from the card where the same was learned before."""
    require_deep()
    placed = read_boxed(folder, recipe.boxes)
    number = _number(recipe, folder, [picture.name for picture, _, _ in placed])
    model = UnindexedModel(storage, LAYER, recipe.name, number)
    if known := model.known():
        return known
    cut = [(part, (affine, crs)) for picture, affine, crs in placed for part in in_strips(picture, recipe.boxes.strips)]
    pictures = [part for part, _ in cut]

    def train(chosen: list[int], part: str) -> tuple["Detector", dict[str, Any]]:
        return _trained([pictures[n] for n in chosen], recipe, resources, device, f"{number}/{part}", tell)

    parts = dealt([each.name for each in pictures], recipe.folds)
    answers, detector, told = answered_in_turn(parts, train, lambda found, n: found.found(pictures[n]))
    n_lost = sum(len(picture.boxes) for picture, _, _ in placed) - sum(len(each.boxes) for each in pictures)
    metrics = box_metrics(pictures, answers, recipe.class_names)
    metrics |= {"folds": len(parts), "boxes_cut": n_lost, "training": told}
    notes = box_notes(recipe, metrics)
    card = box_card(recipe, str(number), folder.name, notes, metrics, detector.describe(), detector.digest())
    tables = geopackages(LAYER, found_boxes(cut, answers, recipe.class_names, recipe.boxes.keep_above), "Polygon")
    shown = {
        "boxes.png": boxes_picture(pictures, answers, recipe.boxes.keep_above),
        "precision.png": precision_curves(pictures, answers, recipe),
    }
    written = {DETECTOR: detector.to_bytes(), CARD_TEXT: card.encode(), **shown, **tables}
    told_too = {LAYER: [model.path(name) for name in tables], "weights_digest": detector.digest()}
    document = model.publish(recipe, metrics, notes, written, told_too)
    resources.forget(number)
    return document


def box_metrics(
    pictures: Sequence[BoxedPicture], answers: Sequence[Answer], class_names: Sequence[str]
) -> dict[str, Any]:
    """Average precision of all pictures without regard to class, of each class where there are several, and of each picture."""
    pairs = list(zip(pictures, answers, strict=True))
    by_class = {
        name: detection_scores([of_class(answer, picture.codes, code) for picture, answer in pairs])
        for code, name in enumerate(class_names, start=1)
    }
    return {
        "pictures": len(pairs),
        "all": detection_scores([found for found, _ in answers]),
        "by_class": by_class if len(class_names) > 1 else {},
        "by_picture": {picture.name: detection_scores([found]) for picture, (found, _) in pairs},
    }


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
    pictures: Sequence[BoxedPicture], recipe: BoxRecipe, resources: TrainingResources, device: Device, training: str, tell: Tell | None
) -> tuple["Detector", dict[str, Any]]:  # fmt: skip
    from flows.steps.networks.train_detector import train_detector
    from flows.steps.networks.training_loop import TrainerOptions

    options = TrainerOptions(resources.folder / training, device, resources.devices, resources.nodes)
    return train_detector(pictures, recipe.retinanet, recipe.class_names, recipe.seed, options, training, tell)
