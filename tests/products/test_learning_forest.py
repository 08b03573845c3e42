"""Forests as arrays: the same answers as scikit-learn, from a file that runs nothing and cannot lead astray."""

import io
import zipfile
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from products.errors import RequestError
from products.learning.forest import Forest, forest_from_sklearn
from products.learning.trees import packed_nodes, rounded_down, sortable

NAMES = ("mangrove", "water", "other")
FEATURES = ("red", "nir", "swir1", "ndvi_p50")


def data(n: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    random = np.random.default_rng(5)
    values = random.normal(size=(n, 4)).astype(np.float32)
    noisy = values[:, 0] + 0.4 * random.normal(size=n)
    return values, np.digitize(noisy, (-0.5, 0.5)).astype(np.uint8) + np.uint8(1)


@pytest.fixture(scope="module")
def fitted() -> RandomForestClassifier:
    return RandomForestClassifier(30, max_depth=8, min_samples_leaf=2, random_state=0).fit(*data(1500))


@pytest.fixture(scope="module")
def forest(fitted: RandomForestClassifier) -> Forest:
    return forest_from_sklearn(fitted, FEATURES, NAMES)


def rewritten(content: bytes, **arrays: Any) -> bytes:
    """The model file with some of its arrays replaced."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            name = entry.filename.removesuffix(".npy")
            if name in arrays:
                buffer = io.BytesIO()
                np.save(buffer, arrays[name], allow_pickle=True)
                new.writestr(entry.filename, buffer.getvalue())
            else:
                new.writestr(entry.filename, old.read(entry))
    return target.getvalue()


def test_classes_and_shares_are_those_of_scikit_learn(fitted: RandomForestClassifier, forest: Forest) -> None:
    values, _ = data(4000)
    codes, percent = forest.classify(values.T)
    expected = fitted.predict_proba(values)
    ordered = np.sort(expected, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-6
    assert clear.sum() > 3900
    assert (codes[clear] == fitted.predict(values)[clear]).all()
    assert np.abs(percent / 100 - expected.T).max() <= 0.005001


def test_a_missing_feature_gives_nodata(forest: Forest) -> None:
    values, _ = data(3)
    values[1, 2] = np.nan
    codes, percent = forest.classify(values.T)
    assert codes[1] == 0
    assert (percent[:, 1] == 255).all()
    assert (codes[[0, 2]] > 0).all()


def test_pixels_are_classified_alone(forest: Forest) -> None:
    values, _ = data(1100)
    whole = forest.classify(values.T)
    order = np.random.default_rng(0).permutation(1100)
    parts = [forest.classify(values[rows].T) for rows in np.array_split(order, 7)]
    assert (np.concatenate([codes for codes, _ in parts]) == whole[0][order]).all()
    assert (np.concatenate([percent for _, percent in parts], axis=1) == whole[1][:, order]).all()


def test_a_class_without_training_rows_is_never_predicted() -> None:
    values, codes = data(500)
    kept = codes != 2
    fitted = RandomForestClassifier(5, random_state=0).fit(values[kept], codes[kept])
    found, percent = forest_from_sklearn(fitted, FEATURES, NAMES).classify(values.T)
    assert set(np.unique(found)) == {1, 3}
    assert (percent[1] == 0).all()


def test_the_file_gives_the_same_forest_and_the_same_bytes(forest: Forest) -> None:
    content = forest.to_bytes()
    read = Forest.from_bytes(content, "forest.npz")
    assert read.digest() == forest.digest()
    assert read.to_bytes() == content
    assert (read.feature_names, read.class_names) == (FEATURES, NAMES)


@pytest.mark.parametrize("name", [field.name for field in fields(Forest)])
def test_the_digest_tells_every_field(forest: Forest, name: str) -> None:
    value = getattr(forest, name)
    changed = tuple(reversed(value)) if isinstance(value, tuple) else value[::-1]
    assert replace(forest, **{name: changed}).digest() != forest.digest()


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("left", lambda a: np.where(a >= 0, 10**8, a).astype(np.int32)),
        ("right", lambda a: np.zeros_like(a)),
        ("feature", lambda a: np.where(a >= 0, 99, a).astype(np.int32)),
        ("roots", lambda a: a + 1),
        ("threshold", lambda a: a[:-1]),
        ("share", lambda a: a.astype(np.float64)),
        ("importance", lambda a: a[:-1]),
    ],
)
def test_an_index_that_leads_astray_is_refused(forest: Forest, name: str, spoil: Any) -> None:
    content = rewritten(forest.to_bytes(), **{name: spoil(getattr(forest, name))})
    with pytest.raises(RequestError, match=r"bad.npz is damaged, it is no sound neocube-forest-1"):
        Forest.from_bytes(content, "bad.npz")


def test_a_pickle_in_the_file_is_not_loaded(forest: Forest) -> None:
    content = rewritten(forest.to_bytes(), left=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RequestError, match="not a readable model file: Object arrays cannot be loaded"):
        Forest.from_bytes(content, "bad.npz")


@pytest.mark.parametrize("cut", [0, 10, 1000])
def test_a_truncated_file_is_refused(forest: Forest, cut: int) -> None:
    with pytest.raises(RequestError, match=r"bad.npz is not a readable model file: .*; train the model again"):
        Forest.from_bytes(forest.to_bytes()[:cut], "bad.npz")


def test_another_number_of_features_is_refused(forest: Forest) -> None:
    with pytest.raises(RequestError, match="needs 4 features, got 3"):
        forest.classify(np.zeros((3, 5), np.float32))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 20])
@pytest.mark.parametrize("n", [1, 31, 32, 2047, 2049])
def test_trees_of_any_depth_give_any_number_of_pixels_what_scikit_learn_does(depth: int, n: int) -> None:
    values, codes = data(900)
    codes[values[:, 1] > 1.5] = 1  # some branches end early
    fitted = RandomForestClassifier(7, max_depth=depth, random_state=1).fit(values, codes)
    asked = np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32)
    found = forest_from_sklearn(fitted, FEATURES, NAMES).probabilities(asked.T)
    np.testing.assert_allclose(found.T, fitted.predict_proba(asked), atol=1e-6)


def test_a_tree_that_is_one_leaf_says_the_same_everywhere() -> None:
    values, _ = data(40)
    fitted = RandomForestClassifier(3, random_state=1).fit(values, np.full(40, 2))
    found = forest_from_sklearn(fitted, FEATURES, NAMES).probabilities(values.T)
    np.testing.assert_array_equal(found, np.tile(np.float32([[0], [1], [0]]), 40))


def test_features_in_any_layout_give_the_same(forest: Forest) -> None:
    values = data(600)[0].T
    cube = np.ascontiguousarray(values).reshape(4, 20, 30)
    part = np.ascontiguousarray(cube[:, 5:11]).reshape(4, -1)
    np.testing.assert_array_equal(forest.probabilities(cube[:, 5:11].reshape(4, -1)), forest.probabilities(part))


def test_more_features_than_a_node_can_name_are_refused() -> None:
    zero = np.zeros(1, np.int64)
    with pytest.raises(RequestError, match="asks for feature 1025: expected at most 4194304 nodes and 1024 features"):
        packed_nodes(zero, zero, zero + 1024)
    with pytest.raises(RequestError, match="a tree has 4194305 nodes"):
        packed_nodes(zero, zero + 2**22, zero)


def test_thresholds_of_float32_divide_values_as_those_of_float64_do() -> None:
    values = np.float32([-1e38, -2.5, -1e-40, -0.0, 0.0, 1e-40, 0.1, 0.7, 3e38])
    thresholds = np.concatenate([values.astype(np.float64), values + 1e-12, values - 1e-12, [0.1, 0.7, -1e300, 1e300]])
    exact = values[:, None] <= thresholds
    assert (exact == (values[:, None] <= rounded_down(thresholds))).all()
    assert (exact == (sortable(values)[:, None] <= sortable(rounded_down(thresholds)))).all()
