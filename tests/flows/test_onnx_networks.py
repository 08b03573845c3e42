"""Networks as ONNX graphs: they take features as they are and answer as the network does; a graph of another network is not handed out."""

from typing import Any

import numpy as np
import pytest

REASON = "the packages of the extras deep and export are not installed"
torch = pytest.importorskip("torch", reason=REASON)
for package in ("segmentation_models_pytorch", "safetensors", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason=REASON)
from flows.steps.learning.model_export import checked_graph  # noqa: E402
from flows.steps.networks.chip_network import ChipNetwork  # noqa: E402
from flows.steps.networks.encoder_file import Encoder  # noqa: E402
from flows.steps.networks.network import Network  # noqa: E402
from flows.steps.networks.onnx_network import (  # noqa: E402
    NETWORK_TOLERANCE,
    network_difference,
    own_answer,
    trial_features,
)
from flows.steps.networks.temporal_network import TemporalNetwork  # noqa: E402

FEATURES, CLASSES = ("red", "ndvi"), ("mangrove", "water", "other")
MEAN, STD = np.array([0.1, 0.5], np.float32), np.array([0.05, 0.2], np.float32)


def weights(module: Any, seed: int = 1) -> dict[str, Any]:
    """Random weights under which classes differ, and statistics of batches that are not those of nothing."""
    draw = torch.Generator().manual_seed(seed)
    state = module.state_dict()
    return {
        name: (value + 0.1 * torch.rand(value.shape, generator=draw)).numpy()
        if value.dtype.is_floating_point
        else value.numpy()
        for name, value in state.items()
    }


def over_time(kind: str = "tempcnn", seed: int = 1) -> TemporalNetwork:
    from flows.steps.networks.temporal_architecture import TemporalArchitecture, untrained_temporal

    sizes = {"filters": 4, "kernel": 3, "dense": 8} if kind == "tempcnn" else {"width": 8, "heads": 2, "key": 4}
    torch.manual_seed(seed)
    module = untrained_temporal(TemporalArchitecture(kind, sizes, 2, 4, 3))
    names = tuple(f"{name}_{step}" for step in range(1, 5) for name in FEATURES)
    return TemporalNetwork(names, CLASSES, kind, sizes, 4, MEAN, STD, weights(module, seed))


def of_patches(kind: str) -> Network:
    from flows.steps.networks.architecture import Architecture, untrained

    torch.manual_seed(1)
    module = untrained(Architecture(kind, "resnet18", 3, 3, 3))
    return Network(kind, "resnet18", 3, 32, 8, FEATURES, CLASSES, MEAN, STD, weights(module))


def of_chips() -> ChipNetwork:
    from flows.steps.networks.chip_architecture import ChipArchitecture, untrained_chips

    torch.manual_seed(1)
    module = untrained_chips(ChipArchitecture("resnet18", 4, 3, 3))
    return ChipNetwork("resnet18", 4, 32, "shares", FEATURES, CLASSES, MEAN, STD, weights(module))


def encoder() -> Encoder:
    from flows.steps.networks.architecture import Architecture, untrained

    torch.manual_seed(1)
    module: Any = untrained(Architecture("unet", "resnet18", 3, 3, 1)).encoder
    return Encoder("resnet18", 3, FEATURES, weights(module))


@pytest.mark.full
def test_a_network_over_time_answers_the_same_in_another_runtime_and_another_one_does_not() -> None:
    import onnxruntime

    network = over_time()
    content, apart, tolerance = checked_graph(network)
    assert 0 <= apart <= tolerance == NETWORK_TOLERANCE
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert said["digest"] == network.digest() and said["classes"] == "mangrove,water,other"
    features = trial_features(network, 9, seed=5)
    shares, code = session.run(["probabilities", "code"], {"features": features})
    own = own_answer(network, features)
    np.testing.assert_allclose(shares, own, atol=NETWORK_TOLERANCE)
    assert code.tolist() == [*(own[:-1].argmax(axis=1) + 1), 0] and np.isnan(own[-1]).all()
    with pytest.raises(RuntimeError, match=r"differs from the network by .*; it is not handed out"):
        network_difference(over_time(seed=2), content)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["ltae", "unet", "deeplab", "chips", "encoder"])
def test_every_network_answers_the_same_in_another_runtime(kind: str) -> None:
    network: Any
    if kind == "ltae":
        network = over_time("ltae")
    elif kind == "chips":
        network = of_chips()
    else:
        network = encoder() if kind == "encoder" else of_patches(kind)
    content, apart, tolerance = checked_graph(network)
    assert 0 <= apart <= tolerance and len(content) > 10_000
