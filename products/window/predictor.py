"""Horizontal differencing of TIFF undone (TIFF 6.0, section 14)."""

import numba
import numpy as np
from numpy.typing import NDArray

Unsigned = NDArray[np.uint8] | NDArray[np.uint16]


@numba.njit(nogil=True, cache=True)
def undo_differences(block: Unsigned, row: int, column: int, out: Unsigned) -> None:
    """The pixels of a block (y, x), stored as differences from the left neighbour, from a row and column on into out (y, x).

    `out` has the type of the block or a wider one; sums are those of the block's type.
    """
    largest = np.uint64(256**block.itemsize - 1)
    for y in range(out.shape[0]):
        before, stored, pixels = block[row + y, :column], block[row + y, column:], out[y]
        total = np.uint64(0)
        for x in range(before.size):
            total += np.uint64(before[x])
        for x in range(pixels.size):
            total += np.uint64(stored[x])
            pixels[x] = np.uint16(total) & np.uint16(largest)
