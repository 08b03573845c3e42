"""Boxes in pictures as plain files: CSV tables with named columns, VOC annotations and COCO annotations."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.landsat_mtl import safe_xml
from flows.steps.learning.picture_files import named_files, ranked, read_bands
from products.errors import RequestError
from products.learning.box_recipe import BoxesSpec
from products.learning.boxes import BoxedPicture
from products.learning.line_recipe import NAME

CORNERS = ("xmin", "ymin", "xmax", "ymax")
Boxes = NDArray[np.float64]
Placed = tuple[BoxedPicture, Affine, CRS | None]


def read_boxed(folder: Path, spec: BoxesSpec) -> list[Placed]:
    """The pictures of a folder by name, with their boxes, transform and CRS; RequestError where files lack or do not fit."""
    return [_read(folder, name, spec) for name in _names(folder, spec)]


def read_unboxed(folder: Path, spec: BoxesSpec) -> list[Placed]:
    """The pictures of a folder by name, without boxes; RequestError where there is none."""
    none = np.empty((0, 4)), np.empty(0, np.int64)
    found = [(name, *_read_image(folder, name, spec)) for name in _names(folder, spec)]
    return [(BoxedPicture(name, bands, *none), affine, crs) for name, bands, affine, crs in found]


def label_path(folder: Path, name: str, spec: BoxesSpec) -> Path:
    """The first of the files of labels that is there for a picture; RequestError without one."""
    places = [place.replace(NAME, name) for place in spec.labels]
    found = [folder / place for place in places if (folder / place).is_file()]
    if not found:
        raise RequestError(f"the picture {name} has no boxes in {folder}: expected {' or '.join(places)}")
    return found[0]


def image_paths(folder: Path, name: str, spec: BoxesSpec) -> list[Path]:
    """The files of a picture."""
    return [folder / place.replace(NAME, name) for place in spec.images]


def read_boxes(path: Path) -> tuple[Boxes, list[str]]:
    """Boxes (n, 4: left, top, right, bottom, pixels) and what each is labelled; RequestError for a file that holds none, or wrong ones."""
    try:
        boxes, values = {".csv": _table, ".xml": _voc, ".json": _coco}[path.suffix.lower()](path)
    except (KeyError, TypeError, ValueError, AttributeError, ItemRefused) as error:
        raise RequestError(
            f"{path} holds no boxes ({' '.join(str(error).split())[:200]}): expected a .csv with the columns {', '.join(CORNERS)} and label, "
            "a VOC .xml or a COCO .json"
        ) from error
    wrong = np.flatnonzero(~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)))
    if wrong.size:
        said = dict(zip(CORNERS, boxes[wrong[0]].tolist(), strict=True))
        raise RequestError(f"box {wrong[0] + 1} of {path} is none: {said}; expected xmin < xmax and ymin < ymax")
    return boxes, values


def _names(folder: Path, spec: BoxesSpec) -> list[str]:
    names = sorted(named_files(folder, spec.images[0]))
    if not names:
        raise RequestError(f"no file like {spec.images[0]} lies in {folder}")
    return names


def _read_image(folder: Path, name: str, spec: BoxesSpec) -> tuple[NDArray[np.float32], Affine, CRS | None]:
    parts = list[NDArray[np.float32]]()
    placed: tuple[Affine, CRS | None] | None = None
    for path in image_paths(folder, name, spec):
        bands, affine, crs = read_bands(path, spec.bands)
        if parts and bands.shape[1:] != parts[0].shape[1:]:
            raise RequestError(f"{path} has other pixels than the first file of {name}: expected one grid")
        parts.append(bands)
        placed = placed or (affine, crs)
    assert placed is not None
    joined = np.concatenate(parts)
    return ranked(joined) if spec.scale == "rank" else joined, *placed


def _read(folder: Path, name: str, spec: BoxesSpec) -> Placed:
    bands, affine, crs = _read_image(folder, name, spec)
    labels = label_path(folder, name, spec)
    boxes, values = read_boxes(labels)
    unknown = sorted(set(values) - spec.codes.keys())
    if unknown:
        raise RequestError(f"{labels} has boxes of {', '.join(unknown[:5])}: expected one of {', '.join(spec.codes)}")
    rows, columns = bands.shape[1:]
    if (boxes[:, :2] < -1).any() or (boxes[:, 2:] > (columns + 1, rows + 1)).any():
        raise RequestError(f"{labels} has boxes beyond the {columns} x {rows} pixels of {name}: do they belong to it?")
    codes = np.array([spec.codes[value] for value in values], np.int64)
    return BoxedPicture(name, bands, boxes.clip(0, [columns, rows, columns, rows]), codes), affine, crs


def _table(path: Path) -> tuple[Boxes, list[str]]:
    """By the names of the columns, whatever their order."""
    frame = pd.read_csv(path)
    return frame[list(CORNERS)].to_numpy(dtype=np.float64), frame["label"].astype(str).tolist()


def _voc(path: Path) -> tuple[Boxes, list[str]]:
    objects = safe_xml(path.name, path.read_bytes()).findall("object")
    boxes = [[float(str(each.findtext(f"bndbox/{corner}"))) for corner in CORNERS] for each in objects]
    return np.array(boxes, np.float64).reshape(-1, 4), [str(each.findtext("name")) for each in objects]


def _coco(path: Path) -> tuple[Boxes, list[str]]:
    """Of a file that annotates one image."""
    document = json.loads(path.read_bytes())
    if len(document["images"]) != 1:
        raise ValueError(f"it annotates {len(document['images'])} images, not one")
    names = {each["id"]: str(each["name"]) for each in document["categories"]}
    boxes = np.array([each["bbox"] for each in document["annotations"]], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes, [names[each["category_id"]] for each in document["annotations"]]
