"""Networks of whole chips learned from arrays: frozen stages stay, shares are told, squares of a window are chips, and the file comes back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from products.errors import RequestError
from products.learning.chip_means import chip_means
from products.learning.chip_spec import ChipSpec
from tests.flows.broken_off import Broken, breaking_off

REASON = "the packages of the extra deep are not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("lightning", reason=REASON)
smp = pytest.importorskip("segmentation_models_pytorch", reason=REASON)
NAMES, CLASSES, SIZE_PX = ("red", "nir"), ("forest", "water"), 8
SMALL: dict[str, Any] = {"encoder": "resnet18", "depth": 3, "batch": 16, "epochs": 4, "patience": 9, "dropout": 0}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"freeze": 4, "depth": 3, "weights": "imagenet"}, r"expected freeze of at most depth \(3 stages\), got 4"),
        ({"freeze": 2}, "freeze keeps 2 stages as they begin, which without `weights` is at random: name weights"),
        ({"thaw": 2, "weights": "imagenet"}, "thaw lets frozen stages learn: name how many in `freeze`"),
        ({"head": "boxes"}, "Input should be 'classes' or 'shares'"),
    ],
)
def test_a_network_of_chips_that_cannot_be_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChipSpec.model_validate(asked)


def test_stages_are_frozen_until_they_thaw() -> None:
    spec = ChipSpec(weights="imagenet", freeze=3, thaw=2)
    assert [spec.frozen_stages(epoch) for epoch in range(4)] == [3, 3, 0, 0]
    assert ChipSpec(weights="imagenet", freeze=3).frozen_stages(99) == 3
    assert spec.what_is_full == "a batch of 16 chips does not fit; lower batch"


def test_the_mean_of_a_chip_is_that_of_the_pixels_that_have_the_feature() -> None:
    chips = np.full((2, 2, 2, 2), np.nan, np.float32)
    chips[0, 0] = [[1, 2], [3, np.nan]]
    chips[1, 1] = 5
    np.testing.assert_array_equal(chip_means(chips), [[2, np.nan], [np.nan, 5]])


def known_chips(n: int = 96) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Chips (n, feature, y, x) whose columns are water from the left up to one that is drawn, and the shares (n, class); some pixels are missing."""
    random = np.random.default_rng(3)
    width = random.integers(0, SIZE_PX + 1, n)
    is_water = np.broadcast_to(np.arange(SIZE_PX) < width[:, None, None], (n, SIZE_PX, SIZE_PX))
    levels = np.array([[0.05, 0.4], [0.04, 0.02]])
    chips = np.moveaxis(levels[is_water.astype(int)], 3, 1) + random.normal(0, 0.02, (n, 2, SIZE_PX, SIZE_PX))
    chips[5, :, :2, :2] = np.nan
    share = (width / SIZE_PX).astype(np.float32)
    return chips.astype(np.float32), np.stack([1 - share, share], axis=1)


def training_data(**changed: Any) -> Any:
    from flows.steps.networks.train_chips import ChipTrainingData

    chips, shares = known_chips()
    numbers = np.arange(len(chips))
    spec = ChipSpec.model_validate(SMALL | changed)
    return ChipTrainingData(
        spec, SIZE_PX, NAMES, CLASSES, lambda chosen: chips[chosen], shares, numbers[:64], numbers[64:], 1
    )


def trained(folder: Path, tell: Any = None, **changed: Any) -> tuple[Any, dict[str, Any]]:
    from flows.steps.networks.train_chips import train_chips
    from flows.steps.networks.training_loop import TrainerOptions

    return train_chips(training_data(**changed), TrainerOptions(folder), "chips", tell)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A file of the weights of an encoder, and its arrays."""
    torch.manual_seed(9)
    state: dict[str, Any] = smp.encoders.get_encoder("resnet18", in_channels=3, weights=None).state_dict()
    path = tmp_path_factory.mktemp("encoder") / "encoder.pt"
    torch.save(state, path)
    return path, state


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    return trained(tmp_path_factory.mktemp("learned"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    return trained(tmp_path_factory.mktemp("shared"), head="shares", epochs=8)


def test_the_most_frequent_class_of_chips_never_trained_on_is_told(learned: tuple[Any, dict[str, Any]]) -> None:
    network, told = learned
    chips, shares = known_chips()
    found = network.probabilities(chips[64:])
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    is_clear = np.abs(shares[64:, 0] - 0.5) > 0.2
    assert (found.argmax(axis=1) == shares[64:].argmax(axis=1))[is_clear].mean() > 0.8
    assert told["losses"][-1]["train"] < 0.7 * told["losses"][0]["train"]


@pytest.mark.full
def test_the_share_of_each_class_is_told_where_the_head_learned_shares(shared: tuple[Any, dict[str, Any]]) -> None:
    from flows.steps.learning.chip_training import share_scores

    chips, shares = known_chips()
    scores = share_scores(shares[64:], shared[0].probabilities(chips[64:]), CLASSES)
    assert scores["water"]["rmse"] < 0.25 and scores["water"]["r2"] > 0.3
    assert scores["forest"]["bias"] == pytest.approx(-scores["water"]["bias"], abs=1e-5)
    assert shared[0].shape().task == "regression" and "the share of each class" in shared[0].describe()


def kept(network: Any, state: dict[str, Any], names: tuple[str, ...]) -> list[bool]:
    """Whether arrays of the encoder are what they were in the beginning."""
    return [np.array_equal(network.weights[f"encoder.{name}"], state[name].numpy()) for name in names]


@pytest.mark.full
def test_frozen_stages_keep_weights_and_statistics_until_they_thaw(
    encoder: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    early = ("bn1.running_mean", "bn1.weight", "layer1.0.conv1.weight", "layer1.1.bn2.running_var")
    frozen: dict[str, Any] = {"weights": str(encoder[0]), "freeze": 2, "epochs": 3}
    network, _ = trained(tmp_path / "frozen", **frozen)
    assert all(kept(network, encoder[1], early))
    assert not any(kept(network, encoder[1], ("layer2.0.conv1.weight", "layer2.0.bn1.running_mean")))
    thawed, told = trained(tmp_path / "thawed", **frozen, thaw=1)
    assert told["best_epoch"] > 1 and not any(kept(thawed, encoder[1], early))


def test_a_stage_is_what_decides_its_features_whichever_encoder() -> None:
    from flows.steps.networks.chip_architecture import ChipArchitecture, untrained_chips

    for name, last, next_one in (
        ("resnet18", "layer1.1.bn2.weight", "layer2.0.conv1.weight"),
        ("efficientnet-b0", None, "_conv_head.weight"),
    ):
        module: Any = untrained_chips(ChipArchitecture(name, 5, 3, 2))
        module.train()
        module.freeze(2)
        weights = dict(module.encoder.named_parameters())
        assert last is None or not weights[last].requires_grad
        assert next_one not in weights or weights[next_one].requires_grad
        assert not next(iter(weights.values())).requires_grad and any(each.requires_grad for each in weights.values())
        assert module.still and not any(part.training for part in module.still) and module.head.training
        module.freeze(0)
        assert all(each.requires_grad for each in weights.values()) and not module.still


@pytest.mark.full
def test_a_training_that_broke_off_ends_with_the_weights_of_an_undisturbed_one(
    learned: tuple[Any, dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(Broken, match=r"^$"):
        trained(tmp_path, breaking_off(2))
    network, how = trained(tmp_path)
    assert how["losses"] == learned[1]["losses"] and network.digest() == learned[0].digest()


def test_too_few_chips_for_a_batch_are_told_with_what_to_lower(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there are 64 chips to train on and 32 to validate with: .* batch of 65"):
        trained(tmp_path, batch=65)


def test_a_network_comes_back_from_its_file_byte_for_byte_and_one_that_does_not_fit_is_refused(
    learned: tuple[Any, dict[str, Any]],
) -> None:
    from flows.steps.networks.chip_network import ChipNetwork
    from flows.steps.networks.saved_network import saved_network

    network, content = learned[0], learned[0].to_bytes()
    back = saved_network(content, "model")
    assert isinstance(back, ChipNetwork) and back.to_bytes() == content
    assert (back.digest(), back.describe()) == (network.digest(), network.describe())
    np.testing.assert_array_equal(back.probabilities(known_chips()[0]), network.probabilities(known_chips()[0]))
    changed = [replace(network, size_px=16), replace(network, head="shares"), replace(network, std=network.std * 2)]
    assert len({network.digest(), *(each.digest() for each in changed)}) == 4
    for other, message in (
        (replace(network, encoder="resnet34"), r"another architecture than the network of chips with resnet34 .* \d+"),
        (replace(network, depth=9), "not a readable network: depth 9, size_px 8 and head classes are no network"),
        (replace(network, head="boxes"), "not a readable network"),
        (replace(network, encoder="resnet17"), "unknown encoder 'resnet17'"),
    ):
        with pytest.raises(RequestError, match=message):
            saved_network(other.to_bytes(), "model")


def test_each_pixel_of_a_window_has_what_its_chip_on_the_lattice_is_given_however_the_plane_is_cut(
    learned: tuple[Any, dict[str, Any]],
) -> None:
    network, random = learned[0], np.random.default_rng(7)
    plane = random.normal(0.2, 0.1, (2, 32, 40)).astype(np.float32)
    plane[:, 3, 3] = np.nan
    whole = network.probabilities_of_window(plane, 0, 0, 0)
    assert whole.shape == (2, 32, 40) and np.isnan(whole[:, 3, 3]).all() and np.isnan(whole).sum() == 2
    chip = plane[:, 8:16, 16:24]
    np.testing.assert_allclose(whole[:, 9, 20], network.probabilities(chip[None])[0], rtol=1e-4, atol=1e-6)
    assert (whole[:, 8:16, 16:24] == whole[:, 8:9, 16:17]).all()
    margin = network.margin_px
    padded = np.pad(plane, ((0, 0), (margin,) * 2, (margin,) * 2), constant_values=np.nan)
    part = padded[:, 5 : 5 + 12 + 2 * margin, 11 : 11 + 13 + 2 * margin]
    found = network.probabilities_of_window(part, margin, 5, 11)
    np.testing.assert_allclose(found, whole[:, 5:17, 11:24], rtol=1e-4, atol=1e-6)
    means = network.looked_at(part, margin, 5, 11)
    np.testing.assert_allclose(means[:, 4, 9], chip.mean(axis=(1, 2)), rtol=1e-5)
    with pytest.raises(RequestError, match="the network needs 2 features, got 1"):
        network.probabilities_of_window(plane[:1])
    with pytest.raises(RequestError, match="the network needs 2 features, got 1"):
        network.probabilities(plane[None, :1])


def test_grad_cam_of_a_chip_is_that_of_its_definition(learned: tuple[Any, dict[str, Any]]) -> None:
    """Channels of the deepest features, weighted by their mean gradient for the class, added, cut at 0, scaled to 1."""
    pytest.importorskip("captum", reason=REASON)
    from flows.steps.networks.grad_cam import attention, stage_maps
    from flows.steps.networks.network import bands_of

    network, chip = learned[0], known_chips()[0][70]
    deepest = network.module.encoder(torch.from_numpy(bands_of(chip, network.mean, network.std)[None]))[-1].detach()
    (gradient,) = torch.autograd.grad(network.module.head(deepest.requires_grad_())[0, 1], deepest)
    heat = torch.relu((gradient.mean(dim=(2, 3), keepdim=True) * deepest).sum(dim=1, keepdim=True))
    wide = torch.nn.functional.interpolate(heat, chip.shape[1:], mode="bilinear").detach()[0, 0].numpy()
    np.testing.assert_allclose(attention(network, chip, 1), wide / max(wide.max(), 1e-30), rtol=1e-3, atol=1e-5)
    assert [stage.shape[1:] for stage in stage_maps(network, chip)] == [(4, 4), (2, 2), (1, 1)]
