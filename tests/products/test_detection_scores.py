"""Average precision: known curves, one hit an object, and scikit-learn's answer where both are defined."""

import numpy as np
import pytest
from numpy.typing import NDArray

from products.errors import RequestError
from products.learning.detection_scores import Detections, average_precision, detection_scores, hits, overlap

Boxes = NDArray[np.float64]


def box(*corners: float) -> Boxes:
    return np.array(corners, float).reshape(-1, 4)


def test_overlap_is_the_shared_part_of_the_union() -> None:
    one, other = box(0, 0, 10, 10), box(0, 0, 10, 10, 5, 0, 15, 10, 20, 20, 30, 30, 0, 0, 0, 0)
    assert overlap(one, other).ravel().tolist() == pytest.approx([1.0, 1 / 3, 0.0, 0.0])


def test_everything_found_and_nothing_else_is_perfect() -> None:
    boxes = box(0, 0, 10, 10, 20, 0, 30, 10)
    picture = Detections(boxes, boxes[::-1], np.array([0.4, 0.9]))
    assert average_precision([picture]) == 1.0
    assert detection_scores([picture]) == {"ap50": 1.0, "ap75": 1.0, "ap": 1.0, "true_boxes": 2, "found_boxes": 2}


def test_a_second_box_on_the_same_object_is_wrong() -> None:
    picture = Detections(box(0, 0, 10, 10), box(0, 0, 10, 10, 0, 0, 10, 9), np.array([0.8, 0.9]))
    assert hits(picture, 0.5).tolist() == [True, False]
    two = Detections(box(0, 0, 10, 10, 50, 0, 60, 10), picture.found_boxes, picture.confidence)
    assert average_precision([two]) == pytest.approx(0.5)


def test_a_known_curve_has_its_area() -> None:
    """Five boxes, most confident first: right, wrong, right, wrong, right, of four true ones: 1/4 (1 + 2/3 + 3/5)."""
    true = np.concatenate([box(20 * n, 0, 20 * n + 10, 10) for n in range(4)])
    found = np.concatenate([true[:1], box(0, 50, 10, 60), true[1:2], box(0, 80, 10, 90), true[2:3]])
    pictures = [Detections(true, found, np.array([0.9, 0.8, 0.7, 0.6, 0.5]))]
    assert average_precision(pictures) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)


def test_precision_falls_and_pictures_are_ranked_together() -> None:
    true = box(0, 0, 10, 10)
    first = Detections(true, np.concatenate([true, box(50, 50, 60, 60)]), np.array([0.5, 0.9]))
    second = Detections(true, true, np.array([0.7]))
    assert average_precision([first, second]) == pytest.approx(2 / 3)


def test_looser_boxes_pass_at_lower_overlap_only() -> None:
    picture = Detections(box(0, 0, 10, 10), box(0, 0, 10, 6), np.array([0.9]))
    said = detection_scores([picture])
    assert (said["ap50"], said["ap75"]) == (1.0, 0.0)
    assert said["ap"] == pytest.approx(0.3)


def test_nothing_true_is_undefined_and_nothing_found_is_zero() -> None:
    none = box()
    assert average_precision([Detections(none, box(0, 0, 1, 1), np.array([0.5]))]) is None
    assert detection_scores([Detections(none, none, np.zeros(0))])["ap"] is None
    assert average_precision([Detections(box(0, 0, 1, 1), none, np.zeros(0))]) == 0.0
    with pytest.raises(RequestError, match="expected one confidence for each found box"):
        average_precision([Detections(none, box(0, 0, 1, 1), np.zeros(0))])
