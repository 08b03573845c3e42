"""Regression: known values, and the scores of ratios against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from products.errors import RequestError
from products.learning.regression_scores import log_scores, regression_scores, rounded

TRUTH = np.array([1.0, 2.0, 4.0, 8.0])


def test_error_and_bias_of_known_values() -> None:
    found = regression_scores(TRUTH, TRUTH + np.array([1.0, 1.0, 1.0, -1.0]))
    assert (found["rmse"], found["bias"], found["mae"], found["rows"]) == (1.0, 0.5, 1.0, 4)
    assert found["r2"] == pytest.approx(1 - 4 / ((TRUTH - 3.75) ** 2).sum())
    assert regression_scores(np.ones(3), np.zeros(3))["r2"] is None


def test_twice_too_high_is_a_bias_of_two_and_100_percent() -> None:
    found = log_scores(TRUTH, 2 * TRUTH)
    assert found["log_bias"] == pytest.approx(2.0)
    assert found["log_mae"] == pytest.approx(2.0)
    assert found["median_symmetric_accuracy"] == pytest.approx(100.0)
    assert found["signed_symmetric_bias"] == pytest.approx(100.0)
    assert log_scores(TRUTH, TRUTH / 2)["signed_symmetric_bias"] == pytest.approx(-100.0)


def test_the_scores_of_seegers_are_powers_of_ten() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.lognormal(size=200), rng.lognormal(size=200)
    found = log_scores(truth, predicted)
    difference = np.log10(predicted) - np.log10(truth)
    assert found["log_bias"] == pytest.approx(10 ** difference.mean())
    assert found["log_mae"] == pytest.approx(10 ** np.abs(difference).mean())
    assert found["median_symmetric_accuracy"] == pytest.approx(
        100 * (np.exp(np.median(np.abs(np.log(predicted / truth)))) - 1)
    )


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=30))
def test_over_and_under_estimating_by_a_factor_weigh_alike(pairs: list[tuple[float, float]]) -> None:
    truth, predicted = np.array(pairs).T
    one, other = log_scores(truth, predicted), log_scores(predicted, truth)
    assert one["log_mae"] == pytest.approx(other["log_mae"])
    assert one["log_bias"] == pytest.approx(1 / other["log_bias"])


def test_rows_without_a_logarithm_are_counted_and_left_out() -> None:
    found = log_scores(np.array([0.0, 1.0, 2.0]), np.array([1.0, -1.0, 2.0]))
    assert (found["rows"], found["not_positive"], found["log_bias"]) == (1, 2, 1.0)
    with pytest.raises(RequestError, match="expected true and predicted values above 0"):
        log_scores(np.zeros(2), np.ones(2))


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(RequestError, match=r"as many predicted as true values, and some, got \(2,\) and \(4,\)"):
        regression_scores(TRUTH, np.ones(2))
    with pytest.raises(RequestError, match="as many predicted as true values, and some"):
        regression_scores(np.zeros(0), np.zeros(0))
    with pytest.raises(RequestError, match="expected finite values, got 1 rows with none"):
        regression_scores(TRUTH, np.array([1.0, np.nan, 3.0, 4.0]))


def test_a_card_has_rounded_scores() -> None:
    assert rounded({"rmse": 0.12345678, "rows": 3, "r2": None}) == {"rmse": 0.123457, "rows": 3, "r2": None}
