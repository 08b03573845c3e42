"""Models of single pixels: the answers of scikit-learn from arrays that run nothing, whatever kind was asked for."""

import io
import json
import zipfile
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from products.devices import choose_backend
from products.errors import RequestError
from products.learning.boosting import Boosting
from products.learning.clusters import Clusters
from products.learning.fitting import FITS, fit_model
from products.learning.forest import Forest
from products.learning.learned import ArrayModel, Learned
from products.learning.linear import Linear
from products.learning.neighbours import Neighbours
from products.learning.recipe import ModelRecipe

CPU = choose_backend("cpu")
FEATURES = ("red", "nir", "swir1", "ndvi_p50")
ESTIMATORS: dict[str, dict[str, Any]] = {
    "random_forest": {"trees": 12, "max_depth": 6},
    "gradient_boosting": {"rounds": 8, "max_leaves": 8},
    "linear": {"l2": 0.5},
    "knn": {"neighbours": 7},
    "kmeans": {"clusters": 12, "starts": 2},
}
CLASSES = dict(zip(ESTIMATORS, (Forest, Boosting, Linear, Neighbours, Clusters), strict=True))
WORDS = {
    "random_forest": "a random forest of 12 trees",
    "gradient_boosting": "gradient-boosted trees, 24 in 8 rounds",
    "linear": "a multinomial logistic regression of standardised features",
    "knn": "the 7 nearest of 1500 standardised training pixels",
    "kmeans": "12 k-means clusters, found without labels and named by the class that most of their labelled pixels have",
}


def recipe(kind: str, n_classes: int = 3, **spec: Any) -> ModelRecipe:
    return ModelRecipe.model_validate(
        {
            "name": "coast_model",
            "version": 1,
            "kind": "model",
            "features": "coast_features",
            "samples": {"classes": ["mangrove", "water", "other"][:n_classes]},
            "estimator": {kind: ESTIMATORS[kind] | spec},
            "map": {"name": "coast_map"},
        }
    )


def data(n: int, n_classes: int = 3) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Two of four features tell the class, and lie at different scales."""
    random = np.random.default_rng(5)
    values = (random.normal(size=(n, 4)) * [1, 30, 0.01, 1] + [0, 100, 0, 0]).astype(np.float32)
    noisy = values[:, 0] + (values[:, 1] - 100) / 60 + 0.3 * random.normal(size=n)
    return values, np.digitize(noisy, (-0.5, 0.5)[: n_classes - 1]).astype(np.int64) + 1


def fitted(kind: str, n_classes: int = 3, jobs: int = 1, **spec: Any) -> ArrayModel:
    values, code = data(1500, n_classes)
    return fit_model(CPU, FEATURES, values, code, recipe(kind, n_classes, **spec), jobs)


@pytest.fixture(scope="module")
def models() -> dict[str, ArrayModel]:
    return {kind: fitted(kind) for kind in FITS}


def rewritten(content: bytes, **arrays: Any) -> bytes:
    """The model file with some of its arrays replaced."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            name, buffer = entry.filename.removesuffix(".npy"), io.BytesIO()
            np.save(buffer, arrays.get(name, np.zeros(1)))
            new.writestr(entry.filename, buffer.getvalue() if name in arrays else old.read(entry))
    return target.getvalue()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_boosted_trees_answer_as_scikit_learn_does(n_classes: int) -> None:
    values, code = data(1500, n_classes)
    theirs = HistGradientBoostingClassifier(
        max_iter=8, max_leaf_nodes=8, early_stopping=False, random_state=0
    ).fit(values, code)  # fmt: skip
    asked = data(3000)[0]
    np.testing.assert_allclose(
        fitted("gradient_boosting", n_classes).probabilities(asked.T).T, theirs.predict_proba(asked), atol=1e-6
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_linear_model_answers_as_scikit_learn_does(n_classes: int) -> None:
    values, code = data(1500, n_classes)
    mean, scale = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    theirs = LogisticRegression(C=2.0, max_iter=1000, tol=1e-6).fit((values - mean) / scale, code)
    asked = data(3000)[0]
    found = fitted("linear", n_classes).probabilities(asked.T).T
    np.testing.assert_allclose(found, theirs.predict_proba((asked - mean) / scale), atol=1e-6)


def test_neighbours_vote_as_scikit_learn_lets_them() -> None:
    values, code = data(1500)
    mean, scale = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    theirs = KNeighborsClassifier(7).fit((values - mean) / scale, code)
    asked = data(3000)[0][1500:]
    found = fitted("knn").probabilities(asked.T).T
    np.testing.assert_allclose(found, theirs.predict_proba((asked - mean) / scale), atol=1e-6)


def test_clusters_are_those_of_scikit_learn_and_have_the_shares_of_their_pixels() -> None:
    values, code = data(1500)
    mean, scale = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    theirs = KMeans(12, n_init=2, random_state=0).fit((values - mean) / scale)
    ours = fitted("kmeans")
    assert isinstance(ours, Clusters)
    assert (ours.nearest(np.ascontiguousarray(values.T)) == theirs.labels_).all()
    inside = code[theirs.labels_ == 3]
    np.testing.assert_allclose(ours.share[3], [(inside == number).mean() for number in (1, 2, 3)])


@pytest.mark.parametrize("kind", FITS)
def test_every_kind_learns_what_can_be_told_apart_and_says_what_it_is(kind: str, models: dict[str, ArrayModel]) -> None:
    values, code = data(4000)
    codes, percent = models[kind].classify(values[1500:].T)
    assert (codes == code[1500:]).mean() > 0.55
    assert np.abs(percent.astype(int).sum(axis=0) - 100).max() <= 2
    assert isinstance(models[kind], Learned)
    assert models[kind].describe() == WORDS[kind]


@pytest.mark.parametrize("kind", FITS)
def test_a_missing_feature_gives_nodata_and_no_other_pixel_changes(kind: str, models: dict[str, ArrayModel]) -> None:
    values, _ = data(5)
    whole = models[kind].probabilities(values.T)
    values[1, 2], values[3, 0] = np.nan, np.inf
    shares, (codes, percent) = models[kind].probabilities(values.T), models[kind].classify(values.T)
    assert np.isnan(shares[:, [1, 3]]).all()
    assert (shares[:, [0, 2, 4]] == whole[:, [0, 2, 4]]).all()
    assert (codes == 0).tolist() == [False, True, False, True, False]
    assert (percent[:, [1, 3]] == 255).all()


@pytest.mark.parametrize("kind", FITS)
def test_pixels_are_classified_alone(kind: str, models: dict[str, ArrayModel]) -> None:
    values, _ = data(1100)
    order = np.random.default_rng(0).permutation(1100)
    whole = models[kind].probabilities(values.T)
    parts = [models[kind].probabilities(values[rows].T) for rows in np.array_split(order, 7)]
    assert (np.concatenate(parts, axis=1) == whole[:, order]).all()


@pytest.mark.parametrize("kind", FITS)
def test_the_number_of_jobs_changes_nothing(kind: str, models: dict[str, ArrayModel]) -> None:
    assert fitted(kind, jobs=2).digest() == models[kind].digest()


@pytest.mark.parametrize("kind", FITS)
def test_the_file_gives_the_same_model_and_the_same_bytes(kind: str, models: dict[str, ArrayModel]) -> None:
    model = models[kind]
    read = type(model).from_bytes(model.to_bytes(), "model.npz")
    assert (read.digest(), read.to_bytes()) == (model.digest(), model.to_bytes())
    assert (read.feature_names, read.class_names) == (FEATURES, ("mangrove", "water", "other"))
    assert (read.probabilities(data(50)[0].T) == model.probabilities(data(50)[0].T)).all()


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, field.name) for kind, model in CLASSES.items() for field in fields(model)]
)
def test_the_digest_tells_every_field(kind: str, name: str, models: dict[str, ArrayModel]) -> None:
    value = getattr(models[kind], name)
    changed = tuple(reversed(value)) if isinstance(value, tuple) else value[::-1] + value.dtype.type(1)
    assert replace(models[kind], **{name: changed}).digest() != models[kind].digest()


@pytest.mark.parametrize(
    ("kind", "name", "spoil"),
    [
        ("gradient_boosting", "left", lambda a: np.where(a >= 0, 10**8, a).astype(np.int32)),
        ("gradient_boosting", "right", lambda a: np.where(a >= 0, np.where(a >= 0, a, 1).max(), a).astype(np.int32)),
        ("gradient_boosting", "roots", lambda a: a[:1]),
        ("gradient_boosting", "value", lambda a: a[:, :1].copy()),
        ("gradient_boosting", "baseline", lambda a: a + np.inf),
        ("gradient_boosting", "threshold", lambda a: a * np.nan),
        ("linear", "weight", lambda a: a[:, ::2].copy()),
        ("linear", "scale", np.zeros_like),
        ("linear", "mean", lambda a: a.astype(np.float32)),
        ("knn", "code", np.zeros_like),
        ("knn", "k", lambda a: a + 10**6),
        ("knn", "point", lambda a: a * np.nan),
        ("kmeans", "share", lambda a: a * 2),
        ("kmeans", "centre", lambda a: a[:3].copy()),
    ],
)
def test_arrays_that_do_not_fit_are_refused(kind: str, name: str, spoil: Any, models: dict[str, ArrayModel]) -> None:
    model = models[kind]
    content = rewritten(model.to_bytes(), **{name: spoil(getattr(model, name))})
    with pytest.raises(
        RequestError, match=rf"bad.npz is damaged, it is no sound {model.FORMAT}: train the model again"
    ):
        type(model).from_bytes(content, "bad.npz")


def test_the_file_of_another_kind_is_named(models: dict[str, ArrayModel]) -> None:
    with pytest.raises(
        RequestError, match=r"expected m.npz to be a neocube-forest-1, it is a neocube-linear-1: another"
    ):
        Forest.from_bytes(models["linear"].to_bytes(), "m.npz")


def test_a_header_without_a_format_is_no_model_file() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("header.json", json.dumps([1]))
    with pytest.raises(RequestError, match=r"m.npz is not a readable model file"):
        Forest.from_bytes(buffer.getvalue(), "m.npz")


@pytest.mark.parametrize("kind", FITS)
def test_another_number_of_features_is_refused(kind: str, models: dict[str, ArrayModel]) -> None:
    with pytest.raises(RequestError, match="the model needs 4 features, got 3"):
        models[kind].probabilities(np.zeros((3, 5), np.float32))


@pytest.mark.parametrize("kind", FITS)
def test_a_class_that_a_fold_lacks_is_never_predicted_there(kind: str) -> None:
    values, code = data(1500)
    kept = code != 2
    model = fit_model(CPU, FEATURES, values[kept], code[kept], recipe(kind), 1)
    codes, percent = model.classify(values.T)
    assert set(np.unique(codes)) == {1, 3}
    assert (percent[1] == 0).all()


@pytest.mark.parametrize("kind", ["gradient_boosting", "linear"])
def test_one_class_only_is_refused(kind: str) -> None:
    values, code = data(200)
    with pytest.raises(RequestError, match=rf"{kind} has training pixels of one class only, water, in a fold"):
        fit_model(CPU, FEATURES, values, np.full_like(code, 2), recipe(kind), 1)


@pytest.mark.parametrize(("kind", "key"), [("knn", "neighbours"), ("kmeans", "clusters")])
def test_more_neighbours_or_clusters_than_pixels_are_refused(kind: str, key: str) -> None:
    values, code = data(10)
    with pytest.raises(RequestError, match=rf"{kind} asks for 50 {key} of 10 training pixels: ask for fewer"):
        fit_model(CPU, FEATURES, values, code, recipe(kind, **{key: 50}), 1)


def test_clusters_say_which_class_they_never_map() -> None:
    assert fitted("kmeans", clusters=2, starts=1).describe().endswith(", which is never mapped")


def test_a_feature_that_never_changes_does_no_harm() -> None:
    values, code = data(1500)
    values[:, 3] = 7.0
    for kind in ("linear", "knn", "kmeans"):
        model = fit_model(CPU, FEATURES, values, code, recipe(kind), 1)
        assert np.isfinite(model.probabilities(values[:100].T)).all()


def test_two_estimators_are_refused_and_none_is_a_forest() -> None:
    document = recipe("linear").model_dump()
    document["estimator"] = {"linear": {}, "knn": {}}
    with pytest.raises(ValueError, match="estimator names linear and knn: expected exactly one kind"):
        ModelRecipe.model_validate(document)
    document["estimator"] = {}
    assert ModelRecipe.model_validate(document).estimator.kind == "random_forest"


def test_recursive_selection_wants_a_forest() -> None:
    document = recipe("linear").model_dump() | {"selection": {"method": "recursive", "keep": 2}}
    with pytest.raises(ValueError, match="importance that a random_forest gives, linear gives none: expected method"):
        ModelRecipe.model_validate(document)
