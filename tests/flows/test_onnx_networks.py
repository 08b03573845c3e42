"""Networks as ONNX graphs: they take features as they are and answer as the network does; a graph of another network is not handed out."""

from typing import Any

import numpy as np
import pytest

REASON = "the packages of the extras deep and export are not installed"
torch = pytest.importorskip("torch", reason=REASON)
for package in ("segmentation_models_pytorch", "safetensors", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason=REASON)
from flows.steps.learning.model_export import checked_graph  # noqa: E402
from flows.steps.networks.onnx_network import (  # noqa: E402
    NETWORK_TOLERANCE,
    network_difference,
    own_answer,
    trial_features,
)
from tests.flows.random_networks import encoder, of_chips, of_patches, over_time  # noqa: E402


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
