"""Principal components: those of the samples, applied pixel by pixel, kept in a file that runs nothing."""

import importlib.util
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from products.devices import Backend, choose_backend
from products.errors import RequestError
from products.learning.array_file import packed
from products.learning.components import FORMAT, Components, components_from_bytes, fit_components
from products.learning.maps import components_template
from products.learning.pca_card import TransformFacts, transform_document, transform_markdown
from products.learning.pca_recipe import PcaRecipe
from products.learning.samples import Samples, labelled_pixels
from products.registry import learned_recipe, model_recipe, parse_recipe

CPU = choose_backend("cpu")
NAMES = ("red", "nir", "ndvi_p50")
TEXT = """name: coast_pca
version: 1
kind: model
title: Coast
features: mangrove_features
pca: {components: 3}
map: {name: coast_components}
"""


def recipe(**pca: Any) -> PcaRecipe:
    found = parse_recipe(TEXT, "coast.yaml")
    assert isinstance(found, PcaRecipe)
    return found.model_copy(update={"pca": found.pca.model_copy(update=pca)})


def values() -> NDArray[np.float32]:
    """(feature, y, x): one hidden quantity moves all three, a second one only the last."""
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, 40, 40))
    noise = random.normal(0, 0.05, (3, 40, 40))
    stack = np.stack([0.2 + 0.1 * first, 0.3 - 0.2 * first, 0.1 * first + 3 * second]) + noise * [
        [[0.1]],
        [[0.1]],
        [[1]],
    ]
    stack[1, 3, 3] = np.nan
    return stack.astype(np.float32)


def samples(stack: NDArray[np.float32], backend: Backend = CPU) -> Samples:
    axis = 15 + 30.0 * np.arange(stack.shape[1])
    return labelled_pixels(backend, stack, np.ones(stack.shape[1:], np.uint8), axis, axis, 0, NAMES, 0)


def flat(stack: NDArray[np.float32]) -> NDArray[np.float64]:
    """(pixel, feature) of the complete pixels."""
    table = stack.reshape(3, -1).T.astype(np.float64)
    return table[np.isfinite(table).all(axis=1)]


def test_components_are_the_eigenvectors_of_the_correlation() -> None:
    stack = values()
    found, metrics = fit_components(CPU, samples(stack), recipe())
    level, vectors = np.linalg.eigh(np.corrcoef(flat(stack).T))
    assert list(metrics["explained_variance"].values()) == pytest.approx((level[::-1] / 3).tolist(), abs=1e-6)
    assert np.abs(np.abs(found.weights @ vectors[:, ::-1]) - np.eye(3)).max() < 1e-6
    assert (found.weights[np.arange(3), np.abs(found.weights).argmax(axis=1)] > 0).all()
    assert metrics["explained_in_all"] == 1.0
    assert metrics["pixels"] == 1599


def test_without_standardisation_the_largest_unit_wins() -> None:
    found, metrics = fit_components(CPU, samples(values()), recipe(standardise=False, components=1))
    assert metrics["weights"]["component_1"]["ndvi_p50"] > 0.99
    assert (found.scale == 1).all()


def test_components_are_uncorrelated_and_whitened_ones_have_variance_one() -> None:
    stack = values()
    plain, white = (
        fit_components(CPU, samples(stack), recipe(whiten=whiten))[0].transform(stack.reshape(3, -1))
        for whiten in (False, True)
    )
    assert np.isnan(plain).sum() == 3
    covariance = np.cov(plain[:, np.isfinite(plain[0])])
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-6
    assert np.abs(np.cov(white[:, np.isfinite(white[0])]) - np.eye(3)).max() < 1e-5


def test_pixels_are_transformed_alone() -> None:
    stack = values().reshape(3, -1)
    found, _ = fit_components(CPU, samples(values()), recipe())
    whole = found.transform(stack)
    order = np.random.default_rng(0).permutation(stack.shape[1])
    parts = [found.transform(stack[:, rows]) for rows in np.array_split(order, 7)]
    assert np.concatenate(parts, axis=1).tobytes() == whole[:, order].tobytes()
    expected = found.weights @ ((stack.astype(np.float64) - found.mean[:, None]) / found.scale[:, None])
    assert np.nanmax(np.abs(whole - expected)) < 1e-5


def test_a_feature_that_never_changes_adds_nothing() -> None:
    stack = values()
    stack[0] = 0.5
    found, metrics = fit_components(CPU, samples(stack), recipe(components=2))
    assert [weights["red"] for weights in metrics["weights"].values()] == [0.0, 0.0]
    assert np.isfinite(found.transform(stack.reshape(3, -1))).sum() == 2 * 1599


@pytest.mark.parametrize(
    ("changed", "spoil", "message"),
    [
        ({"components": 4}, 1.0, "pca asks for 4 components of 3 features: expected at most 3"),
        (
            {"components": 3, "whiten": True},
            0.0,
            "component_3 has no variance, so it cannot be whitened: expected at most 2",
        ),
    ],
)
def test_components_that_are_not_there_are_refused(changed: dict[str, Any], spoil: float, message: str) -> None:
    stack = values()
    stack[0] *= np.float32(spoil)
    with pytest.raises(RequestError, match=message):
        fit_components(CPU, samples(stack), recipe(**changed))


def test_too_few_pixels_and_features_that_never_change_are_refused() -> None:
    with pytest.raises(RequestError, match="3 pixels have all of red, nir, ndvi_p50: expected more than 3"):
        fit_components(CPU, replace(samples(values()), table=samples(values()).table.head(3)), recipe())
    with pytest.raises(RequestError, match="no feature of red, nir, ndvi_p50 changes from pixel to pixel"):
        fit_components(CPU, samples(np.ones((3, 4, 4), np.float32)), recipe())


def fitted() -> Components:
    return fit_components(CPU, samples(values()), recipe(components=2))[0]


def test_the_file_gives_the_same_components_and_the_same_bytes() -> None:
    found = fitted()
    read = components_from_bytes(found.to_bytes(), "components.npz")
    assert read.digest() == found.digest()
    assert read.to_bytes() == found.to_bytes()
    assert read.feature_names == NAMES


@pytest.mark.parametrize("name", [field.name for field in fields(Components)])
def test_the_digest_tells_every_field(name: str) -> None:
    value = getattr(fitted(), name)
    changed = tuple(reversed(value)) if isinstance(value, tuple) else value[::-1]
    assert replace(fitted(), **{name: changed}).digest() != fitted().digest()


@pytest.mark.parametrize(
    ("name", "spoiled"),
    [
        ("mean", np.zeros(2)),
        ("scale", np.zeros(3)),
        ("weights", np.zeros((2, 4))),
        ("weights", np.zeros((2, 3), np.float32)),
        ("mean", np.full(3, np.nan)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, spoiled: NDArray[Any]) -> None:
    found = fitted()
    arrays = {"mean": found.mean, "scale": found.scale, "weights": found.weights} | {name: spoiled}
    with pytest.raises(RequestError, match=r"bad.npz is damaged, it is no sound neocube-components-1"):
        components_from_bytes(packed(FORMAT, {"feature_names": NAMES}, arrays), "bad.npz")


def test_another_number_of_features_is_refused() -> None:
    with pytest.raises(RequestError, match="the transform needs 3 features, got 2"):
        fitted().transform(np.zeros((2, 5), np.float32))


def test_the_card_says_what_each_component_explains() -> None:
    _, metrics = fit_components(CPU, samples(values()), recipe(components=2))
    facts = TransformFacts("id", "digest", "matang", "2020", "EPSG:32647", ("a",), 1599, 1, "cpu", {}, 1)
    text = transform_markdown(recipe(components=2), facts, metrics)
    assert "| component_1 |" in text and "1 pixels lacked a feature" in text
    assert "1 of 1 feature cells were stale" in text
    document = transform_document(recipe(components=2), facts, metrics)
    assert document["score"] == "explained variance"
    assert document["simulated"] is None
    assert PcaRecipe.model_validate(document["recipe"]) == recipe(components=2)


def test_the_product_has_a_measurement_for_each_component() -> None:
    template = components_template(recipe(components=2))
    assert template.measurements == {"component_1": ("features", 0), "component_2": ("features", 1)}
    assert template.product == "coast_components"


def test_a_recipe_with_pca_is_a_transform_and_no_classifier(tmp_path: Any) -> None:
    path = tmp_path / "coast.yaml"
    path.write_text(TEXT)
    assert isinstance(learned_recipe(str(path)), PcaRecipe)
    with pytest.raises(
        RequestError, match="the recipe 'coast_pca' has `pca`: expected a model that is learned from labels"
    ):
        model_recipe(str(path))
    with pytest.raises(
        RequestError, match=r"coast.yaml, line 6, pca.componants: unknown key 'componants'; near ones: components"
    ):
        parse_recipe(TEXT.replace("components: 3", "componants: 3"), "coast.yaml")


@pytest.mark.parametrize("changed", [{"components": 2}, {"standardise": False}, {"whiten": True}, {"max_pixels": 500}])
def test_what_changes_the_transform_changes_the_digest(changed: dict[str, Any]) -> None:
    assert recipe(**changed).digest() != recipe().digest()


@pytest.mark.gpu
@pytest.mark.skipif(
    importlib.util.find_spec("cuml") is None or choose_backend("auto").device == "cpu",
    reason="no CUDA device, or cudf and cuml are not installed",
)
def test_components_of_the_gpu_are_those_of_the_cpu() -> None:
    gpu = choose_backend("gpu")
    ours, theirs = (fit_components(backend, samples(values(), backend), recipe())[0] for backend in (gpu, CPU))
    assert np.abs(ours.weights - theirs.weights).max() < 1e-4
