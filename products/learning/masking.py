"""Squares of patches that are masked, and the ground that patches without labels are cut from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from products.learning.masked_spec import MaskedSpec
from products.learning.patches import free_positions
from products.learning.splits import block_ids

VALIDATION_SHARE = 5  # one of so many blocks says when to stop
Mask = npt.NDArray[np.bool_]
Axis = npt.NDArray[np.float64]
Places = npt.NDArray[np.int32]


def drawn_mask(spec: MaskedSpec, draw: np.random.Generator) -> Mask:
    """(patch, patch): which pixels are masked, `n_masked` whole squares."""
    side = spec.patch_px // spec.mask_px
    squares = np.zeros(side * side, np.bool_)
    squares[draw.permutation(side * side)[: spec.n_masked]] = True
    return np.kron(squares.reshape(side, side), np.ones((spec.mask_px, spec.mask_px), np.bool_))


@dataclass(frozen=True, slots=True)
class CellPixels:
    """The centres of the pixels of a cell in metres, `x` (column,) and `y` (row,), and which pixels (row, column) have a feature."""

    x: Axis
    y: Axis
    is_there: Mask

    def blocks(self, block_m: float) -> npt.NDArray[np.int64]:
        """(row, column): the block of each pixel."""
        columns, rows = (axis.ravel() for axis in np.meshgrid(self.x, self.y))
        return block_ids(columns, rows, block_m).reshape(self.is_there.shape)


def patch_places(cells: Sequence[CellPixels], spec: MaskedSpec, seed: int) -> tuple[list[Places], list[Places]]:
    """By cell, upper left pixels (n, 2: row, column) of patches to learn from and to validate with.

    No pixel of the first lies in a block of validation, all of the second lie in such blocks.
    """
    blocks = [cell.blocks(spec.block_m) for cell in cells]
    held = validation_blocks(np.concatenate([each.ravel() for each in blocks]), seed)
    is_held = [np.isin(each, held) for each in blocks]
    train, validation = (
        [free_positions(free, cell.is_there, spec.patch_px) for free, cell in zip(part, cells, strict=True)]
        for part in ([~each for each in is_held], is_held)
    )
    return train, validation


def validation_blocks(block: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """A fifth of the blocks of pixels (n,), at least one, drawn by their place and the seed; blocks of which the cells hold less than half are not drawn."""
    blocks, count = np.unique(block, return_counts=True)
    blocks = blocks[2 * count >= count.max()]
    drawn = [np.random.default_rng([seed, int(each) % 2**64]).random() for each in blocks]
    return blocks[np.argsort(drawn)[: max(1, round(blocks.size / VALIDATION_SHARE))]]
