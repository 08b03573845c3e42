"""Spatial splits: whole blocks, every class everywhere, and a buffer between train and test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from products.errors import RequestError
from products.learning.splits import BlockSplit, block_ids, deal_blocks, split_blocks, within_buffer

BLOCK_M = 300.0


def places(side: int = 60) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """A grid of pixels of 30 m, its western third class 1, the rest class 2."""
    x, y = (axis.ravel() for axis in np.meshgrid(15 + 30.0 * np.arange(side), 30.0 * np.arange(side) - 4000))
    return x, y, np.where(x < 600, 1, 2).astype(np.int64)


def split(seed: int = 0, buffer_m: float = 60) -> BlockSplit:
    return split_blocks(*places(), BLOCK_M, 5, buffer_m, seed)


def test_a_block_lies_in_one_fold() -> None:
    found = split()
    for block in np.unique(found.block):
        assert np.unique(found.fold[found.block == block]).size == 1


def test_every_fold_has_its_share_of_every_class() -> None:
    found, code = split(), places()[2]
    for number in (1, 2):
        shares = np.bincount(found.fold[code == number], minlength=5) / (code == number).sum()
        assert shares == pytest.approx(0.2, abs=0.08)


def test_the_same_seed_deals_the_same_and_another_does_not() -> None:
    assert (split().fold == split().fold).all()
    assert (split().fold != split(seed=1).fold).any()


def test_dealing_does_not_depend_on_the_order_of_the_rows() -> None:
    x, y, code = places()
    order = np.random.default_rng(1).permutation(x.size)
    block = block_ids(x, y, BLOCK_M)
    assert (deal_blocks(block, code, 5, 0)[order] == deal_blocks(block[order], code[order], 5, 0)).all()


@pytest.mark.parametrize("fold", range(5))
def test_no_training_pixel_is_nearer_than_the_buffer_to_a_tested_one(fold: int) -> None:
    found = split()
    train, test = found.train_rows(fold), found.test_rows(fold)
    assert train.sum() > 500
    gap = np.hypot(found.x[train][:, None] - found.x[test], found.y[train][:, None] - found.y[test]).min()
    assert gap >= 60


def test_the_hold_out_is_never_trained_on() -> None:
    found = split()
    assert found.holdout == 4
    for fold in range(5):
        assert not (found.train_rows(fold) & found.test_rows(4)).any()


def test_without_a_buffer_only_the_blocks_themselves_are_left_out() -> None:
    found = split(buffer_m=0)
    assert (found.train_rows(4) == ~found.test_rows(4)).all()


@settings(max_examples=50, deadline=None)
@given(st.floats(-5000, 5000), st.floats(-5000, 5000), st.floats(0, 149))
def test_the_buffer_is_the_distance_to_the_square(x: float, y: float, buffer_m: float) -> None:
    block = block_ids(np.array([450.0]), np.array([-150.0]), BLOCK_M)  # the square 300..600, -300..0
    gap = np.hypot(max(300 - x, 0, x - 600), max(-300 - y, 0, y))
    inside = 300 <= x < 600 and -300 <= y < 0
    found = within_buffer(np.array([x]), np.array([y]), block, BLOCK_M, buffer_m)[0]
    if abs(gap - buffer_m) > 1e-6:
        assert found == (inside or gap < buffer_m)


def test_too_few_blocks_say_how_many_there_are() -> None:
    x, y, code = places(15)
    with pytest.raises(RequestError, match="lie in 6 blocks: expected at least 7"):
        split_blocks(x, y, code, BLOCK_M, 7, 60, 0)


def test_a_class_in_two_blocks_is_trained_on_and_held_out() -> None:
    x, y, _ = places()
    code = np.where((y < -3900) & ((x < 300) | (x > 1500)), 1, 2).astype(np.int64)
    found = split_blocks(x, y, code, BLOCK_M, 5, 60, 0)
    assert set(found.fold[code == 1]) == {0, found.holdout}


def test_a_class_whose_training_pixels_all_lie_in_the_buffer_is_refused() -> None:
    x, y, _ = places()
    code = np.where((np.abs(x - 300) < 45) & (y < -3900), 1, 2).astype(np.int64)
    with pytest.raises(RequestError, match="all blocks with the class of code 1 fall into the hold-out or its buffer"):
        split_blocks(x, y, code, BLOCK_M, 5, 60, 0)
