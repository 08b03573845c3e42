"""Large arrays in memory that a process keeps from one cell to the next.

The kernel clears new memory page by page, and a virtual machine whose host takes back what is free waits for each: 1.2 to 3 s a gigabyte were measured
on one, where filling it takes 0.1 s. What is kept is marked as free, so that the kernel takes it where another process needs it.
"""

import math
import mmap
import threading
import weakref
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

LEAST_BYTES: Final = 32 * 2**20
_lock = threading.Lock()
_free: list[mmap.mmap] = []


def kept_empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """As `np.empty`: an array (shape) of any content. Where it is large its memory is kept when the last view of it is gone; MemoryError if there is none."""
    kind = np.dtype(dtype)
    count = math.prod(shape)
    if count * kind.itemsize < LEAST_BYTES:
        return np.empty(shape, kind)
    region = _kept(count * kind.itemsize) or _new(count * kind.itemsize)
    whole = np.frombuffer(region, kind, count)  # every view of it holds it
    weakref.finalize(whole, _keep, region).atexit = False
    return whole.reshape(shape)


def give_back() -> int:
    """Give all memory that is kept, and not in use, back to the system; returns its bytes."""
    with _lock:
        n_bytes = sum(len(region) for region in _free)
        _free.clear()
    return n_bytes


def _kept(n_bytes: int) -> mmap.mmap | None:
    """The smallest that is large enough and not twice as large. Those that are too small by less than half are given back: a larger one takes their place."""
    with _lock:
        fitting = [region for region in _free if n_bytes <= len(region) < 2 * n_bytes]
        if fitting:
            chosen = min(fitting, key=len)
            _free.remove(chosen)
            return chosen
        _free[:] = [region for region in _free if not n_bytes / 2 < len(region) < n_bytes]
        return None


def _new(n_bytes: int) -> mmap.mmap:
    try:
        region = _mapped(n_bytes)
    except MemoryError:
        if not give_back():
            raise
        region = _mapped(n_bytes)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        region.madvise(mmap.MADV_HUGEPAGE)
    return region


def _mapped(n_bytes: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for an array of {n_bytes} bytes") from error


def _keep(region: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_FREE"):
        region.madvise(mmap.MADV_FREE)
    with _lock:
        _free.append(region)
