"""A mask by a model beside the delivered one: its classes as causes, which of the two decides, and where they agree."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from products.pixel.causes import Cause

Bytes = NDArray[np.uint8]
Decide = Literal["model", "either", "both"]

MODEL_BANDS = ("red", "green", "nir")
RESOLUTION_RANGE_M = (10.0, 50.0)
WINDOW_PX, CONTEXT_PX = 512, 128
FIRST_PX = -128  # where a window starts: off the edges of tiles, or the few pixels around one that growth needs would lie in windows of their own
# the classes of OmniCloudMask (Wright et al. 2025, Remote Sens. Environ. 322, 114694): clear, thick cloud, thin cloud, cloud shadow
MODEL_CAUSES = np.array([Cause.USED, Cause.CLOUD, Cause.CIRRUS, Cause.SHADOW], np.uint8)
SKY = (Cause.CLOUD, Cause.SHADOW, Cause.CIRRUS)
UNJUDGED, AGREED, DISAGREED = 0, 1, 2


def model_causes(classes: Bytes) -> Bytes:
    """The cause of each class (y, x) of the model; ValueError for a class that it does not have."""
    if classes.size and classes.max() >= len(MODEL_CAUSES):
        raise ValueError(f"expected classes 0 to {len(MODEL_CAUSES) - 1} of the model, got {classes.max()}")
    return MODEL_CAUSES[classes]


def decided(delivered: Bytes, model: Bytes, decide: Decide) -> Bytes:
    """uint8 (y, x): the cause by the delivered mask and by the model.

    The model knows clouds and shadows only: snow is the delivered mask's where the model sees none, and what is no data, saturated or unread stays.
    `model`: its word counts. `either`: what one of them masks, the first cause in precedence. `both`: what both mask, with the model's cause.
    """
    table = np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, len(Cause)))
    for cause in SKY:
        table[[Cause.USED, Cause.DILATED, Cause.SNOW], cause] = Cause.USED if decide == "both" else cause
        for other in SKY:
            table[other, cause] = min(other, cause) if decide == "either" else cause
    if decide == "both":
        table[Cause.SNOW, list(SKY)] = Cause.SNOW
    if decide != "either":
        table[[*SKY, Cause.DILATED], Cause.USED] = Cause.USED
    return np.asarray(table[delivered, model])


def without_cloud(model: Bytes, delivered: Bytes) -> Bytes:
    """The causes of the model, but where it says cloud, and that is dropped: there the sky that the delivered mask sees, which has no cloud, or none."""
    sky = np.where(np.isin(delivered, SKY), delivered, np.uint8(Cause.USED))
    return np.where(model == Cause.CLOUD, sky, model)


def agreement(delivered: Bytes, model: Bytes) -> Bytes:
    """uint8 (y, x): AGREED where both call cloud, shadow or cirrus or neither does, DISAGREED, or UNJUDGED where the delivered mask has no word on it."""
    judged = np.isin(delivered, [Cause.USED, Cause.DILATED, Cause.SNOW, *SKY])
    same = np.isin(delivered, SKY) == np.isin(model, SKY)
    return np.where(judged, np.where(same, AGREED, DISAGREED), UNJUDGED).astype(np.uint8)


def agreeing_share(agreements: Bytes) -> NDArray[np.float32]:
    """float32 (y, x): the share of the judged scenes (scene, y, x) on which the masks agree, NaN where there is none."""
    agreed = (agreements == AGREED).sum(axis=0, dtype=np.float32)
    judged = (agreements != UNJUDGED).sum(axis=0, dtype=np.float32)
    return np.divide(agreed, judged, out=np.full(agreed.shape, np.nan, np.float32), where=judged > 0)


def window_spans(first: int, length: int) -> list[tuple[int, int]]:
    """The [start, stop) of the windows, at FIRST_PX and multiples of WINDOW_PX from it, that hold pixels `first` to `first + length`."""
    start = (first - FIRST_PX) // WINDOW_PX * WINDOW_PX + FIRST_PX
    return [(each, each + WINDOW_PX) for each in range(start, first + length, WINDOW_PX)]
