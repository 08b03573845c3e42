"""Networks over time learned from arrays: they tell courses apart that mean the same, keep as a file, and answer for each pixel alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from products.errors import RequestError
from products.learning.temporal_spec import TEMPORAL_SPECS, LtaeSpec, TempcnnSpec, TemporalKind
from tests.flows.broken_off import Broken, breaking_off

REASON = "the packages of the extra deep are not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("lightning", reason=REASON)
N_STEPS, LAYERS, CLASSES = 8, ("red", "ndvi"), ("early", "late")
NAMES = tuple(f"{layer}_{step}" for step in range(1, N_STEPS + 1) for layer in LAYERS)
LOOP: dict[str, Any] = {"batch": 32, "epochs": 6, "patience": 9, "learning_rate": 0.01, "dropout": 0.1}
SIZES: dict[TemporalKind, dict[str, int]] = {
    "tempcnn": {"filters": 8, "kernel": 3, "dense": 16},
    "ltae": {"width": 16, "heads": 4, "key": 4},
}
KINDS: tuple[TemporalKind, ...] = ("tempcnn", "ltae")


def courses(n: int = 400, seed: int = 4) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(n, step and layer) and codes: both classes peak once and have the same values, one early and one late, with noise."""
    random = np.random.default_rng(seed)
    code = random.integers(1, 3, n).astype(np.uint8)
    peak = np.where(code == 1, 2, 5)[:, None] + random.integers(-1, 2, n)[:, None]
    hill = np.exp(-((np.arange(N_STEPS) - peak) ** 2) / 2.0)
    series = np.stack([0.3 - 0.2 * hill, 0.2 + 0.6 * hill], axis=2) + random.normal(0, 0.05, (n, N_STEPS, 2))
    return series.reshape(n, -1).astype(np.float32), code


def training_data(kind: TemporalKind, **changed: Any) -> Any:
    from flows.steps.networks.train_temporal import SeriesTrainingData

    features, code = courses()
    rows = np.arange(code.size)
    spec = TEMPORAL_SPECS[kind].model_validate(SIZES[kind] | LOOP | changed)
    return SeriesTrainingData(kind, spec, NAMES, LAYERS, CLASSES, features, code, rows < 300, rows >= 300, 1)


def trained(kind: TemporalKind, folder: Path, tell: Any = None, **changed: Any) -> tuple[Any, dict[str, Any]]:
    from flows.steps.networks.train_temporal import train_temporal
    from flows.steps.networks.training_loop import TrainerOptions

    return train_temporal(training_data(kind, **changed), TrainerOptions(folder), "courses", tell)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, dict[str, Any]]]:
    return {kind: trained(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_courses_that_mean_the_same_are_told_apart(kind: str, learned: dict[str, tuple[Any, dict[str, Any]]]) -> None:
    network, told = learned[kind]
    features, code = courses(200, seed=9)
    means = features.reshape(200, N_STEPS, 2).mean(axis=1)
    assert abs(means[code == 1].mean() - means[code == 2].mean()) < 0.02
    assert (network.classify(features.T)[0] == code).mean() > 0.9
    assert told["epochs"] == 6 and told["losses"][-1]["train"] < 0.7 * told["losses"][0]["train"]
    assert told["losses"][told["best_epoch"] - 1]["validation"] == min(each["validation"] for each in told["losses"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_pixel_is_answered_whatever_is_asked_beside_it_and_without_a_step_it_has_no_class(
    kind: str, learned: dict[str, tuple[Any, dict[str, Any]]]
) -> None:
    network, (features, _) = learned[kind][0], courses(60, seed=3)
    shares = network.probabilities(features.T)
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(network.probabilities(features[::-1].T)[:, ::-1], shares, rtol=1e-4, atol=1e-6)
    features[7, 5] = np.nan
    codes, percent = network.classify(features.T)
    assert codes[7] == 0 and (percent[:, 7] == 255).all() and np.delete(codes, 7).all()
    np.testing.assert_array_equal(np.delete(network.probabilities(features.T), 7, 1), np.delete(shares, 7, 1))
    with pytest.raises(RequestError, match="the model needs 16 features, got 15"):
        network.classify(features.T[:15])


@pytest.mark.parametrize("kind", KINDS)
def test_more_pixels_than_a_batch_are_answered_as_few(
    kind: str, learned: dict[str, tuple[Any, dict[str, Any]]]
) -> None:
    from flows.steps.networks.temporal_network import BATCH

    network, (features, _) = learned[kind][0], courses(40, seed=3)
    many = np.tile(features, (BATCH // 40 + 2, 1))
    assert len(many) > BATCH
    found = network.probabilities(many.T)
    np.testing.assert_allclose(found, np.tile(network.probabilities(features.T), BATCH // 40 + 2), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_and_deviation_of_a_layer_are_those_of_all_steps_of_training_pixels(
    kind: str, learned: dict[str, tuple[Any, dict[str, Any]]]
) -> None:
    steps = courses()[0][:300].reshape(-1, 2)
    np.testing.assert_allclose(learned[kind][0].mean, steps.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(learned[kind][0].std, steps.std(axis=0), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_comes_back_from_its_file_byte_for_byte(
    kind: str, learned: dict[str, tuple[Any, dict[str, Any]]]
) -> None:
    from flows.steps.networks.saved_network import saved_network
    from flows.steps.networks.temporal_network import TemporalNetwork

    network, content = learned[kind][0], learned[kind][0].to_bytes()
    back = saved_network(content, "model")
    assert isinstance(back, TemporalNetwork) and back.to_bytes() == content
    assert (back.digest(), back.describe()) == (network.digest(), network.describe())
    np.testing.assert_array_equal(back.probabilities(courses(20)[0].T), network.probabilities(courses(20)[0].T))
    name = next(iter(network.weights))
    others = [
        replace(network, weights={**network.weights, name: network.weights[name] + 1}),
        replace(network, class_names=("late", "early")),
        replace(network, mean=network.mean + 1),
        replace(network, n_steps=4),
    ]
    assert len({network.digest(), *(other.digest() for other in others)}) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_does_not_fit_itself_is_refused(kind: str, learned: dict[str, tuple[Any, dict[str, Any]]]) -> None:
    from flows.steps.networks.saved_network import saved_network

    network = learned[kind][0]
    for changed, message in (
        ({"n_steps": 4}, rf"another architecture than the {kind} of 4 steps that it names: \d+ arrays differ"),
        ({"sizes": {**network.sizes, next(iter(network.sizes)): 20}}, f"another architecture than the {kind} of 8"),
        ({"n_steps": 5}, "not a readable network: 16 features are no series of 5 steps"),
        ({"n_steps": 0}, "not a readable network"),
        ({"sizes": {"layers": 3}}, "not a readable network: .*Extra inputs are not permitted"),
        ({"mean": network.mean[:1]}, "arrays differ, such as normalise.mean"),
    ):
        with pytest.raises(RequestError, match=message):
            saved_network(replace(network, **changed).to_bytes(), "model")


@pytest.mark.parametrize("kind", ["tempcnn", pytest.param("ltae", marks=pytest.mark.full)])
def test_a_training_that_broke_off_ends_with_the_weights_of_an_undisturbed_one(
    kind: TemporalKind, learned: dict[str, tuple[Any, dict[str, Any]]], tmp_path: Path
) -> None:
    with pytest.raises(Broken, match=r"^$"):
        trained(kind, tmp_path, breaking_off(2))
    network, how = trained(kind, tmp_path)
    assert how["losses"] == learned[kind][1]["losses"] and network.digest() == learned[kind][0].digest()


def test_too_few_pixels_for_a_batch_are_told_with_what_to_lower(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match="tempcnn has 300 pixels to train on and 100 to validate with: .* batch of 301"
    ):
        trained("tempcnn", tmp_path, batch=301)


def test_a_tempcnn_of_the_paper_has_the_number_of_weights_that_its_layers_have() -> None:
    """Three convolutions, a dense layer and the classes, each but the last with two numbers a channel to normalise: counted by hand."""
    from flows.steps.networks.temporal_architecture import TemporalArchitecture, untrained_temporal

    module = untrained_temporal(TemporalArchitecture("tempcnn", TempcnnSpec().sizes, 3, 46, 13))
    convolutions = (3 * 5 * 64 + 64) + 2 * (64 * 5 * 64 + 64) + 3 * 2 * 64
    expected = convolutions + (46 * 64 * 256 + 256) + 2 * 256 + (256 * 13 + 13)
    assert sum(each.numel() for each in module.parameters()) == expected


def test_attention_sees_the_order_of_steps_and_only_by_its_encoding_of_positions() -> None:
    from flows.steps.networks.temporal_architecture import TemporalArchitecture, untrained_temporal

    torch.manual_seed(2)
    module: Any = untrained_temporal(TemporalArchitecture("ltae", LtaeSpec().sizes, 3, 12, 4)).eval()
    series = torch.randn(5, 3, 12)
    with torch.inference_mode():
        assert (module(series) - module(series.flip(2))).abs().max() > 1e-3
        module.positions = torch.zeros_like(module.positions)
        torch.testing.assert_close(module(series), module(series.flip(2)), rtol=1e-4, atol=1e-5)
