"""A network as a file, the weights it begins with, and overlapping patches that leave no edge: with random weights, untrained."""

import importlib.machinery
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flows.steps.networks.blending import blended, blended_picture
from flows.steps.networks.deep_packages import require_deep
from flows.steps.networks.network import Network, bands_of, network_from_bytes
from flows.steps.networks.weights_file import FORMAT, KEY
from products.errors import RequestError
from products.learning.network_spec import UnetSpec
from products.learning.patches import PatchLattice

REASON = "the packages of the extra deep are not installed"
torch = pytest.importorskip("torch", reason=REASON)
smp = pytest.importorskip("segmentation_models_pytorch", reason=REASON)
NAMES, CLASSES = ("red", "nir", "ndvi_p50", "smad"), ("mangrove", "water", "other")
PATCH_PX, OVERLAP_PX = 16, 6


def made(kind: Any = "unet", encoder: str = "resnet18") -> Network:
    from flows.steps.networks.architecture import Architecture, untrained

    torch.manual_seed(3)
    module = untrained(Architecture(kind, encoder, 3, len(NAMES) + 1, len(CLASSES)))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    mean, std = np.array([0.1, 0.3, 0.5, 0], np.float32), np.array([0.1, 0.1, 0.2, 1], np.float32)
    return Network(kind, encoder, 3, PATCH_PX, OVERLAP_PX, NAMES, CLASSES, mean=mean, std=std, weights=weights)


@pytest.fixture(scope="module")
def network() -> Network:
    return made()


def plane(side_px: int = 56) -> NDArray[np.float32]:
    found = np.random.default_rng(5).normal(0.3, 0.2, (len(NAMES), side_px, side_px)).astype(np.float32)
    found[:, 20:24, 30:33] = np.nan
    found[2, 5:9, 5:9] = np.nan
    return found


def window(features: NDArray[np.float32], row: int, column: int, side_px: int, margin_px: int) -> NDArray[np.float32]:
    padded = np.pad(features, ((0, 0), (margin_px,) * 2, (margin_px,) * 2), constant_values=np.nan)
    return padded[:, row : row + side_px + 2 * margin_px, column : column + side_px + 2 * margin_px]


@pytest.mark.parametrize("is_of_chips", [False, True])
def test_the_statistics_that_a_network_is_used_with_are_those_of_its_batches_after_some_dozen_steps(
    is_of_chips: bool,
) -> None:
    from flows.steps.networks.architecture import Architecture, untrained
    from flows.steps.networks.chip_architecture import ChipArchitecture, untrained_chips

    torch.manual_seed(1)
    encoder = "efficientnet-b0"  # its own momentum, 0.01, would leave half of the first values, 1, after 60 steps
    chips, patches = ChipArchitecture(encoder, 3, 2, 2), Architecture("unet", encoder, 3, 2, 2)
    network: Any = untrained_chips(chips) if is_of_chips else untrained(patches)
    seen: dict[Any, Any] = {}
    for part in (part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        part.register_forward_pre_hook(lambda part, given: seen.update({part: given[0].std((0, 2, 3)) ** 2}))
    bands = 3 * torch.randn(4, 2, 32, 32)
    with torch.no_grad():
        for _ in range(60):
            network(bands)
    off = [float((part.running_var / variance - 1).abs().median()) for part, variance in seen.items()]
    assert len(off) > 20 and max(off) < 1


def test_a_network_comes_back_from_its_file_byte_for_byte(network: Network) -> None:
    content = network.to_bytes()
    back = network_from_bytes(content, "model")
    assert back.to_bytes() == content and back.digest() == network.digest()
    assert (back.feature_names, back.class_names, back.describe()) == (NAMES, CLASSES, network.describe())
    features = plane(24)
    np.testing.assert_array_equal(back.probabilities_of_window(features), network.probabilities_of_window(features))


def test_the_digest_tells_weights_names_and_normalisation_apart(network: Network) -> None:
    name = next(iter(network.weights))
    others = [
        replace(network, weights={**network.weights, name: network.weights[name] + 1}),
        replace(network, class_names=("water", "mangrove", "other")),
        replace(network, mean=network.mean + 1),
        replace(network, overlap_px=4),
    ]
    assert len({network.digest(), *(other.digest() for other in others)}) == 5


def test_a_file_that_is_no_network_or_of_another_architecture_is_refused(network: Network) -> None:
    content = network.to_bytes()
    for broken in (b"", b"nothing", content[:1000], content[:-8]):
        with pytest.raises(RequestError, match="model is not a readable network: .*; train it again"):
            network_from_bytes(broken, "model")
    with pytest.raises(
        RequestError, match=r"weights of another architecture than the unet with resnet34 .*\d+ arrays differ"
    ):
        network_from_bytes(replace(network, encoder="resnet34").to_bytes(), "model")
    with pytest.raises(RequestError, match="another architecture than the unet with resnet18"):
        network_from_bytes(replace(network, mean=network.mean[:2]).to_bytes(), "model")
    with pytest.raises(RequestError, match="unknown encoder 'resnet17'"):
        network_from_bytes(replace(network, encoder="resnet17").to_bytes(), "model")
    for changed in ({"kind": "transformer"}, {"patch_px": -16}, {"overlap_px": 15}):
        with pytest.raises(RequestError, match="model is not a readable network"):
            network_from_bytes(replace(network, **changed).to_bytes(), "model")
    other = content.replace(FORMAT.encode(), FORMAT.replace("1", "9").encode())
    with pytest.raises(RequestError, match="expected model to be a neocube-network-1, it is a neocube-network-9"):
        network_from_bytes(other, "model")


def test_the_header_of_the_file_is_plain_json(network: Network) -> None:
    content = network.to_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    said = json.loads(header["__metadata__"][KEY])
    assert said["encoder"] == "resnet18" and said["feature_names"] == list(NAMES)
    assert header["normalise.mean"]["shape"] == [4]


def test_missing_features_become_the_mean_and_the_last_band_tells_how_many_are_there(network: Network) -> None:
    features = plane()
    bands = bands_of(features, network.mean, network.std)
    assert bands.shape == (5, 56, 56) and np.isfinite(bands).all() and bands.dtype == np.float32
    assert (bands[:, 21, 31] == 0).all() and bands[4, 6, 6] == 0.75 and bands[4, 0, 0] == 1 and bands[2, 6, 6] == 0
    np.testing.assert_allclose(bands[0, 0, 0], (features[0, 0, 0] - 0.1) / 0.1, rtol=1e-6)


@pytest.mark.parametrize("side_px", [14, 28])
def test_cells_give_what_the_whole_area_gives_where_neighbours_are_in_the_margin(
    side_px: int, network: Network
) -> None:
    features, first = plane(), (-37, 1001)
    whole = network.probabilities_of_window(features, 0, *first)
    for row in range(0, 56, side_px):
        for column in range(0, 56, side_px):
            part = window(features, row, column, side_px, network.margin_px)
            found = network.probabilities_of_window(part, network.margin_px, first[0] + row, first[1] + column)
            np.testing.assert_array_equal(found, whole[:, row : row + side_px, column : column + side_px])


def test_more_margin_than_patches_reach_changes_nothing_and_less_does(network: Network) -> None:
    features = plane()
    found = {
        margin: network.probabilities_of_window(window(features, 20, 20, 14, margin), margin, 20, 20)
        for margin in (0, network.margin_px, network.margin_px + 9)
    }
    np.testing.assert_array_equal(found[network.margin_px], found[network.margin_px + 9])
    assert np.nanmax(np.abs(found[0] - found[network.margin_px])) > 1e-3


def test_probabilities_add_up_to_one_and_are_missing_only_where_all_features_are(network: Network) -> None:
    features = plane()
    found = network.probabilities_of_window(features)
    assert found.shape == (3, 56, 56) and found.dtype == np.float32
    assert (np.isnan(found[0]) == np.isnan(features).all(axis=0)).all()
    np.testing.assert_allclose(np.nansum(found, axis=0)[np.isfinite(found[0])], 1, rtol=1e-5)
    with pytest.raises(RequestError, match="the network needs 4 features, got 3"):
        network.probabilities_of_window(features[:3])


def test_a_picture_is_asked_in_patches_that_lie_inside_it() -> None:
    """As in training: with patches that reach beyond a picture, most of what a small one is told comes from nothing."""
    lattice, bands = PatchLattice(16, 8), np.ones((2, 25, 19), np.float32)
    given: list[NDArray[np.float32]] = []

    def forward(patches: NDArray[np.float32]) -> NDArray[np.float32]:
        given.extend(patches)
        return np.asarray(patches[:, :1])

    bands[0] = np.arange(25 * 19).reshape(25, 19)
    found = blended_picture(bands, lattice, forward, 1, 3)
    assert found.shape == (1, 25, 19) and len(given) == 6 and all((patch[1] == 1).all() for patch in given)
    np.testing.assert_allclose(found[0], bands[0], rtol=1e-5)
    given.clear()
    small = blended_picture(bands[:, :9, :12], lattice, forward, 1, 1)
    assert len(given) == 1 and given[0].shape == (2, 16, 16)
    np.testing.assert_allclose(small[0], bands[0, :9, :12], rtol=1e-5)


def test_a_picture_of_the_size_of_a_patch_is_told_what_the_patch_is(network: Network) -> None:
    features = plane(PATCH_PX)
    expected = network.probabilities_of_patches(features[None])[0]
    np.testing.assert_allclose(network.probabilities_of_picture(features), expected, rtol=1e-4)


def test_no_edge_shows_where_patches_that_disagree_overlap() -> None:
    """Patches that say other than their neighbours: steps between pixels stay below those of the taper."""
    lattice, bands = PatchLattice(16, 8), np.ones((2, 78, 78), np.float32)
    turn = iter(range(1_000_000))

    def forward(patches: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([np.full((1, 16, 16), next(turn) % 2, np.float32) for _ in patches])

    found = blended(bands, (0, 0), lattice, forward, 1, 4)[0]
    assert found.min() >= 0 and found.max() <= 1 and np.ptp(found) > 0.9
    assert np.abs(np.diff(found, axis=1)).max() < 0.25


def test_a_deeplab_and_an_efficientnet_can_be_asked() -> None:
    for kind, encoder in (("deeplab", "resnet18"), ("unet", "efficientnet-b0")):
        found = made(kind, encoder).probabilities_of_window(plane(20))
        assert found.shape == (3, 20, 20)


def test_parts_of_an_encoder_that_its_depth_leaves_idle_are_not_kept(network: Network) -> None:
    assert not any(name.startswith("encoder.layer4") for name in network.weights)
    assert any(name.startswith("encoder.layer2") for name in network.weights)


def write_encoder(path: Path, name: str, bands: int, prefix: str = "") -> dict[str, Any]:
    torch.manual_seed(9)
    state: dict[str, Any] = smp.encoders.get_encoder(name, in_channels=bands, weights=None).state_dict()
    torch.save({"state_dict": {f"{prefix}{key}": value for key, value in state.items()}}, path)
    return state


@pytest.mark.parametrize(("bands", "prefix"), [(3, ""), (3, "module.encoder."), (2, "backbone."), (5, "")])
def test_weights_of_a_file_are_those_the_encoder_begins_with_its_first_layer_spread_over_the_bands(
    bands: int, prefix: str, tmp_path: Path
) -> None:
    from flows.steps.networks.architecture import Architecture
    from flows.steps.networks.start_weights import begun, weights_digest

    path = tmp_path / "encoder.pt"
    state = write_encoder(path, "resnet18", bands, prefix)
    spec = UnetSpec(weights=str(path), depth=3)
    module: Any = begun(Architecture("unet", "resnet18", 3, 5, 2), spec, 1)
    torch.testing.assert_close(module.encoder.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])
    first = module.encoder.conv1.weight
    assert first.shape[1] == 5
    torch.testing.assert_close(first[:, 4], state["conv1.weight"][:, 4 % bands] * bands / 5)
    assert len(weights_digest(spec)) == 64 and weights_digest(UnetSpec()) == "none"


def test_the_first_layer_answers_to_equal_bands_as_that_of_the_file(tmp_path: Path) -> None:
    from flows.steps.networks.architecture import Architecture
    from flows.steps.networks.start_weights import begun

    state = write_encoder(tmp_path / "encoder.pt", "resnet18", 3)
    module: Any = begun(
        Architecture("unet", "resnet18", 3, 6, 2), UnetSpec(weights=str(tmp_path / "encoder.pt"), depth=3), 1
    )
    torch.testing.assert_close(module.encoder.conv1.weight.sum(1), state["conv1.weight"].sum(1), rtol=1e-4, atol=1e-6)


def test_weights_that_do_not_fit_are_refused_by_what_is_wrong(tmp_path: Path) -> None:
    from flows.steps.networks.architecture import Architecture
    from flows.steps.networks.start_weights import begun

    shape = Architecture("unet", "resnet34", 3, 5, 2)
    write_encoder(tmp_path / "small.pt", "resnet18", 3)
    broken = write_encoder(tmp_path / "fits.pt", "resnet34", 3)
    broken["layer1.0.conv1.weight"][0] = np.nan
    torch.save(broken, tmp_path / "nan.pt")
    (tmp_path / "text.pth").write_text("weights")
    (tmp_path / "text.safetensors").write_text("weights")
    torch.save({"epoch": 3}, tmp_path / "number.pt")
    for name, message in (
        (
            "small.pt",
            r"small.pt are of another architecture than the encoder resnet34: \d+ of its \d+ arrays are lacking",
        ),
        ("nan.pt", "nan.pt hold values that are no finite numbers"),
        ("text.pth", "text.pth is no file of plain weights .*: expected a state dict"),
        ("text.safetensors", "text.safetensors is no file of plain weights"),
        ("number.pt", "number.pt holds dict: expected a state dict, array by name"),
        ("gone.pt", "no file of weights at .*gone.pt"),
    ):
        with pytest.raises(RequestError, match=message):
            begun(shape, UnetSpec(encoder="resnet34", weights=str(tmp_path / name), depth=3), 1)
    with pytest.raises(
        RequestError, match="unknown weights 'moon' of the encoder resnet34: expected a file .*imagenet"
    ):
        begun(shape, UnetSpec(encoder="resnet34", weights="moon", depth=3), 1)


def test_a_file_of_weights_runs_no_code(tmp_path: Path) -> None:
    from flows.steps.networks.architecture import Architecture
    from flows.steps.networks.start_weights import begun

    torch.save({"conv1.weight": Path("anything")}, tmp_path / "code.pt")
    with pytest.raises(RequestError, match="code.pt is no file of plain weights"):
        begun(Architecture("unet", "resnet18", 3, 5, 2), UnetSpec(weights=str(tmp_path / "code.pt"), depth=3), 1)


def test_without_the_extra_a_network_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_deep()
    found = importlib.machinery.PathFinder.find_spec
    monkeypatch.delitem(sys.modules, "lightning", raising=False)
    monkeypatch.setattr(
        importlib.machinery.PathFinder,
        "find_spec",
        lambda name, path=None, target=None: None if name == "lightning" else found(name, path, target),
    )
    with pytest.raises(RequestError, match=r"networks need lightning: pip install 'neocube\[deep\]'"):
        require_deep()
