"""One observation of each pixel from the fused scenes of a pass."""

import numba
import numpy as np
from numpy.typing import NDArray

from products.pixel.causes import NOT_EXPECTED, Cause
from products.pixel.rows import in_row_tasks

Floats = NDArray[np.float32]
Counts = NDArray[np.uint16]
Bytes = NDArray[np.uint8]
WITHOUT_DATA = (int(Cause.UNREAD), int(Cause.NODATA), int(Cause.SLC_GAP))


def observed(block: Counts, causes: Bytes, gain: Floats, bias: Floats, threads: int) -> Floats:
    """float32 (band, y, x): reflectance DN * gain + bias, (scene, band), of the one scene of a pass that gives each pixel, masked or not; NaN without data.

    block (band, scene, y, x), causes (scene, y, x): NOT_EXPECTED in all scenes but one.
    """
    out = np.full((block.shape[0], *block.shape[2:]), np.nan, np.float32)

    def run_rows(first: int, last: int) -> None:
        _observe(block[:, :, first:last], causes[:, first:last], gain, bias, out[:, first:last])

    in_row_tasks(run_rows, block.shape[2], threads)
    return out


def cause_of(accounts: Counts) -> Bytes:
    """uint8 (y, x): the cause of the one observation that accounts (1 + cause, y, x) count; NOT_EXPECTED where there is none."""
    if accounts[0].max(initial=0) > 1:
        raise ValueError(f"expected one observation of each pixel of a pass, got {accounts[0].max()}")
    cause = accounts[1:].argmax(axis=0).astype(np.uint8)
    cause[accounts[0] == 0] = NOT_EXPECTED
    return cause


@numba.njit(nogil=True, cache=True)
def _observe(block: Counts, causes: Bytes, gain: Floats, bias: Floats, out: Floats) -> None:
    n_bands, n_scenes, height, width = block.shape
    for s in range(n_scenes):
        for y in range(height):
            row = causes[s, y]
            for b in range(n_bands):
                numbers, values, g, c = block[b, s, y], out[b, y], gain[s, b], bias[s, b]
                for x in range(width):
                    cause = row[x]
                    is_seen = (cause != 255) & (cause != 1) & (cause != 2) & (cause != 10) & (numbers[x] != 0)
                    if is_seen:
                        values[x] = np.float32(numbers[x]) * g + c
