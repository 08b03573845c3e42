"""What a subscription waits for: read, refused, and told pixel by pixel."""

import numpy as np
import pytest

from products.condition import NO, UNSEEN, YES, condition_codes, parse_condition
from products.errors import RequestError
from products.formula import evaluate, parse_formula

BANDS = frozenset({"red", "nir", "green"})
VALUES = {"red": np.array([[0.1, 0.3, 0.0, np.nan]]), "nir": np.array([[0.3, 0.1, 0.0, 0.2]])}
CLEAR = np.array([[True, True, True, True]])


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("NDVI > 0", [YES, NO, UNSEEN, UNSEEN]),
        ("ndvi<0", [NO, YES, UNSEEN, UNSEEN]),
        ("  (nir - red) / (nir + red) > -0.9 ", [YES, YES, UNSEEN, UNSEEN]),
        ("nir > 2e-1", [YES, NO, NO, NO]),
        ("red < .2", [YES, NO, YES, UNSEEN]),
        ("-red > -0.2", [YES, NO, YES, UNSEEN]),
    ],
)
def test_a_condition_is_yes_or_no_where_it_has_a_value(text: str, codes: list[int]) -> None:
    found = condition_codes(parse_condition(text, BANDS), VALUES, CLEAR)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], codes)


def test_what_is_not_clear_is_unseen_whatever_its_value() -> None:
    found = condition_codes(parse_condition("nir > 0.2", BANDS), VALUES, ~CLEAR)
    np.testing.assert_array_equal(found, np.full((1, 4), UNSEEN))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NDVI", "expected a condition such as 'NDVI < 0.3'"),
        ("NDVI < red", "expected a condition such as"),
        ("0 < NDVI < 1", "expected a condition such as"),
        ("NDVI < 1.2.3", "expected a condition such as"),
        ("NDWIX > 0", "unknown index 'NDWIX'"),
        ("MNDWI > 0", "swir1"),
        ("__import__('os') > 0", "cannot|expected|refused|formula"),
        ("1 > 0", "names no band"),
    ],
)
def test_anything_else_is_refused(text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        parse_condition(text, BANDS)


def test_a_formula_of_arrays_is_what_it_says() -> None:
    formula = parse_formula("-(nir - 2 * red) / nir ** 2 + 1", BANDS)
    nir, red = np.array([2.0, 4.0]), np.array([1.0, 3.0])
    np.testing.assert_allclose(evaluate(formula, {"nir": nir, "red": red}), -(nir - 2 * red) / nir**2 + 1)
