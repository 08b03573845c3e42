"""How well boxes are found: average precision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from products.errors import RequestError

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
COCO_OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes of one picture, (n, 4) as left, top, right, bottom in pixels, and, of found ones, the confidence, (n,)."""

    true_boxes: Float64
    found_boxes: Float64
    confidence: Float64


def overlap(one: Float64, other: Float64) -> Float64:
    """Intersection over union of each box of `one` with each of `other`, (n, m)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    sizes = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    union = sizes[0][:, None] + sizes[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def hits(picture: Detections, least_overlap: float) -> Bools:
    """Which found boxes, most confident first, are the first to reach a true box, (n,): a second one on the same object is wrong.

    Each goes to the true box that it overlaps most of those still free (Lin et al. 2014, ECCV, 740-755).
    """
    order = np.argsort(-picture.confidence, kind="stable")
    shared = overlap(picture.found_boxes[order], picture.true_boxes)
    free, right = np.ones(picture.true_boxes.shape[0], np.bool_), np.zeros(order.size, np.bool_)
    for n in range(order.size):
        candidates = np.where(free, shared[n], -1.0)
        if candidates.size and candidates.max() >= least_overlap:
            free[candidates.argmax()] = False
            right[n] = True
    return right


def recall_and_precision(pictures: Sequence[Detections], least_overlap: float = 0.5) -> tuple[Float64, Float64] | None:
    """Recall and precision as found boxes are taken in, most confident first, precision made to fall (Everingham et al. 2015); None without any true box."""
    for picture in pictures:
        if picture.confidence.shape[0] != picture.found_boxes.shape[0]:
            raise RequestError("expected one confidence for each found box")
    n_true = sum(picture.true_boxes.shape[0] for picture in pictures)
    if n_true == 0:
        return None
    right = np.concatenate([hits(picture, least_overlap) for picture in pictures])
    said = np.concatenate([-np.sort(-picture.confidence, kind="stable") for picture in pictures])
    order = np.argsort(-said, kind="stable")
    found = np.cumsum(right[order])
    precision = found / np.arange(1, order.size + 1)
    return found / n_true, np.maximum.accumulate(precision[::-1])[::-1]


def average_precision(pictures: Sequence[Detections], least_overlap: float = 0.5) -> float | None:
    """Area under precision over recall (Everingham et al. 2015, IJCV 111, 98-136); None without any true box."""
    curve = recall_and_precision(pictures, least_overlap)
    if curve is None:
        return None
    recall, precision = curve
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def detection_scores(pictures: Sequence[Detections]) -> dict[str, Any]:
    """Average precision at an overlap of 0.5 and of 0.75, and the mean from 0.5 to 0.95 by 0.05, as COCO reports them but for its 101 recall steps."""
    by_overlap = {each: average_precision(pictures, each) for each in COCO_OVERLAPS}
    known = [each for each in by_overlap.values() if each is not None]
    return {
        "ap50": by_overlap[0.5],
        "ap75": by_overlap[0.75],
        "ap": float(np.mean(known)) if known else None,
        "true_boxes": sum(picture.true_boxes.shape[0] for picture in pictures),
        "found_boxes": sum(picture.found_boxes.shape[0] for picture in pictures),
    }
