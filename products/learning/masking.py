"""Squares of patches that are masked, and the ground that patches without labels are cut from."""

import numpy as np
import numpy.typing as npt

from products.learning.masked_spec import MaskedSpec
from products.learning.patches import free_positions
from products.learning.splits import block_ids

VALIDATION_SHARE = 5  # one of so many blocks says when to stop
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int32]


def drawn_mask(spec: MaskedSpec, draw: np.random.Generator) -> Mask:
    """(patch, patch): which pixels are masked, `n_masked` whole squares."""
    side = spec.patch_px // spec.mask_px
    squares = np.zeros(side * side, np.bool_)
    squares[draw.permutation(side * side)[: spec.n_masked]] = True
    return np.kron(squares.reshape(side, side), np.ones((spec.mask_px, spec.mask_px), np.bool_))


def patch_places(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], is_there: Mask, spec: MaskedSpec, seed: int
) -> tuple[Places, Places]:
    """Upper left pixels (n, 2: row, column) of patches to learn from and to validate with, of a cell with pixel centres `x` and `y`.

    No pixel of the first lies in a block of validation, all of the second lie in such blocks; blocks are drawn by their place and the seed.
    """
    columns, rows = (axis.ravel() for axis in np.meshgrid(x, y))
    blocks, position = np.unique(block_ids(columns, rows, spec.block_m), return_inverse=True)
    drawn = [int(np.random.default_rng([seed, int(block)]).integers(VALIDATION_SHARE)) == 0 for block in blocks]
    held = np.array(drawn)[position].reshape(is_there.shape)
    return free_positions(~held, is_there, spec.patch_px), free_positions(held, is_there, spec.patch_px)
