"""Spatial blocks: neighbours never stand on both sides of a split."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from products.errors import RequestError

Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_HALF = 2**31


@dataclass(frozen=True, slots=True)
class BlockSplit:
    """Each row's place (metres), block id and fold; the fold `folds - 1` is the hold-out, a row of fold -1 is not used.

    Rows that are outliers are tested as others are, and never learned from; None where none is one.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    block: Int64
    fold: Int64
    folds: int
    block_m: float
    buffer_m: float
    is_outlier: Bools | None = None

    @property
    def holdout(self) -> int:
        """The fold that is never trained on."""
        return self.folds - 1

    def test_rows(self, fold: int) -> Bools:
        """Rows of a fold, (n,)."""
        return self.fold == fold

    @property
    def is_clean(self) -> Bools:
        """Rows that are no outliers, (n,)."""
        return np.ones(self.fold.shape, np.bool_) if self.is_outlier is None else ~self.is_outlier

    def train_rows(self, fold: int) -> Bools:
        """Rows to train on when `fold` is tested: those apart from it that are no outliers, (n,)."""
        return self.apart_rows(fold) & self.is_clean

    def apart_rows(self, fold: int) -> Bools:
        """Rows that are not of `fold`, nor of the hold-out, nor within the buffer, (n,)."""
        free = (self.fold != fold) & (self.fold != self.holdout) & (self.fold >= 0)
        tested = np.unique(self.block[self.fold == fold])
        return free & ~within_buffer(self.x, self.y, tested, self.block_m, self.buffer_m)


def block_ids(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], block_m: float) -> Int64:
    """The block of each place, counted from the origin of the CRS: the same for any area, (n,) int64."""
    return _encoded(np.floor(x / block_m).astype(np.int64), np.floor(y / block_m).astype(np.int64))


def _encoded(column: Int64, row: Int64) -> Int64:
    return (column + _HALF) * 2**32 + (row + _HALF)


def deal_blocks(block: Int64, code: Int64, folds: int, seed: int) -> Int64:
    """The fold of each row, (n,) int64: whole blocks are dealt so that every fold gets the same share of each class.

    Blocks of the most uneven class counts first, each to the fold whose class shares it evens out most, after the
    greedy scheme of StratifiedGroupKFold; ties by a shuffle with `seed`. A class in two blocks is trained and held out.
    """
    blocks, position = np.unique(block, return_inverse=True)
    if blocks.size < folds:
        raise RequestError(
            f"the labelled pixels lie in {blocks.size} blocks: expected at least {folds}, one a fold; "
            "lower block_m or folds, or label a wider area"
        )
    classes, column = np.unique(code, return_inverse=True)
    counts = np.zeros((blocks.size, classes.size))
    np.add.at(counts, (position, column), 1)
    counts /= counts.sum(axis=0)
    shuffled = np.random.default_rng(seed).permutation(blocks.size)
    order = shuffled[np.argsort(-counts[shuffled].max(axis=1), kind="stable")]
    dealt = np.empty(blocks.size, np.int64)
    share = np.zeros((folds, classes.size))
    rank = np.array([0, *range(2, folds), 1])
    for index in order:
        spread = [np.std(share + np.eye(folds)[[fold]].T * counts[index], axis=0).sum() for fold in range(folds)]
        dealt[index] = np.lexsort((rank, share.sum(axis=1), np.round(spread, 12)))[0]
        share[dealt[index]] += counts[index]
    return dealt[position]


def within_buffer(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], blocks: Int64, block_m: float, buffer_m: float
) -> Bools:
    """Whether each place lies in one of the blocks or nearer than `buffer_m` (below the block size) to it, (n,)."""
    column, row = np.floor(x / block_m).astype(np.int64), np.floor(y / block_m).astype(np.int64)
    near = np.isin(_encoded(column, row), blocks)
    for step_x in (-1, 0, 1):
        for step_y in (-1, 0, 1):
            gap = np.hypot(_gap(x, column, step_x, block_m), _gap(y, row, step_y, block_m))
            near |= np.isin(_encoded(column + step_x, row + step_y), blocks) & (gap < buffer_m)
    return near


def _gap(place: npt.NDArray[np.float64], index: Int64, step: int, block_m: float) -> npt.NDArray[np.float64]:
    """Metres from a place to the neighbouring block along one axis."""
    if step == 0:
        return np.zeros_like(place)
    return (index + 1) * block_m - place if step > 0 else place - index * block_m


def split_blocks(
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    code: Int64,
    block_m: float,
    folds: int,
    buffer_m: float,
    seed: int,
    is_outlier: Bools | None = None,
) -> BlockSplit:
    """Rows in `folds` folds of spatial blocks; RequestError if a class could not be trained on."""
    block = block_ids(x, y, block_m)
    split = BlockSplit(x, y, block, deal_blocks(block, code, folds, seed), folds, block_m, buffer_m, is_outlier)
    trained = np.unique(code[split.train_rows(split.holdout)])
    lost = sorted(set(np.unique(code).tolist()) - set(trained.tolist()))
    if lost:
        raise RequestError(
            f"all blocks with the class of code {lost[0]} fall into the hold-out or its buffer: "
            "expected at least two such blocks apart; lower block_m or buffer_m, or add labels"
        )
    return split
