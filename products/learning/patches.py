"""Patches of a raster: where they may be cut for training, and how overlapping ones are joined."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PatchLattice:
    """Patches of `patch_px` that overlap by at least `overlap_px`, at whole multiples of the stride of one lattice over the plane."""

    patch_px: int
    overlap_px: int

    @property
    def stride_px(self) -> int:
        """From one patch to the next."""
        return self.patch_px - self.overlap_px

    @property
    def margin_px(self) -> int:
        """How far beyond a window its patches reach at most."""
        return self.patch_px - 1

    def starts(self, first: int, size: int) -> range:
        """The first pixels, counted in the plane, of all patches that share pixels with `size` pixels from `first`."""
        begin = -(-(first - self.margin_px) // self.stride_px) * self.stride_px
        return range(begin, first + size, self.stride_px)

    def starts_inside(self, size: int) -> list[int]:
        """The first pixels of as few patches as overlap enough, spread evenly over `size` pixels from 0; 0 alone where a patch is longer than that."""
        free = max(0, size - self.patch_px)
        n = -(-free // self.stride_px)
        return [round(free * number / max(n, 1)) for number in range(n + 1)]

    def taper(self) -> Floats:
        """(patch, patch) weights: 1 inside, falling to the edge over the overlap as a Hann window (squared sine) does, above 0 everywhere.

        Where two patches overlap their weights add up to 1.
        """
        edge = np.sin(np.pi / 2 * (np.arange(self.overlap_px) + 0.5) / max(self.overlap_px, 1)) ** 2
        line = np.ones(self.patch_px)
        line[: self.overlap_px] = edge
        line[self.patch_px - self.overlap_px :] = edge[::-1]
        return np.outer(line, line).astype(np.float32)


def free_positions(free: Mask, labelled: Mask, patch_px: int) -> npt.NDArray[np.int32]:
    """(n, 2) rows and columns of the upper left pixel of each patch of a raster whose pixels are all `free` and some `labelled`."""
    if min(free.shape) < patch_px:
        return np.empty((0, 2), np.int32)
    whole = _box_sums(free, patch_px) == patch_px**2
    return np.argwhere(whole & (_box_sums(labelled, patch_px) > 0)).astype(np.int32)


def _box_sums(mask: Mask, side: int) -> npt.NDArray[np.int64]:
    """How many pixels of each square are set, by its upper left pixel (summed-area table)."""
    sums = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]


def epoch_order(n_positions: int, n_patches: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Which positions an epoch takes, (n_patches,): all before any comes again, in an order that seed and epoch decide."""
    draw = np.random.default_rng([seed, epoch])
    rounds = -(-n_patches // n_positions)
    return np.concatenate([draw.permutation(n_positions) for _ in range(rounds)])[:n_patches]


def batches(order: npt.NDArray[np.int64], batch: int) -> Iterator[npt.NDArray[np.int64]]:
    """The order in parts, each (batch,) int64; what does not fill the last is left out."""
    for start in range(0, order.size - batch + 1, batch):
        yield order[start : start + batch]


def share_of(order: npt.NDArray[np.int64], rank: int, world: int) -> npt.NDArray[np.int64]:
    """What one of `world` processes takes of an epoch, (n // world,) int64, by its rank from 0; what cannot be shared is left out."""
    return order[rank::world][: order.size // world]
