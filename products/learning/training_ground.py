"""Where a network may look while it learns: patches that touch no held-out block and none of its buffer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from products.errors import RequestError
from products.learning.network_spec import NetworkSpec
from products.learning.patches import free_positions
from products.learning.splits import BlockSplit, block_ids, within_buffer

VALIDATION_FOLD = 0  # whose loss says when to stop
Codes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class PartOfCell:
    """Upper left pixels of patches (n, 2: row, column) and the class codes (y, x) that count there, 0 as none."""

    places: Places
    codes: Codes


@dataclass(frozen=True, slots=True)
class CellGround:
    """The parts of a cell for training and validation; `is_free` (y, x) is the ground whose features may be learned from."""

    train: PartOfCell
    validation: PartOfCell
    is_free: Mask


def cell_ground(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], codes: Codes, split: BlockSplit, patch_px: int
) -> CellGround:
    """The parts of a cell with pixel centres `x` and `y` (metres) and labels `codes` (y, x).

    A patch for training has no pixel in a block of the hold-out or of the validation fold, nor within the buffer of one: so what
    the network sees while it learns is apart from what it is scored on, however far it looks within a patch. A patch for validation
    has none of the hold-out, and only labels of the validation fold.
    """
    columns, rows = (axis.ravel() for axis in np.meshgrid(x, y))
    blocks = {fold: np.unique(split.block[split.fold == fold]) for fold in (VALIDATION_FOLD, split.holdout)}

    def apart(held: npt.NDArray[np.int64]) -> Mask:
        return ~within_buffer(columns, rows, held, split.block_m, split.buffer_m).reshape(codes.shape)

    is_apart = apart(blocks[split.holdout])
    is_free = is_apart & apart(blocks[VALIDATION_FOLD])
    of_validation = np.isin(block_ids(columns, rows, split.block_m), blocks[VALIDATION_FOLD]).reshape(codes.shape)
    trained, validated = (
        np.where(is_free, codes, 0).astype(np.uint8),
        np.where(of_validation, codes, 0).astype(np.uint8),
    )
    return CellGround(
        PartOfCell(free_positions(is_free, trained > 0, patch_px), trained),
        PartOfCell(free_positions(is_apart, validated > 0, patch_px), validated),
        is_free,
    )


def seen_codes(codes: Codes, features: npt.NDArray[np.float32]) -> Codes:
    """The codes (y, x) of pixels that have any of the features (feature, y, x), 0 of the others: what has none is never mapped, so nothing is learned there."""
    is_seen = np.zeros(codes.shape, np.bool_)
    for feature in features:
        is_seen |= np.isfinite(feature)
    return np.where(is_seen, codes, 0).astype(np.uint8)


def network_rows(split: BlockSplit) -> Mask:
    """Rows (n,) that a network may learn from: not of the hold-out, nor of the fold that says when to stop, nor in the buffer of either."""
    return split.train_rows(split.holdout) & split.train_rows(VALIDATION_FOLD)


def check_ground(ground: Sequence[CellGround], spec: NetworkSpec, split: BlockSplit, resolution_m: float) -> None:
    """RequestError unless a patch fits somewhere for training and for validation."""
    side_m = spec.patch_px * resolution_m
    for name, n in (
        ("train on", sum(len(each.train.places) for each in ground)),
        ("validate with", sum(len(each.validation.places) for each in ground)),
    ):
        if n == 0:
            raise RequestError(
                f"no patch of {spec.patch_px} px ({side_m:g} m) to {name} fits between the held-out blocks of {split.block_m:g} m and their "
                f"buffers of {split.buffer_m:g} m: expected block_m of {side_m + 2 * split.buffer_m:g} or more; raise block_m, lower patch_px, "
                "or label a wider area"
            )
