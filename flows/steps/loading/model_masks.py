"""The mask of a scene by a model, on windows of a fixed lattice, so that a pixel has the same mask whatever is asked around it."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from flows.steps.loading.cloud_model import classes_of
from flows.steps.loading.manifest import AssetRead
from flows.steps.loading.reading import BandRead
from products.pixel.causes import NOT_EXPECTED
from products.pixel.model_mask import (
    CONTEXT_PX,
    MODEL_BANDS,
    UNJUDGED,
    WINDOW_PX,
    agreeing_share,
    model_causes,
    window_spans,
)
from products.scene import Scene
from products.scene_recipe import SceneRecipe

Causes = NDArray[np.uint8]
Classify = Callable[[NDArray[Any], int], NDArray[np.uint8]]
AttemptBand = Callable[[str, GeoBox, NDArray[np.uint16]], tuple[AssetRead, BandRead | None]]


def classifier(version: int, weights: str | None) -> Classify:
    """Classes (y, x) of a picture (band, y, x) and its nodata, by OmniCloudMask."""
    return lambda picture, nodata: classes_of(picture, nodata, version, weights)


def causes_by_model(
    scene: Scene, geobox: GeoBox, attempt: AttemptBand, classify: Classify
) -> tuple[Causes, int] | AssetRead:
    """Causes (y, x) by a model and the bytes that were decoded for it; or the asset that could not be read."""
    causes, decoded = np.zeros(geobox.shape, np.uint8), 0
    bands = [_band_of(scene, band) for band in MODEL_BANDS]
    for (rows, columns), (inner_rows, inner_columns), window in windows(geobox):
        picture = np.empty((len(bands), *window.shape), np.uint16)
        for band, layer in zip(bands, picture, strict=True):
            asset, read = attempt(band, window, layer)
            if read is None:
                return asset
            decoded += read.decoded_bytes
        if picture.any():
            causes[rows, columns] = model_causes(classify(picture, 0))[inner_rows, inner_columns]
    return causes, decoded


def room_for_agreement(recipe: SceneRecipe, shape: tuple[int, ...]) -> Causes:
    """uint8 (scene, y, x), unjudged: where two masks agree; without scenes unless a feature asks for that."""
    return np.full(shape if recipe.with_agreement else (0, *shape[1:]), UNJUDGED, np.uint8)


def agreement_of(agreements: Causes, causes: Causes) -> NDArray[np.float32] | None:
    """float32 (y, x): the share of the observations (scene, y, x), one a pass, on which two masks agree; None if that was not asked."""
    if not len(agreements):
        return None
    return agreeing_share(np.where(causes == NOT_EXPECTED, np.uint8(UNJUDGED), agreements))


def windows(geobox: GeoBox) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], GeoBox]]:
    """The windows over a geobox: which of its rows and columns each gives, from which of its own, and the window with its context.

    They lie at fixed places of the lattice of all geoboxes with the same resolution and anchor, whose pixels are counted as its tiles are.
    """
    first_row = -math.floor(round(geobox.affine.f / geobox.resolution.x, 6))
    first_column = math.floor(round(geobox.affine.c / geobox.resolution.x, 6))
    side = WINDOW_PX + 2 * CONTEXT_PX
    for rows in window_spans(first_row, geobox.shape[0]):
        for columns in window_spans(first_column, geobox.shape[1]):
            down, right = rows[0] - first_row, columns[0] - first_column
            corner = Affine.translation(right - CONTEXT_PX, down - CONTEXT_PX)
            window = GeoBox((side, side), geobox.affine * corner, geobox.crs)
            (y, inner_y), (x, inner_x) = _shared(down, geobox.shape[0]), _shared(right, geobox.shape[1])
            yield (y, x), (inner_y, inner_x), window


def _shared(start: int, length: int) -> tuple[slice, slice]:
    """What a window that starts at `start` shares with 0 to `length`, in both."""
    first, last = max(start, 0), min(start + WINDOW_PX, length)
    return slice(first, last), slice(first - start + CONTEXT_PX, last - start + CONTEXT_PX)


def _band_of(scene: Scene, band: str) -> str:
    """The narrow near infrared of MSI, on which the model was trained, where a scene has it."""
    return "nir_narrow" if band == "nir" and "nir_narrow" in scene.bands else band
