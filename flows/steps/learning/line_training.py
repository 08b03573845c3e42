"""Learn a network that finds lines in pictures, try it on groups that it never saw, and keep lines, network and card in the store."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from flows.steps.learning.left_out import answered_in_turn, dealt
from flows.steps.learning.line_files import compared_frames, compared_picture
from flows.steps.learning.model_files import NETWORK
from flows.steps.learning.network_training import TrainingResources
from flows.steps.learning.picture_files import LinedPicture, Picture, pictures_digest, read_pictures
from flows.steps.learning.shape_files import geopackages
from flows.steps.networks.deep_packages import require_deep
from flows.steps.networks.network import Network
from flows.steps.storage import Storage
from flows.steps.unindexed_models import CARD_TEXT, UnindexedModel
from products.devices import Device
from products.errors import RequestError
from products.identity import NAMESPACE
from products.learning.line_card import line_card, line_notes
from products.learning.line_extraction import lines_of
from products.learning.line_recipe import LineRecipe, LinesSpec
from products.learning.line_scores import FoundLines, by_group, line_scores
from products.learning.network_spec import NetworkSpec
from products.learning.patches import free_positions
from products.learning.training_ground import CellGround, PartOfCell, seen_codes
from products.scene_recipe import canonical_digest

LINES_VERSION = "lines-3"
LAYER = "lines"
VALIDATION_EVERY = 5
Tell = Callable[[str], None]


def learn_lines(
    storage: Storage, recipe: LineRecipe, folder: Path, resources: TrainingResources, device: Device, tell: Tell | None = None
) -> dict[str, Any]:  # fmt: skip
    """`model`, `name`, `metrics`, `notes` and `card` of a recipe on a folder of pictures; read from the card where the same was learned before."""
    require_deep()
    number = _number(recipe, folder)
    model = UnindexedModel(storage, LAYER, recipe.name, number)
    if known := model.known():
        return known
    pictures = read_pictures(folder, recipe.lines)

    def train(chosen: list[int], part: str) -> tuple[Network, dict[str, Any]]:
        return _trained([pictures[n] for n in chosen], recipe, resources, device, f"{number}/{part}", tell)

    parts = dealt([each.group for each in pictures], recipe.folds)
    answers, network, told = answered_in_turn(
        parts, train, lambda network, n: compared(network, pictures[n], recipe.lines)
    )
    metrics = _metrics(answers, parts, recipe) | {"training": told}
    notes = line_notes(recipe, metrics)
    card = line_card(recipe, str(number), folder.name, notes, metrics, network.describe(), network.digest())
    tables = geopackages(LAYER, compared_frames(pictures, answers), "MultiLineString")
    written = {NETWORK: network.to_bytes(), "lines.png": compared_picture(pictures, answers), CARD_TEXT: card.encode()}
    told_too = {LAYER: [model.path(name) for name in tables], "weights_digest": network.digest()}
    document = model.publish(recipe, metrics, notes, written | tables, told_too)
    resources.forget(number)
    return document


def found_lines(network: Network, picture: Picture, spec: LinesSpec) -> list[NDArray[np.float64]]:
    """The lines (n, 2: x, y) in pixels that a network finds in a picture, the longest first."""
    found = lines_of(network.probabilities_of_picture(picture.bands)[1] > spec.threshold, spec.min_length_px)
    return found[:1] if spec.only_longest else found


def compared(network: Network, picture: LinedPicture, spec: LinesSpec) -> FoundLines:
    """The lines that a network finds in a picture, beside the true ones."""
    true = lines_of(picture.is_line)
    found = found_lines(network, picture, spec)
    return FoundLines(picture.name, picture.group, true[:1] if spec.only_longest else true, found, picture.pixel_m)


def _number(recipe: LineRecipe, folder: Path) -> UUID:
    from flows.steps.networks.start_weights import weights_digest

    said = {"model": recipe.name, "version": recipe.version, "recipe": recipe.digest(), "learning": LINES_VERSION}
    said |= {"pictures": pictures_digest(folder, (recipe.lines.image, recipe.lines.label))}
    return uuid5(NAMESPACE, canonical_digest({**said, "weights": weights_digest(recipe.network[1])}))


def _trained(
    pictures: Sequence[LinedPicture],
    recipe: LineRecipe,
    resources: TrainingResources,
    device: Device,
    training: str,
    tell: Tell | None,
) -> tuple[Network, dict[str, Any]]:
    """A network learned from some pictures; every fifth says when to stop, and nothing is learned from it."""
    from flows.steps.networks.train_network import TrainingData, train_network
    from flows.steps.networks.training_loop import TrainerOptions

    kind, spec = recipe.network
    if len(pictures) < 2:
        raise RequestError(f"{len(pictures)} pictures are left to learn from: expected two or more")
    every = min(VALIDATION_EVERY, len(pictures))
    ground = [picture_ground(each, spec, validates=n % every == 0) for n, each in enumerate(pictures)]
    names = tuple(f"band_{number}" for number in recipe.lines.bands)
    data = TrainingData(kind, spec, names, recipe.class_names, lambda n: pictures[n].bands, ground, recipe.seed)
    options = TrainerOptions(resources.folder / training, device, resources.devices, resources.nodes)
    return train_network(data, options, training, tell)


def picture_ground(picture: LinedPicture, spec: NetworkSpec, validates: bool) -> CellGround:
    """All patches of a picture with a value in them, for training or for validation; pixels without any value are neither line nor background."""
    codes = seen_codes(np.where(picture.is_line, 2, 1).astype(np.uint8), picture.bands)
    if not codes.any():
        raise RequestError(f"no pixel of the picture {picture.name} has a value: leave it and its label out")
    every = np.ones(codes.shape, np.bool_)
    places = free_positions(every, codes > 0, spec.patch_px)
    if len(places) == 0:
        raise RequestError(
            f"the picture {picture.name} has {codes.shape[0]} x {codes.shape[1]} pixels, patches have {spec.patch_px}: lower patch_px"
        )
    part, none = PartOfCell(places, codes), PartOfCell(places[:0], np.zeros_like(codes))
    return CellGround(none, part, ~every) if validates else CellGround(part, none, every)


def _metrics(answers: Sequence[FoundLines], parts: Sequence[Sequence[int]], recipe: LineRecipe) -> dict[str, Any]:
    spec = recipe.lines
    others = [
        FoundLines(answers[n].name, answers[n].group, answers[n].true, other.true)
        for part in parts
        for n in part
        for other_number, other in enumerate(answers)
        if other_number not in part
    ]
    baseline = line_scores(others, spec.tolerance_px, spec.failure_px)
    return {
        "left_out": "group",
        "folds": len(parts),
        "groups": len({each.group for each in answers}),
        "all": line_scores(answers, spec.tolerance_px, spec.failure_px),
        "by_group": by_group(answers, spec.tolerance_px, spec.failure_px),
        "baseline": {name: baseline[name] for name in ("mean_px", "median_px")},
    }
