"""A window kernel on a CUDA device: strips of rows go there, with the pixels around them, and what is made of them comes back."""

import logging
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from products.errors import DeviceFull
from products.window.sliding import Array

Floats = NDArray[np.float32]
Kernel = Callable[[Array], Mapping[str, Array]]
STRIP_PIXELS = 2**20  # of the values that are sent at a time: enough threads for the largest device
PIXEL_BYTES = 256  # for each pixel of a strip: NumPy held 148 at once for every measure of texture but those of the histogram, 128 for all of terrain
_log = logging.getLogger(__name__)


def device_strips(
    values: Floats, halo_px: int, kernel: Kernel, say: Callable[[str], None] | None = None
) -> dict[str, Floats]:
    """float32 (y, x) by name: what a kernel makes of values (y + 2 halo, x + 2 halo) on the current CUDA device.

    Where the device has too little memory strips are halved, which is said or logged; DeviceFull where not one row can be had.
    """
    import cupy

    rows, columns = values.shape[0] - 2 * halo_px, values.shape[1] - 2 * halo_px
    at_once, first = min(rows, strip_rows(values.shape[1], halo_px)), 0
    made: dict[str, Floats] = {}
    while first < rows:
        last = min(first + at_once, rows)
        try:
            there = kernel(cupy.array(np.ascontiguousarray(values[first : last + 2 * halo_px])))
            found = {name: cupy.asnumpy(layer) for name, layer in there.items()}
        except cupy.cuda.memory.OutOfMemoryError as error:
            if at_once == 1:
                raise DeviceFull(
                    f"the device has too little memory for one row of {columns} pixels of a window feature"
                ) from error
            fewer = -(-at_once // 2)
            (say or _log.warning)(
                f"the device has too little memory for window features of {at_once} rows: trying {fewer}"
            )
            at_once = fewer
            continue
        for name, layer in found.items():
            made.setdefault(name, np.empty((rows, columns), np.float32))[first:last] = layer
        first = last
    return made


def strip_rows(width: int, halo_px: int) -> int:
    """The rows that are made at a time of values so wide, halo included: one at least."""
    return max(1, STRIP_PIXELS // width - 2 * halo_px)


def strip_bytes(rows: int, width: int, halo_px: int) -> int:
    """About the most device memory that a strip takes, of values of so many rows and pixels a row, halo included."""
    return PIXEL_BYTES * width * min(rows, strip_rows(width, halo_px) + 2 * halo_px)
