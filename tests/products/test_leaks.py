"""The audit of leaks: each kind is found, named and refused; what is sound passes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from products.errors import RequestError
from products.learning.leaks import (
    Leak,
    duplicate_spectra,
    label_derived,
    overlapping_chips,
    refuse_leaks,
    same_location,
    touched,
    within_distance,
)

N = 400
X = 30.0 * np.arange(N)
Y = np.zeros(N)
TRAIN = np.arange(N) < 300
TEST = np.arange(N) >= 310
CODE = (np.arange(N) % 3 + 1).astype(np.int64)
NOISE = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
NAMES = ("red", "nir", "ndvi_p50", "texture")


def derived(features: NDArray[np.float32], **more: object) -> list[Leak]:
    return label_derived(NAMES, features, CODE, TRAIN, TEST, **more)  # type: ignore[arg-type]


def test_a_sound_split_of_sound_samples_passes() -> None:
    found = same_location(X, Y, TRAIN, TEST) + within_distance(X, Y, TRAIN, TEST, 300)
    found += overlapping_chips(X, Y, TRAIN, TEST, 300) + duplicate_spectra(NOISE, TRAIN, TEST) + derived(NOISE)
    assert found + touched(TRAIN, TEST) == []
    refuse_leaks(found)


def test_a_place_in_train_and_test_is_found_at_whatever_time() -> None:
    x = X.copy()
    x[350:360] = X[:10]
    leak = same_location(x, Y, TRAIN, TEST)
    assert [each.what for each in leak] == ["10 of 90 tested pixels are trained on too"]


def test_a_test_within_the_buffer_is_found() -> None:
    assert within_distance(X, Y, TRAIN, TEST, 331)[0].what == "1 of 90 tested pixels lie nearer than 331 m to training"
    assert within_distance(X, Y, TRAIN, TEST, 330) == []
    assert within_distance(X, Y, TRAIN, np.zeros(N, np.bool_), 500) == []


def test_chips_that_share_a_corner_are_found_and_those_that_touch_are_not() -> None:
    x, y = np.array([0.0, 100.0, 100.0]), np.array([0.0, 100.0, 99.0])
    train, test = np.array([True, False, False]), np.array([False, True, False])
    assert overlapping_chips(x, y, train, test, 100) == []
    found = overlapping_chips(x, y, train, test, 101)
    assert "1 of 1 tested chips share pixels" in found[0].what
    assert found[0].do == "set buffer_m to 143 or more, the diagonal of a chip"
    assert overlapping_chips(x, y, np.zeros(3, np.bool_), test, 101) == []


def test_copied_spectra_are_found_over_one_percent_and_may_be_accepted() -> None:
    copied = NOISE.copy()
    copied[350:355] = NOISE[20:25]
    found = duplicate_spectra(copied, TRAIN, TEST)
    assert (found[0].kind, found[0].is_accepted) == ("duplicate_spectra", False)
    assert duplicate_spectra(copied, TRAIN, TEST, ("duplicate_spectra",))[0].is_accepted
    few = np.tile(NOISE, (4, 1)) + np.arange(4 * N, dtype=np.float32)[:, None]
    few[4 * N - 1] = few[0]
    rows = np.arange(4 * N)
    assert duplicate_spectra(few, rows < 1000, rows >= 1000) == []


def test_minus_zero_is_zero() -> None:
    zeros = np.zeros((N, 2), np.float32)
    zeros[TEST] = -0.0
    assert duplicate_spectra(zeros, TRAIN, TEST)[0].what.startswith("90 of 90 tested rows")


def test_a_feature_that_is_the_label_is_named_whatever_the_data() -> None:
    features = NOISE.copy()
    features[:, 2] = CODE * 0.5
    for more in ({}, {"is_simulated": True}):
        found = derived(features, **more)
        assert [each.what for each in found] == ["ndvi_p50 has one value in each class"]
        with pytest.raises(
            RequestError, match="ndvi_p50 has one value in each class: leave the feature ndvi_p50 out .* split.accept"
        ):
            refuse_leaks(found)


def test_a_feature_that_alone_tells_all_is_refused_unless_accepted_or_simulated() -> None:
    features = NOISE.copy()
    features[:, 1] = CODE + 0.01 * NOISE[:, 1]
    found = derived(features)
    assert found[0].what == "nir alone tells the classes apart (1.0000 balanced agreement)"
    with pytest.raises(RequestError, match="the test would know its answers: nir alone"):
        refuse_leaks(found)
    refuse_leaks(derived(features, accepted=("nir",)))
    refuse_leaks(derived(features, is_simulated=True))
    assert derived(features, accepted=("nir",))[0].document()["accepted"] is True


def test_a_good_feature_is_no_leak() -> None:
    features = NOISE.copy()
    features[:, 0] = CODE + 0.3 * NOISE[:, 0]
    assert derived(features) == []


def test_one_row_of_a_class_proves_no_constancy() -> None:
    code = np.array([1, 2, 2, 2] * 100)
    code[:] = 2
    code[0] = 1
    assert (
        label_derived(("f",), np.where(code == 1, 0.0, NOISE[:, 0])[:, None].astype(np.float32), code, TRAIN, TEST)
        == []
    )


def test_a_holdout_that_was_looked_at_is_found() -> None:
    seen = np.arange(N) < 320
    assert touched(seen, TEST)[0].what == "10 rows of the hold-out were looked at before the test"


def test_copies_are_counted_alike_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = np.round(np.random.default_rng(1).normal(size=(N, 2)), 0).astype(np.float32)
    coarse[:5], coarse[320] = -0.0, 0.0
    (whole,) = duplicate_spectra(coarse, TRAIN, TEST)
    known = {tuple(row) for row in (coarse[TRAIN] + 0).tolist()}
    expected = sum(tuple(row) in known for row in (coarse[TEST] + 0).tolist())
    assert whole.what.startswith(f"{expected} of 90 tested rows")
    monkeypatch.setattr("products.learning.leaks.ROWS_AT_ONCE", 7)
    assert duplicate_spectra(coarse, TRAIN, TEST) == [whole]
