"""Memory of large arrays is used again when nothing looks at it any more, and only then."""

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from products.kept_memory import LEAST_BYTES, KeptMemory, give_back, kept_empty

N = 2 * LEAST_BYTES


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    gc.collect()
    give_back()
    yield
    give_back()


def address(n_bytes: int) -> int:
    """Where the memory of an array lies that is gone again."""
    return int(kept_empty((n_bytes,), np.uint8).ctypes.data)


def test_memory_is_used_again_for_arrays_of_other_shapes_and_types() -> None:
    first = kept_empty((2, N // 16, 8), np.uint8)
    place = first.ctypes.data
    del first
    second = kept_empty((N // 8 + 8,), np.float32)
    assert second.ctypes.data == place and second.nbytes == N // 2 + 32


def test_memory_that_a_view_looks_at_is_not_used_again() -> None:
    whole = kept_empty((4, N // 4), np.uint8)
    whole[:] = 7
    row = whole[3].reshape(-1, 2).view(np.uint16)[5:9].T
    del whole
    other = kept_empty((N,), np.uint8)
    other[:] = 0
    assert not np.may_share_memory(row, other) and (row == 0x0707).all()
    del row
    assert give_back() == N


def test_a_small_array_is_one_of_numpy() -> None:
    assert kept_empty((LEAST_BYTES - 1,), np.uint8).base is None
    assert give_back() == 0


def test_no_more_is_kept_than_was_in_use_at_once() -> None:
    memory = KeptMemory()
    first = memory.empty((N,), np.uint8)
    del first
    half = memory.empty((N // 2,), np.uint8)  # with what is kept that would be more than ever was in use
    assert memory.give_back() == 0
    large = memory.empty((N,), np.uint8)
    del large
    other = memory.empty((N // 2,), np.uint8)  # so would this be, beside the first half
    assert memory.give_back() == 0 and half.nbytes == other.nbytes
    del other
    assert memory.give_back() == N // 2


def test_the_smallest_that_fits_is_taken() -> None:
    large, small = kept_empty((N + 2**20,), np.uint8), kept_empty((N,), np.uint8)
    place = small.ctypes.data
    del large, small
    assert address(N - 5) == place


def test_threads_never_get_the_same_memory() -> None:
    wrong = []

    def work(number: int) -> None:
        for _ in range(30):
            mine = kept_empty((N,), np.uint8)
            mine[::4096] = number
            wrong.extend(mine[::4096][mine[::4096] != number])

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


LIMITED = """
import resource
import numpy as np
from products.kept_memory import give_back, kept_empty
whole = kept_empty((600 * 2**20,), np.uint8)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
try:
    kept_empty((700 * 2**20,), np.uint8)
except MemoryError as error:
    print(error)
del whole
print(kept_empty((250 * 2**20,), np.uint8).nbytes, kept_empty((800 * 2**20,), np.uint8).nbytes)
"""


def test_where_memory_lacks_what_is_kept_makes_room_and_what_is_used_is_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"no memory for an array of {700 * 2**20} bytes",
        f"{250 * 2**20} {800 * 2**20}",
    ]
