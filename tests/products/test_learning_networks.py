"""Networks before torch comes in: what a recipe may say, where patches lie, how they are joined, changed and normalised."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from products.errors import RequestError
from products.learning.augmentation import augmented
from products.learning.band_statistics import class_weights, mean_and_std
from products.learning.network_spec import DeeplabSpec, UnetSpec
from products.learning.patches import PatchLattice, batches, epoch_order, free_positions
from products.learning.splits import BlockSplit, split_blocks, within_buffer
from products.learning.training_ground import VALIDATION_FOLD, cell_ground, check_ground

SIDE_PX, RESOLUTION_M, BLOCK_M, BUFFER_M, PATCH_PX = 96, 30.0, 720.0, 60.0, 16
X, Y = 500_015 + RESOLUTION_M * np.arange(SIDE_PX), 600_015 - RESOLUTION_M * np.arange(SIDE_PX)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"patch_px": 40}, r"patch_px as a multiple of 16 \(the encoder halves it 4 times\), got 40"),
        ({"overlap_px": 33}, r"overlap_px of at most half of patch_px \(64\), got 33"),
        ({"patches": 8}, r"at least as many as batch \(16\), got 8"),
        ({"encoder": "../resnet"}, "String should match pattern"),
        ({"precision": "64"}, "Input should be '32'"),
        ({"augment": ["cutout"]}, "Input should be 'flip'"),
        ({"learning": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_network_that_cannot_be_is_refused(asked: dict[str, Any], message: str) -> None:
    for spec in (UnetSpec, DeeplabSpec):
        with pytest.raises(ValueError, match=message):
            spec.model_validate(asked)


@pytest.mark.parametrize("overlap_px", [0, 1, 4, 8])
def test_the_weights_of_overlapping_patches_add_up_to_one(overlap_px: int) -> None:
    lattice = PatchLattice(16, overlap_px)
    total = np.zeros((50, 70))
    for row in lattice.starts(0, 50):
        for column in lattice.starts(0, 70):
            low_row, low_column = max(row, 0), max(column, 0)
            part = lattice.taper()[low_row - row :, low_column - column :]
            here = total[low_row : row + 16, low_column : column + 16]
            here += part[: here.shape[0], : here.shape[1]]
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_a_patch_lies_at_the_same_place_whichever_window_asks() -> None:
    lattice = PatchLattice(32, 8)
    whole = set(lattice.starts(-100, 200))
    parts = [set(lattice.starts(first, 50)) for first in range(-100, 100, 50)]
    assert set.union(*parts) == whole and {start % lattice.stride_px for start in whole} == {0}
    for first, starts in zip(range(-100, 100, 50), parts, strict=True):
        assert min(starts) >= first - lattice.margin_px and max(starts) < first + 50


@pytest.mark.parametrize(("size", "expected"), [(16, [0]), (9, [0]), (17, [0, 1]), (24, [0, 8]), (25, [0, 4, 9])])
def test_patches_inside_a_picture_cover_it_and_overlap_enough(size: int, expected: list[int]) -> None:
    lattice = PatchLattice(16, 8)
    assert lattice.starts_inside(size) == expected
    for longer in range(17, 200):
        starts = lattice.starts_inside(longer)
        assert starts[0] == 0 and starts[-1] == longer - 16 and max(np.diff(starts)) <= lattice.stride_px


def test_positions_are_those_of_patches_that_are_free_and_have_a_label() -> None:
    random = np.random.default_rng(1)
    free, labelled = random.random((20, 24)) > 0.04, random.random((20, 24)) > 0.97
    expected = [
        (row, column)
        for row in range(16)
        for column in range(20)
        if free[row : row + 5, column : column + 5].all() and labelled[row : row + 5, column : column + 5].any()
    ]
    assert free_positions(free, labelled, 5).tolist() == [list(place) for place in expected]
    assert len(expected) > 5 and len(free_positions(free, labelled, 21)) == 0


def test_an_epoch_takes_every_position_before_any_again_and_depends_on_seed_and_epoch_only() -> None:
    first = epoch_order(10, 25, 3, 1)
    assert [sorted(first[start : start + 10]) for start in (0, 10)] == [list(range(10))] * 2
    assert (first == epoch_order(10, 25, 3, 1)).all()
    assert (first != epoch_order(10, 25, 3, 2)).any() and (first != epoch_order(10, 25, 4, 1)).any()
    assert [part.tolist() for part in batches(np.arange(7), 3)] == [[0, 1, 2], [3, 4, 5]]


def ground_codes() -> NDArray[np.uint8]:
    return (np.add.outer(np.arange(SIDE_PX) // 8, np.arange(SIDE_PX) // 8) % 3 + 1).astype(np.uint8)


def ground_split() -> BlockSplit:
    columns, rows = (axis.ravel() for axis in np.meshgrid(X, Y))
    return split_blocks(columns, rows, ground_codes().ravel().astype(np.int64), BLOCK_M, 4, BUFFER_M, 5)


def test_no_patch_of_training_touches_a_held_out_block_or_its_buffer() -> None:
    split, codes = ground_split(), ground_codes()
    ground = cell_ground(X, Y, codes, split, PATCH_PX)
    columns, rows = (axis.ravel() for axis in np.meshgrid(X, Y))
    is_near = {
        fold: within_buffer(columns, rows, np.unique(split.block[split.fold == fold]), BLOCK_M, BUFFER_M).reshape(
            codes.shape
        )
        for fold in (VALIDATION_FOLD, split.holdout)
    }
    assert len(ground.train.places) > 20 and len(ground.validation.places) > 20
    for row, column in ground.train.places:
        here = (slice(row, row + PATCH_PX), slice(column, column + PATCH_PX))
        assert not any(near[here].any() for near in is_near.values()) and ground.train.codes[here].any()
    for row, column in ground.validation.places:
        here = (slice(row, row + PATCH_PX), slice(column, column + PATCH_PX))
        assert not is_near[split.holdout][here].any() and ground.validation.codes[here].any()


def test_labels_of_training_and_validation_share_no_pixel_and_are_those_given() -> None:
    split, codes = ground_split(), ground_codes()
    ground = cell_ground(X, Y, codes, split, PATCH_PX)
    assert not ((ground.train.codes > 0) & (ground.validation.codes > 0)).any()
    for part in (ground.train, ground.validation):
        assert (part.codes[part.codes > 0] == codes[part.codes > 0]).all()
    validated = ground.validation.codes.ravel() > 0
    assert set(split.fold[validated]) == {VALIDATION_FOLD}
    assert not set(split.fold[ground.train.codes.ravel() > 0]) & {VALIDATION_FOLD, split.holdout}


def test_blocks_too_small_for_a_patch_are_refused_with_a_size_that_would_do() -> None:
    split = ground_split()
    spec = UnetSpec(patch_px=64)
    ground = [cell_ground(X, Y, ground_codes(), split, spec.patch_px)]
    with pytest.raises(
        RequestError, match=r"no patch of 64 px \(1920 m\) to train on fits .* expected block_m of 2040 or more"
    ):
        check_ground(ground, spec, split, RESOLUTION_M)


def test_statistics_are_those_of_finite_values_on_free_ground() -> None:
    random = np.random.default_rng(2)
    parts = [(random.normal(0.3, 0.1, (2, 9, 9)).astype(np.float32), random.random((9, 9)) > 0.5) for _ in range(2)]
    parts[0][0][0, 3:6] = np.nan
    values = np.concatenate([features[:, mask] for features, mask in parts], axis=1)
    mean, std = mean_and_std(parts, ("red", "nir"))
    np.testing.assert_allclose(mean, np.nanmean(values, axis=1), rtol=1e-6)
    np.testing.assert_allclose(std, np.nanstd(values, axis=1), rtol=1e-5)
    constant, free = np.full((2, 3, 3), 0.1, np.float32), np.ones((3, 3), np.bool_)
    assert mean_and_std([(constant, free)], ("red", "nir"))[1].tolist() == [1, 1]
    constant[1] = np.nan
    with pytest.raises(RequestError, match="the feature 'nir' has no value on the ground that is trained on"):
        mean_and_std([(constant, free)], ("red", "nir"))


def test_every_class_weighs_the_same_and_a_lacking_one_is_named() -> None:
    codes = np.array([0, 0, 1, 1, 1, 1, 2, 2, 3], np.uint8)
    found = class_weights([codes[:5], codes[5:]], ("mangrove", "water", "other"))
    np.testing.assert_allclose(found * [4, 2, 1], 7 / 3)
    with pytest.raises(RequestError, match="no labelled pixel of the class other lies on the ground"):
        class_weights([codes[:8]], ("mangrove", "water", "other"))


def test_mirrors_and_turns_move_pixels_with_their_labels_and_change_no_value() -> None:
    features = np.arange(3 * 16, dtype=np.float32).reshape(3, 4, 4)
    codes = np.arange(16, dtype=np.uint8).reshape(4, 4)
    seen = set()
    for seed in range(60):
        moved, with_them = augmented(features, codes, UnetSpec(), np.random.default_rng(seed))
        assert (moved == features.reshape(3, 16)[:, with_them]).all()
        seen.add(with_them.tobytes())
    assert len(seen) == 8  # the symmetries of a square


def test_a_mirror_swaps_left_and_right_and_leaves_up_where_it_is() -> None:
    features = np.arange(2 * 16, dtype=np.float32).reshape(2, 4, 4)
    codes = np.arange(16, dtype=np.uint8).reshape(4, 4)
    seen = set()
    for seed in range(20):
        moved, with_them = augmented(features, codes, UnetSpec(augment=("mirror",)), np.random.default_rng(seed))
        assert (moved == features.reshape(2, 16)[:, with_them]).all()
        seen.add(with_them.tobytes())
    assert seen == {codes.tobytes(), codes[:, ::-1].tobytes()}


def test_noise_and_brightness_come_when_asked_in_units_of_the_features() -> None:
    features, codes = np.full((2, 64, 64), 0.2, np.float32), np.ones((64, 64), np.uint8)
    features[1, 0, 0] = np.nan
    noisy, _ = augmented(features, codes, UnetSpec(augment=("noise",), noise_std=0.01), np.random.default_rng(0))
    assert 0.009 < np.nanstd(noisy[0]) < 0.011 and np.isnan(noisy[1, 0, 0]) and noisy.dtype == np.float32
    shifted, _ = augmented(features, codes, UnetSpec(augment=("brightness",)), np.random.default_rng(0))
    by_feature = np.nanmean(shifted, axis=(1, 2)) - 0.2
    assert np.nanstd(shifted[0]) < 1e-6 and (np.abs(by_feature) <= 0.01).all() and by_feature[0] != by_feature[1]
    same, _ = augmented(features, codes, UnetSpec(augment=()), np.random.default_rng(0))
    assert same is features
