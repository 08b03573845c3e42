"""What models learned from pictures find in other pictures: lines and boxes as GeoPackages, and a picture to look at."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.steps.learning.box_files import read_unboxed
from flows.steps.learning.box_training import DETECTOR
from flows.steps.learning.found_boxes import boxes_picture, found_boxes
from flows.steps.learning.line_files import lines_frame
from flows.steps.learning.line_training import found_lines
from flows.steps.learning.model_files import NETWORK
from flows.steps.learning.picture_files import pictures_digest, read_images
from flows.steps.learning.shape_files import by_crs, geopackages
from flows.steps.networks.deep_packages import require_deep
from flows.steps.networks.network import network_from_bytes
from flows.steps.pictures.found_shapes import Shown, found_picture, spread
from flows.steps.unindexed_models import UnindexedModel
from products.learning.box_recipe import BoxesSpec
from products.learning.line_recipe import LinesSpec

DOCUMENT, PICTURE = "found.json", "found.png"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Findings:
    """How many shapes were found in each picture by its name, the GeoPackages by file name, and a PNG."""

    found: Mapping[str, int]
    tables: Mapping[str, bytes]
    picture: bytes


def find_in_pictures(model: UnindexedModel, folder: Path, tell: Tell) -> dict[str, Any]:
    """`model`, `found` by picture, `files` and `picture` of what a model finds in a folder; kept with the model, and read from there the next time."""
    require_deep()
    said = model.card()["recipe"][model.kind]
    if model.kind == "lines":
        lines = LinesSpec.model_validate(said)
        return _kept(model, pictures_digest(folder, (lines.image,)), lambda: _lines(model, folder, lines, tell))
    boxes = BoxesSpec.model_validate(said)
    return _kept(model, pictures_digest(folder, boxes.images), lambda: _boxes(model, folder, boxes, tell))


def _kept(model: UnindexedModel, digest: str, look: Callable[[], Findings]) -> dict[str, Any]:
    place, storage = model.path(f"found/{digest[:16]}"), model.storage
    if storage.exists(f"{place}/{DOCUMENT}"):
        known: dict[str, Any] = json.loads(storage.read_bytes(f"{place}/{DOCUMENT}"))
        return {**known, "looked": False}
    findings = look()
    for name, content in findings.tables.items():
        storage.write_bytes(f"{place}/{name}", content)
    storage.write_bytes(f"{place}/{PICTURE}", findings.picture)
    document = {"model": str(model.id), "name": model.name, "kind": model.kind, "found": dict(findings.found)}
    document |= {"files": [f"{place}/{name}" for name in findings.tables], "picture": f"{place}/{PICTURE}"}
    storage.write_bytes(f"{place}/{DOCUMENT}", json.dumps(document, indent=1).encode())
    return {**document, "looked": True}


def _lines(model: UnindexedModel, folder: Path, spec: LinesSpec, tell: Tell) -> Findings:
    pictures = read_images(folder, spec)
    network = network_from_bytes(model.storage.read_bytes(model.path(NETWORK)), model.path(NETWORK))
    answers = []
    for number, picture in enumerate(pictures, start=1):
        answers.append(found_lines(network, picture, spec))
        tell(f"{number} of {len(pictures)}")
    order = sorted(range(len(pictures)), key=lambda n: (pictures[n].date or "", pictures[n].name))
    frames = by_crs(lines_frame(pictures[n], answers[n]) for n in order)
    shown = [
        Shown(f"{pictures[n].name}\n{len(answers[n])} found", pictures[n].bands[:1], [], answers[n])
        for n in spread(len(pictures))
    ]
    found = {picture.name: len(lines) for picture, lines in zip(pictures, answers, strict=True)}
    return Findings(found, geopackages(model.kind, frames, "MultiLineString"), found_picture(shown))


def _boxes(model: UnindexedModel, folder: Path, spec: BoxesSpec, tell: Tell) -> Findings:
    from flows.steps.networks.detector import detector_from_bytes

    placed = read_unboxed(folder, spec)
    detector = detector_from_bytes(model.storage.read_bytes(model.path(DETECTOR)), model.path(DETECTOR))
    pictures, answers = [picture for picture, _, _ in placed], []
    for number, picture in enumerate(pictures, start=1):
        answers.append(detector.found(picture))
        tell(f"{number} of {len(pictures)}")
    cut = [(picture, (affine, crs)) for picture, affine, crs in placed]
    frames = found_boxes(cut, answers, detector.class_names, spec.keep_above)
    found = {
        picture.name: int((detections.confidence > spec.keep_above).sum())
        for picture, (detections, _) in zip(pictures, answers, strict=True)
    }
    return Findings(
        found, geopackages(model.kind, frames, "Polygon"), boxes_picture(pictures, answers, spec.keep_above)
    )
