"""What a network looks at: Grad-CAM as its paper defines it, feature maps of the encoder, and the patches that are shown; with random weights."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flows.steps.learning.network_looks import looks_shown, pixels_in, surest
from flows.steps.networks.network import Network, bands_of
from flows.steps.pictures.networks import attention_picture, stages_picture
from products.grid import PixelGrid, Tile
from products.learning.patch_look import PatchLook, strongest

REASON = "the packages of the extra deep are not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("segmentation_models_pytorch", reason=REASON)
pytest.importorskip("captum", reason=REASON)
NAMES, CLASSES, SIDE_PX = ("red", "nir"), ("mangrove", "water", "other"), 32


def made(kind: Any) -> Network:
    from flows.steps.networks.architecture import Architecture, untrained

    torch.manual_seed(3)
    module = untrained(Architecture(kind, "resnet18", 3, len(NAMES) + 1, len(CLASSES)))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    mean, std = np.array([0.1, 0.3], np.float32), np.array([0.1, 0.1], np.float32)
    return Network(kind, "resnet18", 3, SIDE_PX, 6, NAMES, CLASSES, mean=mean, std=std, weights=weights)


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {kind: made(kind) for kind in ("unet", "deeplab")}


def patch() -> NDArray[np.float32]:
    found = np.random.default_rng(5).normal(0.3, 0.2, (len(NAMES), SIDE_PX, SIDE_PX)).astype(np.float32)
    found[:, :3, :3] = np.nan
    return found


def given(network: Network) -> list[int]:
    """The numbers of the classes that some pixel of the patch gets."""
    from flows.steps.networks.grad_cam import answer

    return [int(code) - 1 for code in np.unique(answer(network, patch()))]


def expected(network: Network, number: int) -> NDArray[np.float32]:
    """Grad-CAM without hooks: channels of the deepest features, weighted by their mean gradient, added, cut at 0, scaled to 1."""
    module: Any = network.module
    features = module.encoder(torch.from_numpy(bands_of(patch(), network.mean, network.std)[None]))
    deepest = features[-1].detach().requires_grad_()
    logits = module.segmentation_head(module.decoder([*(each.detach() for each in features[:-1]), deepest]))
    score = logits[0, number][logits[0].argmax(dim=0) == number].sum()
    (gradient,) = torch.autograd.grad(score, deepest)
    heat = torch.relu((gradient.mean(dim=(2, 3), keepdim=True) * deepest).sum(dim=1, keepdim=True))
    wide = torch.nn.functional.interpolate(heat, (SIDE_PX, SIDE_PX), mode="bilinear").detach()[0, 0]
    found: NDArray[np.float32] = (wide / wide.max().clamp(min=1e-30)).numpy()
    return found


@pytest.mark.parametrize("kind", ["unet", "deeplab"])
def test_grad_cam_is_that_of_its_definition_and_leaves_the_network_as_it_was(
    kind: str, networks: dict[str, Network]
) -> None:
    from flows.steps.networks.grad_cam import attention

    network = networks[kind]
    before = network.probabilities_of_window(patch())
    for number in given(network):
        found = attention(network, patch(), number)
        assert found.shape == (SIDE_PX, SIDE_PX) and found.dtype == np.float32
        np.testing.assert_allclose(found, expected(network, number), rtol=1e-3, atol=1e-5)
        assert found.max() in (0, 1) and found.min() >= 0
    np.testing.assert_array_equal(network.probabilities_of_window(patch()), before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.module.modules())


@pytest.mark.parametrize("kind", ["unet", "deeplab"])
def test_a_class_that_no_pixel_gets_is_looked_for_nowhere(kind: str, networks: dict[str, Network]) -> None:
    from flows.steps.networks.grad_cam import attention

    network = networks[kind]
    module: Any = network.module
    head = module.segmentation_head[0]
    with torch.no_grad():
        was = head.bias.clone()
        head.bias[2] -= 1e4
    assert (attention(network, patch(), 2) == 0).all()
    with torch.no_grad():
        head.bias.copy_(was)


def test_each_stage_of_the_encoder_has_its_maps_each_half_as_wide(networks: dict[str, Network]) -> None:
    from flows.steps.networks.grad_cam import stage_maps

    maps = stage_maps(networks["unet"], patch())
    assert [stage.shape for stage in maps] == [(64, 16, 16), (64, 8, 8), (128, 4, 4)]
    assert all(np.isfinite(stage).all() for stage in maps)


def test_the_channels_that_vary_most_come_first() -> None:
    maps = np.arange(16, dtype=np.float32).reshape(1, 4, 4) * np.array([1, 3, 0, 2], np.float32)[:, None, None]
    np.testing.assert_array_equal(strongest(maps, 2), maps[[1, 3]])
    assert len(strongest(maps, 9)) == 4


def test_of_each_class_the_surest_right_row_of_the_hold_out_is_shown() -> None:
    code = np.array([1, 1, 1, 2, 2, 3])
    shares = np.array(
        [[0.6, 0.4, 0], [0.9, 0.1, 0], [0.7, 0.3, 0], [0.8, 0.2, 0], [0.4, 0.6, 0], [1, 0, 0]], np.float32
    )
    tested = np.array([True, False, True, True, True, True])
    assert surest(code, shares, tested) == [2, 4]


def test_rows_lie_in_the_pixel_that_holds_them() -> None:
    grid = PixelGrid("EPSG:32647", 30.0, 48, 15.0)
    tile = Tile("EPSG:32647", -369, 478)
    box = grid.geobox(tile)
    x, y = box.coordinates["x"].values, box.coordinates["y"].values
    row, column, inside = pixels_in(grid, tile, np.array([x[0], x[47], x[3] + 48 * 30]), np.array([y[0], y[47], y[5]]))
    assert (row[:2].tolist(), column[:2].tolist()) == ([0, 47], [0, 47])
    assert inside.tolist() == [True, True, False]


def test_pictures_and_words_tell_one_patch_a_class(networks: dict[str, Network]) -> None:
    from flows.steps.networks.grad_cam import answer, attention, stage_maps

    network, looks = networks["unet"], []
    for number in (0, 1):
        shown = attention(network, patch(), number), stage_maps(network, patch())
        looks.append(PatchLook(CLASSES[number], 0.91, 500_000.0, 6e5, patch()[0], answer(network, patch()), *shown))
    said, pictures = looks_shown(looks, network)
    assert said["looks"][1] == {"class": "water", "probability": 0.91, "x": 500_000.0, "y": 600_000.0}
    assert set(pictures) == {"gradcam.png", "feature_maps.png"}
    for content in (*pictures.values(), attention_picture(looks, CLASSES, "red"), stages_picture(looks[0])):
        assert content.startswith(b"\x89PNG") and len(content) > 5000
    assert looks_shown([], network) == ({}, {})
