"""COCO annotations on an image that knows where it lies: boxes, polygons and run lengths to shapes on the ground."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from pycocotools import mask as run_lengths
from rasterio.errors import RasterioIOError
from rasterio.features import shapes as outlines
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry

from flows.steps.learning.label_files import LabelFile
from products.errors import RequestError

KEYS = ("images", "annotations", "categories")


def is_coco(path: Path) -> bool:
    """Whether a JSON file holds COCO annotations."""
    if path.suffix.lower() != ".json":
        return False
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, UnicodeDecodeError):
        return False
    return isinstance(document, dict) and all(key in document for key in KEYS)


def coco_shapes(file: LabelFile, image: LabelFile | None) -> geopandas.GeoDataFrame:
    """The annotations of one image with their category as `class`, in the CRS of the image file; RequestError if it does not fit."""
    if image is None:
        raise RequestError(
            f"the COCO annotations {file} are in pixels: say with `image:` which georeferenced image they lie on"
        )
    document = json.loads(file.path.read_bytes())
    try:
        with rasterio.open(image.path) as raster:
            crs, affine, size = raster.crs, raster.transform, (raster.height, raster.width)
    except RasterioIOError as error:
        raise RequestError(f"{image} is not a readable image: {error}") from error
    if crs is None:
        raise RequestError(f"the image {image} declares no CRS: expected one that knows where it lies")
    entry = _entry_of(document["images"], file, image, size)
    names = {category["id"]: category["name"] for category in document["categories"]}
    found = [each for each in document["annotations"] if each["image_id"] == entry]
    columns = {"class": [names[each["category_id"]] for each in found], "annotation": [each["id"] for each in found]}
    shapes = [_on_ground(file, each, affine, size) for each in found]
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs)


def _entry_of(images: Sequence[dict[str, Any]], file: LabelFile, image: LabelFile, size: tuple[int, int]) -> int:
    """The id of the image that is meant: the one of that name, or the only one, if it has as many rows and columns."""
    named = [each for each in images if Path(each["file_name"]).stem == Path(image.name).stem]
    meant = named or (list(images) if len(images) == 1 else [])
    if len(meant) != 1:
        known = ", ".join(each["file_name"] for each in images)
        raise RequestError(f"{file} annotates {known}: expected one of them as `image:`, got {image.name}")
    said = (meant[0]["height"], meant[0]["width"])
    if said != size:
        raise RequestError(
            f"{file} annotates an image of {said[0]} x {said[1]} pixels, {image} has {size[0]} x {size[1]}: expected the annotated one"
        )
    return int(meant[0]["id"])


def _on_ground(file: LabelFile, annotation: dict[str, Any], affine: Affine, size: tuple[int, int]) -> BaseGeometry:
    said = annotation.get("segmentation")
    try:
        if isinstance(said, dict):
            return _from_run_lengths(said, affine, size)
        if said:
            parts = [shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in said]
        else:
            left, top, width, height = annotation["bbox"]
            parts = [shapely.box(left, top, left + width, top + height)]
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f"the annotation {annotation.get('id')} of {file} is no box, polygon or run length: {error}"
        ) from error
    return affine_transform(shapely.union_all(parts), affine.to_shapely())


def _from_run_lengths(said: dict[str, Any], affine: Affine, size: tuple[int, int]) -> BaseGeometry:
    """The outline of a mask, whether its counts are a list or packed as text."""
    if tuple(said["size"]) != size:
        raise ValueError(f"a mask of {said['size']}, expected {list(size)}")
    packed = run_lengths.frPyObjects(said, *size) if isinstance(said["counts"], list) else said
    mask = run_lengths.decode(packed)
    parts = [shapely.geometry.shape(shape) for shape, value in outlines(mask, transform=affine) if value == 1]
    return shapely.union_all(parts)
