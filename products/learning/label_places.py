"""From labels at a finer grid, or at points, to labelled pixels: whole enough, off the edges, each once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from products.learning.samples import inner_labels

CONTRADICTING = 255
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Places:
    """Labelled pixels of a tile, each (n,): row, column, class code (1 …), share under the label (NaN where not known), number of the source."""

    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    code: Codes
    fraction: npt.NDArray[np.float32]
    source: Codes

    def __len__(self) -> int:
        return self.row.size

    def where(self, kept: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Places":
        """The places that a mask or indices choose."""
        return Places(self.row[kept], self.column[kept], self.code[kept], self.fraction[kept], self.source[kept])


def joined(parts: Sequence[Places]) -> Places:
    """All places of some sources, one after the other."""
    return Places(
        np.concatenate([part.row for part in parts]) if parts else np.empty(0, np.int64),
        np.concatenate([part.column for part in parts]) if parts else np.empty(0, np.int64),
        np.concatenate([part.code for part in parts]) if parts else np.empty(0, np.uint8),
        np.concatenate([part.fraction for part in parts]) if parts else np.empty(0, np.float32),
        np.concatenate([part.source for part in parts]) if parts else np.empty(0, np.uint8),
    )


def dominant_class(
    fine: Codes, factor: int, n_classes: int, min_fraction: float
) -> tuple[Codes, npt.NDArray[np.float32], dict[str, npt.NDArray[np.bool_]]]:
    """Codes (y, x) and shares of the class that fills `min_fraction` of each pixel; 0 where none does, and masks of why: `mixed`, `contradicting`.

    `fine` is (y * factor, x * factor), 255 where two classes are said.
    """
    parts = fine.reshape(fine.shape[0] // factor, factor, fine.shape[1] // factor, factor)
    codes = np.zeros((parts.shape[0], parts.shape[2]), np.uint8)
    shares = np.zeros(codes.shape, np.float32)
    for code in range(1, n_classes + 1):
        share = (parts == code).mean(axis=(1, 3), dtype=np.float32)
        full = share >= min_fraction - 1e-6
        codes[full], shares[full] = code, share[full]
    lost = (codes == 0) & (parts != 0).any(axis=(1, 3))
    contradicting = lost & (parts == CONTRADICTING).any(axis=(1, 3))
    return codes, shares, {"mixed": lost & ~contradicting, "contradicting": contradicting}


def without_small_patches(codes: Codes, min_px: int) -> Codes:
    """The (y, x) codes, 0 in patches of one class (joined by sides) with fewer than `min_px` pixels."""
    if min_px < 2:
        return codes
    kept = codes.copy()
    for code in np.unique(codes[codes > 0]):
        patch, n_patches = ndimage.label(codes == code)
        size = np.bincount(patch.ravel(), minlength=n_patches + 1)
        kept[(size < min_px)[patch] & (patch > 0)] = 0
    return kept


def inner_places(
    fine: Codes,
    factor: int,
    n_classes: int,
    margin_px: int,
    min_fraction: float,
    edge_px: int,
    min_px: int,
    source: int,
) -> tuple[Places, Counter[str]]:
    """The places of a tile that has `margin_px` pixels around it, and how many pixels of the tile were dropped by cause.

    With a margin of `edge_px` and of `min_px` where patches are told, a tile's places do not depend on how the grid is cut.
    """
    codes, shares, lost = dominant_class(fine, factor, n_classes, min_fraction)
    large = without_small_patches(codes, min_px)
    inner = inner_labels(large, edge_px)
    tile = (slice(margin_px, -margin_px or None),) * 2
    dropped = Counter({cause: int(mask[tile].sum()) for cause, mask in lost.items()})
    dropped["below_mapping_unit"] = int(((codes > 0) & (large == 0))[tile].sum())
    dropped["edge"] = int(((large > 0) & (inner == 0))[tile].sum())
    found = inner[tile]
    row, column = np.nonzero(found)
    of_source = np.full(row.size, source, np.uint8)
    return Places(row, column, found[row, column], shares[tile][row, column], of_source), +dropped


def each_once(places: Places, width: int) -> tuple[Places, Counter[str]]:
    """Each pixel of a tile `width` wide once, the label of the first source; pixels with several classes are dropped. How many labels were, by cause."""
    if len(places) == 0:
        return places, Counter()
    key = places.row * width + places.column
    order = np.lexsort((places.source, key))
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    codes = places.code[order]
    agree = np.minimum.reduceat(codes, first) == np.maximum.reduceat(codes, first)
    n_labels = np.diff(first, append=len(places))
    dropped = Counter({"duplicate": int((n_labels[agree] - 1).sum()), "contradicting": int(n_labels[~agree].sum())})
    return places.where(order[first[agree]]), +dropped
