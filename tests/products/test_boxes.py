"""Boxes that follow their picture: through strips, crops, mirrors and quarter turns, onto the map; and simulated vehicles lie in theirs."""

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from products.learning.boxes import BoxedPicture, crop, in_strips, on_ground, turned
from products.simulation.vehicles import RESOLUTION_M, make_vehicle_scene

GROUND = Affine(0.1, 0, 400_000, 0, -0.1, 3_000_000)


def marked(boxes: list[list[float]], rows: int = 40, columns: int = 60) -> BoxedPicture:
    """A picture that is 1 inside its boxes and 0 elsewhere."""
    bands = np.zeros((1, rows, columns), np.float32)
    for left, top, right, bottom in boxes:
        bands[0, int(top) : int(bottom), int(left) : int(right)] = 1
    found = np.array(boxes, np.float64).reshape(-1, 4)
    return BoxedPicture("one", bands, found, np.arange(1, len(boxes) + 1))


def lit(picture: BoxedPicture) -> NDArray[np.float64]:
    """The upright box around all that is 1."""
    rows, columns = np.nonzero(picture.bands[0])
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float64)


def test_a_box_goes_with_its_strip_and_one_across_a_cut_is_in_none() -> None:
    picture = marked([[2, 3, 10, 9], [25, 5, 35, 12], [40, 20, 50, 30]])
    left, right = in_strips(picture, 2)
    assert left.boxes.tolist() == [[2, 3, 10, 9]] and left.codes.tolist() == [1]
    assert right.boxes.tolist() == [[10, 20, 20, 30]] and right.codes.tolist() == [3] and right.left_px == 30
    assert right.bands.shape == (1, 40, 30) and (right.name, left.name) == ("one, strip 2", "one, strip 1")
    assert in_strips(picture, 1) == [picture]


def test_boxes_turn_and_mirror_with_their_square() -> None:
    picture = marked([[5, 8, 15, 12]], 30, 30)
    seen = set()
    for seed in range(40):
        found = turned(picture, True, True, np.random.default_rng(seed))
        np.testing.assert_array_equal(found.boxes[0], lit(found))
        seen.add(tuple(found.boxes[0]))
    assert len(seen) == 8
    still = turned(picture, False, False, np.random.default_rng(1))
    np.testing.assert_array_equal(still.bands, picture.bands)


def test_a_crop_keeps_boxes_of_which_half_is_in_it_and_cuts_them_off() -> None:
    picture, n_kept = marked([[5, 8, 25, 18]]), 0
    for seed in range(30):
        found = crop(picture, 16, np.random.default_rng(seed))
        assert found.bands.shape == (1, 16, 16)
        n_kept += len(found.boxes)
        if len(found.boxes):
            np.testing.assert_array_equal(found.boxes[0], lit(found))
            assert found.codes.tolist() == [1] and found.bands.sum() >= 100
    assert n_kept > 5


def test_a_crop_of_a_small_picture_lacks_what_lies_beyond_its_edges() -> None:
    found = crop(marked([[2, 2, 6, 6]], 10, 12), 16, np.random.default_rng(0))
    assert (
        found.bands.shape == (1, 16, 16)
        and np.isnan(found.bands[0, 10:]).all()
        and np.isfinite(found.bands[0, :10, :12]).all()
    )
    assert found.boxes.tolist() == [[2, 2, 6, 6]]


def test_boxes_on_the_map_have_their_size_and_corner() -> None:
    (shape,) = on_ground(np.array([[10.0, 20.0, 30.0, 50.0]]), GROUND)
    assert shape.bounds == pytest.approx((400_001, 2_999_995, 400_003, 2_999_998))
    assert shape.area == pytest.approx(6.0) and on_ground(np.empty((0, 4)), GROUND) == []


def test_simulated_vehicles_differ_from_the_road_inside_their_boxes() -> None:
    scene = make_vehicle_scene(np.random.default_rng(2), 128, 16)
    again = make_vehicle_scene(np.random.default_rng(2), 128, 16)
    np.testing.assert_array_equal(scene.bands, again.bands)
    assert len(scene.boxes) == len(scene.names) >= 4 and set(scene.names) <= {"car", "truck"}
    assert scene.boxes.min() >= 0 and scene.boxes.max() <= 128
    sides = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1) * RESOLUTION_M
    assert ((sides > 2.5) & (sides < 15)).all()
    for left, top, right, bottom in scene.boxes:
        middle = scene.bands[:, int((top + bottom) / 2), int((left + right) / 2)]
        assert np.abs(middle - (0.2, 0.2, 0.21)).max() > 0.05
