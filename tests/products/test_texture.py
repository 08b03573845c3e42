"""Texture: the textbook's measures, whatever library computes them, the same for any crop."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops

from products.window import reference
from products.window.pair_histogram import count_logarithms, pair_histogram_sums
from products.window.pair_sums import QUANTITIES, pair_sums
from products.window.texture import MAX_LEVELS, MAX_WINDOW_PX, MEASURES, grey_levels, texture

Floats = NDArray[np.float32]
ANGLES = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
SKIMAGE = {"asm": "ASM"}
TOLERANCE = {"homogeneity": {"rtol": 0, "atol": 8e-6}}
USUAL = {"rtol": 1e-6, "atol": 1e-6}


def image(seed: int = 0, shape: tuple[int, int] = (24, 31), missing: float = 0.1) -> Floats:
    random = np.random.default_rng(seed)
    values = (random.random(shape) ** 2 + np.linspace(0, 0.4, shape[1])).astype(np.float32)
    values[random.random(shape) < missing] = np.nan
    return values


def every_measure(values: Floats, window_px: int = 5, levels: int = 8) -> dict[str, Floats]:
    return texture(values, MEASURES, window_px, 0.0, 1.2, levels)


@pytest.mark.parametrize("window_px", [3, 5, 9])
@pytest.mark.parametrize("levels", [2, 16])
def test_every_measure_is_that_of_the_reference(window_px: int, levels: int) -> None:
    values = image(window_px, (window_px + 6, window_px + 8), missing=0.2)
    found = every_measure(values, window_px, levels)
    for y, x in np.ndindex(7, 9):
        patch = values[y : y + window_px, x : x + window_px].astype(float)
        for measure, expected in reference.texture(patch, 0.0, 1.2, levels).items():
            np.testing.assert_allclose(found[measure][y, x], expected, **TOLERANCE.get(measure, USUAL), err_msg=measure)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_is_that_of_scikit_image(measure: str) -> None:
    values = image(4, (12, 13), missing=0)
    grey = grey_levels(values, 0.0, 1.2, 16).astype(np.uint8)
    found = texture(values, [measure], 7, 0.0, 1.2, 16)[measure]
    for y, x in np.ndindex(found.shape):
        matrix = graycomatrix(grey[y : y + 7, x : x + 7], [1], ANGLES, 16, symmetric=True).sum(axis=3, keepdims=True)
        expected = graycoprops(matrix, SKIMAGE.get(measure, measure))[0, 0]
        np.testing.assert_allclose(found[y, x], expected, **TOLERANCE.get(measure, USUAL))


def test_the_largest_window_of_the_most_levels_overflows_nothing() -> None:
    side = MAX_WINDOW_PX
    values = (np.indices((side, side)).sum(axis=0) % 2).astype(np.float32)  # a chequerboard of extremes
    found = texture(values, MEASURES, side, 0.0, 1.0, MAX_LEVELS)
    expected = reference.texture(values.astype(float), 0.0, 1.0, MAX_LEVELS)
    for measure in MEASURES:
        np.testing.assert_allclose(found[measure][0, 0], expected[measure], rtol=1e-6, atol=8e-6, err_msg=measure)


@settings(deadline=None, max_examples=40)
@given(
    arrays(np.float32, (14, 15), elements=st.sampled_from([np.nan, 0.0, 0.1, 0.5, 0.51, 1.0, 7.0, -3.0])),
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)),
    st.sampled_from([3, 5]),
)
def test_any_crop_gives_the_same_bits(values: Floats, crop: tuple[int, int, int, int], window_px: int) -> None:
    top, bottom, left, right = crop
    whole = every_measure(values, window_px)
    part = every_measure(values[top : 14 - bottom, left : 15 - right], window_px)
    for measure in MEASURES:
        rows, columns = whole[measure].shape
        np.testing.assert_array_equal(
            part[measure], whole[measure][top : rows - bottom, left : columns - right], strict=True
        )


def test_strips_leave_no_seam() -> None:
    tall = image(3, (200, 12))
    whole, part = every_measure(tall), every_measure(tall[37:177])
    for measure in MEASURES:
        np.testing.assert_array_equal(part[measure], whole[measure][37:173])


@pytest.mark.parametrize("turn", [np.transpose, np.rot90, np.flipud, np.fliplr])
def test_a_turned_image_has_the_turned_texture(turn: object) -> None:
    assert callable(turn)
    straight, turned = every_measure(image(5)), every_measure(np.ascontiguousarray(turn(image(5))))
    for measure in MEASURES:
        np.testing.assert_array_equal(turned[measure], turn(straight[measure]))


def test_another_array_library_gives_the_same_bits() -> None:
    values = image(6, (14, 12))
    other = texture(array_api_strict.asarray(values), MEASURES, 5, 0.0, 1.2, 6)
    for measure, expected in every_measure(values, 5, 6).items():
        assert other[measure].dtype == array_api_strict.float32
        np.testing.assert_array_equal(np.asarray(other[measure]), expected, err_msg=measure)


def test_the_sums_of_both_leaves_are_the_same_integers() -> None:
    grey = grey_levels(image(7, missing=0.3), 0.0, 1.2, 16)
    other = array_api_strict.asarray(grey)
    for name, expected in pair_sums(grey, 7, QUANTITIES).items():
        np.testing.assert_array_equal(np.asarray(pair_sums(other, 7, [name])[name]), expected, strict=True)
    for found, expected in zip(pair_histogram_sums(other, 7, 16), pair_histogram_sums(grey, 7, 16), strict=True):
        np.testing.assert_array_equal(np.asarray(found), expected, strict=True)


def test_the_table_of_logarithms_ends_with_the_largest_count_of_a_window() -> None:
    flat = np.zeros((5, 5), np.float32)
    assert len(count_logarithms(5)) == 1 + int(reference.cooccurrence(flat.astype(float), 0, 1, 2).max())
    assert count_logarithms(5)[0] == count_logarithms(5)[1] == 0


def test_a_window_of_one_level_is_flat() -> None:
    found = every_measure(np.full((5, 5), 0.35, np.float32))
    expected = {"contrast": 0, "dissimilarity": 0, "homogeneity": 1, "mean": 2, "variance": 0, "correlation": 1}
    assert {measure: float(found[measure][0, 0]) for measure in expected} == expected
    assert [float(found[measure][0, 0]) for measure in ("asm", "energy", "entropy")] == [1, 1, 0]


def test_without_a_pair_there_is_no_texture() -> None:
    alone = np.full((5, 7), np.nan, np.float32)
    alone[2, 2] = alone[2, 4] = 0.5  # two pixels that are no neighbours
    assert all(np.isnan(every_measure(alone)[measure]).all() for measure in MEASURES)
    alone[2, 3] = 0.5
    assert all(np.isfinite(every_measure(alone)[measure]).all() for measure in MEASURES)


def test_values_out_of_range_count_as_the_nearest_level() -> None:
    values = np.array([[-np.inf, -1, 0, 0.24], [0.25, 0.99, 1, np.inf], [np.nan, 0.5, 0.75, 5]], np.float32)
    assert grey_levels(values, 0.0, 1.0, 4).tolist() == [[0, 0, 0, 0], [1, 3, 3, 3], [-1, 2, 3, 3]]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"measures": ["contrast", "colour"]}, "unknown texture measure colour: expected some of contrast, diss"),
        ({"measures": []}, "unknown texture measure none"),
        ({"window_px": 4}, "expected an odd window of 3 to 63 pixels, got 4"),
        ({"window_px": 65}, "expected an odd window of 3 to 63 pixels, got 65"),
        ({"levels": 1}, "expected 2 to 256 grey levels, got 1"),
        ({"low": 1.0}, r"expected a range of values from low to high, got 1.0 to 1.0"),
        ({"values": np.zeros((4, 9), np.float32)}, r"wider than two halos of 2 pixels, got the shape \(4, 9\)"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object], said: str) -> None:
    asked = {"values": image(), "measures": ["contrast"], "window_px": 5, "low": 0.0, "high": 1.0, "levels": 8}
    with pytest.raises(ValueError, match=said):
        texture(**{**asked, **wrong})
