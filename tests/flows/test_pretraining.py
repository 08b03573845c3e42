"""An encoder learned without labels: it fills in what is masked better than the mean does, and a U-Net begins with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from products.errors import RequestError
from products.learning.masked_spec import MaskedSpec
from products.learning.masking import CellPixels, drawn_mask, patch_places, validation_blocks
from products.learning.network_spec import UnetSpec
from products.learning.splits import block_ids

REASON = "the packages of the extra deep are not installed"
SMALL: dict[str, Any] = {
    "depth": 3, "patch_px": 16, "mask_px": 4, "mask_share": 0.4, "batch": 4, "patches": 24, "epochs": 4, "block_m": 960,
    "learning_rate": 0.005,
}  # fmt: skip
SIDE_PX, NAMES = 96, ("red", "nir")
X, Y = 500_015 + 30.0 * np.arange(SIDE_PX), 600_015 - 30.0 * np.arange(SIDE_PX)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"patch_px": 40}, r"patch_px as a multiple of 2 to the power of depth \(16\), got 40"),
        ({"mask_px": 24}, r"patch_px as a multiple of mask_px \(24\), got 64"),
        (
            {"mask_px": 32, "mask_share": 0.1},
            "some squares of a patch masked and some not, mask_share 0.1 of 4 masks 0",
        ),
        ({"patches": 8}, r"at least as many as batch \(16\), got 8"),
    ],
)
def test_a_masking_that_cannot_be_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskedSpec.model_validate(asked)


def test_whole_squares_are_masked_as_many_as_said() -> None:
    spec = MaskedSpec.model_validate(SMALL)
    mask = drawn_mask(spec, np.random.default_rng(1))
    squares = mask.reshape(4, 4, 4, 4).swapaxes(1, 2).reshape(16, 16)
    assert mask.shape == (16, 16) and (squares.all(axis=1) | ~squares.any(axis=1)).all()
    assert squares.all(axis=1).sum() == spec.n_masked == 6
    assert (drawn_mask(spec, np.random.default_rng(2)) != mask).any()


def test_patches_to_learn_from_touch_no_block_that_validates() -> None:
    spec, is_there = MaskedSpec.model_validate(SMALL), np.ones((SIDE_PX, SIDE_PX), np.bool_)
    (train,), (validation,) = patch_places([CellPixels(X, Y, is_there)], spec, 1)
    block = block_ids(*(axis.ravel() for axis in np.meshgrid(X, Y)), spec.block_m).reshape(SIDE_PX, SIDE_PX)

    def blocks(places: NDArray[np.int32]) -> set[int]:
        return {
            int(each)
            for row, column in places
            for each in block[row : row + 16 : 15, column : column + 16 : 15].ravel()
        }

    assert len(train) and len(validation) and not blocks(train) & blocks(validation)
    assert len(patch_places([CellPixels(X, Y, ~is_there)], spec, 1)[0][0]) == 0


def test_a_fifth_of_the_blocks_validates_and_at_least_one_none_of_which_is_a_sliver() -> None:
    block = np.repeat(np.arange(10), 100)
    held = validation_blocks(np.concatenate([block, np.full(9, 77)]), 1)
    assert held.size == 2 and 77 not in held and (np.sort(validation_blocks(block[::-1], 1)) == np.sort(held)).all()
    assert any((np.sort(validation_blocks(block, seed)) != np.sort(held)).any() for seed in range(2, 6))
    assert validation_blocks(np.full(5, -3), 1).tolist() == [-3]


def scene() -> NDArray[np.float32]:
    """(feature, y, x): waves that a masked square can be told from; some pixels are missing."""
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    red = 0.2 + 0.1 * np.sin(columns / 9 + rows / 17)
    found = np.stack([red, 0.5 - red]) + np.random.default_rng(2).normal(0, 0.005, (2, SIDE_PX, SIDE_PX))
    found[:, 5:8, 5:8] = np.nan
    return found.astype(np.float32)


def learned(folder: Path, **changed: Any) -> tuple[Any, dict[str, Any]]:
    pytest.importorskip("lightning", reason=REASON)
    pytest.importorskip("segmentation_models_pytorch", reason=REASON)
    from flows.steps.networks.pretraining import MaskedTrainingData, pretrain
    from flows.steps.networks.training_loop import TrainerOptions

    spec = MaskedSpec.model_validate(SMALL | changed)
    places = patch_places([CellPixels(X, Y, np.isfinite(scene()).any(axis=0))], spec, 1)
    data = MaskedTrainingData(spec, NAMES, lambda _: scene(), *places, 1)
    return pretrain(data, TrainerOptions(folder), "waves")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    return learned(tmp_path_factory.mktemp("encoder"))


def test_what_is_masked_is_told_better_than_by_the_mean(encoder: tuple[Any, dict[str, Any]]) -> None:
    values, told = scene(), encoder[1]
    scaled = (values - np.nanmean(values, axis=(1, 2), keepdims=True)) / np.nanstd(values, axis=(1, 2), keepdims=True)
    assert told["by_mean"] == pytest.approx(np.nanmean(np.abs(scaled)), rel=0.3)
    assert told["validation"] == min(each["validation"] for each in told["losses"]) < 0.8 * told["by_mean"]


@pytest.mark.full
def test_a_unet_begins_with_the_encoder_and_the_same_again_gives_the_same_bytes(
    encoder: tuple[Any, dict[str, Any]], tmp_path: Path
) -> None:
    from flows.steps.networks.architecture import Architecture
    from flows.steps.networks.start_weights import begun

    path = tmp_path / "encoder.safetensors"
    path.write_bytes(encoder[0].to_bytes())
    module: Any = begun(Architecture("unet", "resnet18", 3, 3, 4), UnetSpec(weights=str(path), depth=3), 7)
    state = module.encoder.state_dict()
    for name, value in encoder[0].weights.items():
        np.testing.assert_array_equal(state[name].numpy(), value)
    assert set(encoder[0].weights) == set(state)
    assert learned(tmp_path / "again")[0].to_bytes() == encoder[0].to_bytes()


def test_an_encoder_comes_back_from_its_file_and_other_files_are_refused(encoder: tuple[Any, dict[str, Any]]) -> None:
    from flows.steps.networks.encoder_file import encoder_from_bytes
    from flows.steps.networks.network import network_from_bytes

    found = encoder[0]
    back = encoder_from_bytes(found.to_bytes(), "model")
    assert back.to_bytes() == found.to_bytes() and back.digest() == found.digest()
    assert back.describe().startswith("the encoder resnet18 (") and back.feature_names == NAMES
    assert (
        len({found.digest(), replace(found, depth=4).digest(), replace(found, feature_names=("nir", "red")).digest()})
        == 3
    )
    with pytest.raises(RequestError, match="expected model to be a neocube-network-1, it is a neocube-encoder-1"):
        network_from_bytes(found.to_bytes(), "model")
    with pytest.raises(RequestError, match="model is not a readable network"):
        encoder_from_bytes(b"nothing", "model")


def test_ground_too_narrow_for_a_patch_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no patch of 64 px to .* fits between the blocks of 960 m"):
        learned(tmp_path, patch_px=64, mask_px=8)
