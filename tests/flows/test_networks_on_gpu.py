"""Networks asked and trained on a GPU: what they answer on the CPU, the same bytes each time; without one, refused in a line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from products.devices import NETWORKS, Backend, choose_backend
from products.errors import RequestError

REASON = "the packages of the extra deep are not installed"
torch = pytest.importorskip("torch", reason=REASON)
for package in ("lightning", "segmentation_models_pytorch", "safetensors"):
    pytest.importorskip(package, reason=REASON)
from tests.flows.network_training_data import features as coast  # noqa: E402
from tests.flows.network_training_data import split, training_data, truth  # noqa: E402
from tests.flows.random_networks import of_chips, of_patches, over_time  # noqa: E402

AS_ON_THE_CPU, BUT_FOR = (
    1e-4,
    1e-3,
)  # of a probability; a share, as random weights make logits of which the last digit can be one
gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is available to torch")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def window() -> np.ndarray[Any, Any]:
    values = np.random.default_rng(3).normal(0.3, 0.2, (2, 150, 130)).astype(np.float32)
    values[:, 20:30, 20:30], values[0, 60:64, 60:64] = np.nan, np.nan
    return values


def answer(kind: str, device: Any) -> np.ndarray[Any, Any]:
    """What a network of a kind says of the same ground."""
    if kind in ("unet", "deeplab"):
        return of_patches(kind).on(device).probabilities_of_window(window())
    if kind == "chips":
        return of_chips().on(device).probabilities_of_window(window())
    pixels = np.random.default_rng(4).normal(0.3, 0.2, (8, 5000)).astype(np.float32)
    return over_time(kind).on(device).probabilities(pixels)


@gpu
@needs_gpu
@pytest.mark.parametrize("kind", ["unet", "deeplab", "chips", "tempcnn", "ltae"])
def test_a_network_answers_on_a_gpu_as_on_the_cpu_and_the_same_each_time(kind: str) -> None:
    here, there = answer(kind, "cpu"), answer(kind, "gpu")
    assert np.nanstd(here) > 1e-3
    np.testing.assert_array_equal(np.isnan(there), np.isnan(here))
    assert np.isclose(there, here, rtol=0, atol=AS_ON_THE_CPU, equal_nan=True).mean() > 1 - BUT_FOR
    np.testing.assert_array_equal(answer(kind, "gpu"), there)


@gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "16-mixed"])
def test_a_network_that_learned_on_a_gpu_knows_blocks_it_never_saw(precision: str, tmp_path: Path) -> None:
    from flows.steps.networks.train_network import train_network
    from flows.steps.networks.training_loop import TrainerOptions

    given = training_data(precision=precision, epochs=6, patches=64)
    network, told = train_network(given, TrainerOptions(tmp_path, "gpu"), "coast")
    losses = [each["train"] for each in told["losses"]]
    assert losses[-1] < 0.8 * losses[0]
    shares = network.on("gpu").probabilities_of_window(coast())
    held = split().test_rows(split().holdout).reshape(truth().shape) & np.isfinite(shares[0])
    assert (shares.argmax(axis=0) + 1 == truth())[held].mean() > 0.6
    assert all(isinstance(each, np.ndarray) for each in network.weights.values())


@gpu
@needs_gpu
def test_a_gpu_that_is_full_is_told_in_one_line(tmp_path: Path) -> None:
    from flows.steps.networks.train_network import train_network
    from flows.steps.networks.training_loop import TrainerOptions

    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        with pytest.raises(RequestError, match="the GPU is full: a batch of 4 patches of 16 px does not fit"):
            train_network(training_data(), TrainerOptions(tmp_path, "gpu"), "full")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_device_is_no_part_of_a_network() -> None:
    network = over_time()
    elsewhere = network.on("gpu")
    assert (network.device, elsewhere.device) == ("cpu", "gpu")
    assert elsewhere.on("cpu").device == "cpu" and network.on("cpu") is network
    assert elsewhere.digest() == network.digest() and elsewhere.to_bytes() == network.to_bytes()


def test_tables_stay_on_the_host_where_only_torch_has_the_gpu() -> None:
    backend = Backend("gpu", "asked for", NETWORKS)
    table = backend.table({"red": np.arange(3)})
    assert backend.xp is np and backend.free_bytes() is None
    assert backend.concat([table, table])["red"].tolist() == [0, 1, 2, 0, 1, 2]


@without_gpu
def test_networks_ask_torch_whether_there_is_a_gpu() -> None:
    assert choose_backend("auto", NETWORKS).device == "cpu"
    with pytest.raises(
        RequestError, match="the device gpu was asked for, but no CUDA device is available to torch; use --device cpu"
    ):
        choose_backend("gpu", NETWORKS)
