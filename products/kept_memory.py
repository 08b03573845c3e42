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


class KeptMemory:
    """Regions in use and kept; together never more than were in use at once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # an array may be collected, and kept, while another is taken
        self._kept: list[mmap.mmap] = []
        self._used_bytes = self._most_bytes = 0

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """As `kept_empty`, in these regions."""
        kind = np.dtype(dtype)
        count = math.prod(shape)
        if count * kind.itemsize < LEAST_BYTES:
            return np.empty(shape, kind)
        region = self._take(count * kind.itemsize)
        whole = np.frombuffer(region, kind, count)  # every view of it holds it
        weakref.finalize(whole, self._keep, region).atexit = False
        return whole.reshape(shape)

    def give_back(self) -> int:
        """Give what is kept, and not in use, back to the system; its bytes."""
        with self._lock:
            n_bytes = sum(map(len, self._kept))
            self._kept.clear()
            return n_bytes

    def _take(self, n_bytes: int) -> mmap.mmap:
        """The smallest kept one that is large enough and not twice as large, or a new one, which the largest kept ones make room for."""
        with self._lock:
            fitting = [region for region in self._kept if n_bytes <= len(region) < 2 * n_bytes]
            region = min(fitting, key=len) if fitting else self._new(n_bytes)
            self._kept = [each for each in self._kept if each is not region]
            self._used_bytes += len(region)
            return region

    def _keep(self, region: mmap.mmap) -> None:
        """Nothing looks at a region any more."""
        if hasattr(mmap, "MADV_FREE"):
            region.madvise(mmap.MADV_FREE)
        with self._lock:
            self._used_bytes -= len(region)
            self._kept.append(region)

    def _new(self, n_bytes: int) -> mmap.mmap:
        used = self._used_bytes + n_bytes
        self._kept.sort(key=len)
        while used + sum(map(len, self._kept)) > max(self._most_bytes, used):
            self._kept.pop()
        try:
            region = _mapped(n_bytes)
        except MemoryError:
            if not self.give_back():
                raise
            region = _mapped(n_bytes)
        self._most_bytes = max(self._most_bytes, used)
        return region


def _mapped(n_bytes: int) -> mmap.mmap:
    try:
        region = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for an array of {n_bytes} bytes") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        region.madvise(mmap.MADV_HUGEPAGE)
    return region


_of_this_process = KeptMemory()


def kept_empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """As `np.empty`: an array (shape) of any content. Where it is large its memory is kept when the last view of it is gone; MemoryError if there is none."""
    return _of_this_process.empty(shape, dtype)


def give_back() -> int:
    """Give all memory that this process keeps, and has not in use, back to the system; returns its bytes."""
    return _of_this_process.give_back()
