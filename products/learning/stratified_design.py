"""A stratified probability sample of a map: how many pixels each stratum gets, and which they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from products.errors import RequestError
from products.learning.samples import pixel_priority

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pixels of a sample: their stratum (1 …), centre (metres) and priority, (n,) each."""

    stratum: Int64
    x: Float64
    y: Float64
    priority: npt.NDArray[np.uint64]


def sample_size(weight: Float64, expected_users: float, standard_error: float, pixels: int) -> int:
    """The number of pixels for a standard error of overall accuracy, of strata that all have the expected user's accuracy.

    Olofsson et al. 2014, Remote Sensing of Environment 148, 42-57, eq. 13, with S_i = sqrt(U_i (1 - U_i)).
    """
    spread = np.sqrt(expected_users * (1 - expected_users))
    summed = float((weight * spread).sum())
    within = float((weight * spread**2).sum()) / pixels
    return int(np.ceil(summed**2 / (standard_error**2 + within)))


def allocate(pixels: Int64, n: int, least: int, names: Sequence[str]) -> Int64:
    """Sample pixels of each stratum: `least` (or all) where its share is less, the rest in proportion to its pixel count; sums to `n`.

    Olofsson et al. 2014, section 5.1.1. RequestError if `n` does not suffice, or is more than there are.
    """
    floor = np.minimum(pixels, least)
    if n < floor.sum() or n > pixels.sum():
        raise RequestError(
            f"expected between {floor.sum()} points, {least} (or all pixels) in each of the strata {', '.join(names)}, "
            f"and {pixels.sum()}, all pixels, got {n}: change --points or --least"
        )
    is_free = np.ones(pixels.size, np.bool_)
    while True:
        share = (n - floor[~is_free].sum()) * pixels / max(int(pixels[is_free].sum()), 1)
        low = is_free & (share < floor)
        if not low.any():
            break
        is_free &= ~low
    share = np.where(is_free, share, floor)
    counts = np.floor(share).astype(np.int64)
    most = np.argsort(counts - share, kind="stable")[: n - int(counts.sum())]
    counts[most] += 1
    return counts


def candidates(stratum: Int64, x: Float64, y: Float64, counts: Int64, seed: int) -> Drawn:
    """Of the pixels of a piece of the map those that the whole sample may need: the lowest priorities of each stratum, at most its count.

    A priority depends on place and seed alone, so pieces in any cut and order give the same sample, and every pixel of a stratum the same chance.
    """
    priority = pixel_priority(x, y, 0, seed)
    return _lowest(Drawn(stratum, x, y, priority), counts)


def joined(parts: Sequence[Drawn], counts: Int64) -> Drawn:
    """The sample from the candidates of all pieces, in order of priority: strata mixed, so that an interpreter sees no pattern."""
    fields = ("stratum", "x", "y", "priority")
    drawn = _lowest(Drawn(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields)), counts)
    return _at(drawn, np.lexsort((drawn.x, drawn.y, drawn.priority)))


def _lowest(drawn: Drawn, counts: Int64) -> Drawn:
    kept = []
    for number, count in enumerate(counts, start=1):
        rows = np.flatnonzero(drawn.stratum == number)
        order = np.lexsort((drawn.x[rows], drawn.y[rows], drawn.priority[rows]))
        kept.append(rows[order[:count]])
    return _at(drawn, np.concatenate(kept))


def _at(drawn: Drawn, rows: npt.NDArray[np.intp]) -> Drawn:
    return Drawn(drawn.stratum[rows], drawn.x[rows], drawn.y[rows], drawn.priority[rows])
