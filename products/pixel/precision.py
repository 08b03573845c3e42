"""Float32 rounded to fewer mantissa bits, so that it compresses: BitRound of Klöwer et al. 2021, https://doi.org/10.1038/s43588-021-00156-2."""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from products.pixel.rows import in_row_tasks

MANTISSA_BITS: Final = 23
_EXPONENT: Final = np.uint32(0x7F800000)


def round_mantissa(stack: NDArray[np.float32], precision_bits: int, threads: int = 1) -> None:
    """Keep `precision_bits` (1 to 23) explicit mantissa bits of float32 (layer, y, x), in place, ties to even; NaN and infinity stay as they are.

    The relative error is at most 2^-(precision_bits + 1) of normal numbers.
    """
    dropped = MANTISSA_BITS - precision_bits
    if not 0 <= dropped < MANTISSA_BITS:
        raise ValueError(f"expected 1 to {MANTISSA_BITS} mantissa bits, got {precision_bits}")
    if dropped:
        words = stack.view(np.uint32)
        in_row_tasks(lambda first, last: _round_rows(words, first, last, np.uint32(dropped)), stack.shape[1], threads)


@numba.njit(nogil=True, cache=True)
def _round_rows(words: NDArray[np.uint32], first: int, last: int, dropped: np.uint32) -> None:
    half_less_one = (np.uint32(1) << (dropped - np.uint32(1))) - np.uint32(1)
    kept = ~((np.uint32(1) << dropped) - np.uint32(1))
    for layer in range(words.shape[0]):
        for y in range(first, last):
            for x in range(words.shape[2]):
                word = words[layer, y, x]
                rounded = np.uint32(word + half_less_one + ((word >> dropped) & np.uint32(1))) & np.uint32(kept)
                words[layer, y, x] = word if (word & _EXPONENT) == _EXPONENT else rounded
