"""Lines: known ones come back from their masks, and known distances are told."""

import numpy as np
import pytest
from numpy.typing import NDArray

from products.errors import RequestError
from products.learning.line_extraction import length_px, lines_of
from products.learning.line_scores import FoundLines, by_group, deviation_px, line_scores

Float64 = NDArray[np.float64]


def band(middle: Float64, half_px: int, shape: tuple[int, int] = (60, 80)) -> NDArray[np.bool_]:
    """Pixels at most `half_px` above or below a row for each column."""
    rows = np.arange(shape[0])[:, None]
    return np.abs(rows - middle[None, :]) <= half_px


def line(*corners: float) -> Float64:
    return np.array(corners, float).reshape(-1, 2)


def test_the_middle_of_a_straight_band_is_its_line() -> None:
    found = lines_of(band(np.full(80, 30.0), 2))
    assert len(found) == 1
    inner = found[0][(found[0][:, 0] > 4) & (found[0][:, 0] < 76)]
    assert (inner[:, 1] == 30.5).all()
    assert found[0][0, 0] == 0.5 and found[0][-1, 0] == 79.5


def test_a_curved_band_is_followed_within_a_pixel() -> None:
    wave = 30 + 12 * np.sin(np.arange(80) / 12)
    found = lines_of(band(np.rint(wave), 2))[0]
    truth = np.stack([np.arange(80) + 0.5, wave + 0.5], axis=1)
    apart = deviation_px(FoundLines("wave", "one", [truth], [found]))
    assert apart.mean() < 0.6 and np.median(apart) < 0.5


def test_the_longest_comes_first_and_short_ones_are_left_out() -> None:
    mask = np.zeros((60, 80), np.bool_)
    mask[10, 5:15] = mask[40, 5:65] = mask[50, 70] = True
    assert [length_px(each) for each in lines_of(mask)] == [59.0, 9.0]
    assert [length_px(each) for each in lines_of(mask, 20)] == [59.0]
    assert lines_of(np.zeros((5, 5), np.bool_)) == []


def test_pixels_that_touch_by_a_corner_are_one_line() -> None:
    found = lines_of(np.eye(12, dtype=np.bool_)[:, ::-1])
    assert len(found) == 1 and length_px(found[0]) == pytest.approx(11 * np.sqrt(2))
    assert found[0][0].tolist() == [0.5, 11.5] and found[0][-1].tolist() == [11.5, 0.5]


def test_lines_that_cross_are_all_found_but_for_the_crossing() -> None:
    mask = band(np.full(80, 30.0), 1)
    mask[:, 39:42] = True
    found = lines_of(mask, 10)
    assert len(found) == 3 and length_px(found[0]) > 75
    assert all(24 < length_px(each) < 31 for each in found[1:])
    truth = [line(0.5, 30.5, 79.5, 30.5), line(40.5, 0.5, 40.5, 59.5)]
    said = line_scores([FoundLines("cross", "a", truth, found)], tolerance_px=3, failure_px=5)
    assert said["completeness"] > 0.97 and said["correctness"] == 1.0


def test_a_whole_picture_has_a_line_too() -> None:
    assert len(lines_of(np.ones((20, 30), np.bool_))) == 1


def test_parallel_lines_are_as_far_apart_as_they_are() -> None:
    picture = FoundLines("one", "a", [line(0, 0, 10, 0)], [line(0, 3, 10, 3)], pixel_m=30.0)
    said = line_scores([picture], tolerance_px=2, failure_px=5)
    assert (said["mean_px"], said["median_px"], said["mean_m"], said["median_m"]) == (3.0, 3.0, 90.0, 90.0)
    assert (said["failure_rate"], said["completeness"], said["correctness"]) == (0.0, 0.0, 0.0)
    assert line_scores([picture], tolerance_px=3, failure_px=2)["far"] == 1


def test_a_line_that_runs_too_far_is_incorrect_there_and_complete() -> None:
    picture = FoundLines("one", "a", [line(0, 0, 10, 0)], [line(0, 0, 20, 0)])
    said = line_scores([picture], tolerance_px=0.001, failure_px=5)
    assert (said["completeness"], said["correctness"]) == (1.0, 0.5)
    assert said["mean_px"] == pytest.approx(10 / 2 * 20 / 60, rel=0.01)
    assert said["median_px"] == 0.0


def test_nothing_found_is_a_failure_and_has_no_distance() -> None:
    pictures = [FoundLines("one", "a", [line(0, 0, 10, 0)], []), FoundLines("two", "b", *[[line(0, 0, 10, 0)]] * 2)]
    said = line_scores(pictures, tolerance_px=1, failure_px=5)
    assert (said["pictures"], said["not_found"], said["failure_rate"]) == (2, 1, 0.5)
    assert (said["mean_px"], said["mean_m"], said["completeness"], said["correctness"]) == (0.0, None, 0.5, 1.0)
    groups = by_group(pictures, 1, 5)
    assert groups["a"]["mean_px"] is None and groups["b"]["mean_px"] == 0.0


def test_several_lines_are_compared_together() -> None:
    true = [line(0, 0, 10, 0), line(0, 20, 10, 20)]
    said = line_scores([FoundLines("one", "a", true, [true[1]])], tolerance_px=1, failure_px=50)
    assert (said["completeness"], said["correctness"]) == (0.5, 1.0)


def test_a_picture_without_a_true_line_is_refused() -> None:
    with pytest.raises(RequestError, match="the picture dark has no true line"):
        FoundLines("dark", "a", [], [line(0, 0, 1, 1)])
