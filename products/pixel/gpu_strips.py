"""What every GPU leaf shares: integers cross the bus once, strip by strip, through two pinned buffers and two streams."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from products.errors import DeviceFull
from products.pixel.gpu_source import OPTIONS, Kernel, TemporalSource

Floats = NDArray[np.float32]
Counts = NDArray[np.uint16]
Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]
Say = Callable[[str], None]
_log = logging.getLogger(__name__)
SLOTS = 2
STRIP_BYTES = 128 * 2**20  # of a slot: enough threads for the largest device, and little pinned memory
MOST_INTEGERS = 2**32 - 1  # of a strip: their places are numbers of 32 bits
SCENES_AT_ONCE = 8  # that a thread of the host copies
SHARE_OF_FREE = 0.8  # the rest is left to the compiler's modules and the other libraries of the process


@dataclass(frozen=True, slots=True)
class StripShape:
    """What a strip of `rows` rows holds: integers of (band, scene, row, x), causes of (scene, row, x), features of (feature, row, x).

    On the device only, each pixel has `room_numbers` float64 of scratch, and all share `scene_numbers` for each scene and `step_numbers`.
    """

    n_bands: int
    n_scenes: int
    n_features: int
    width: int
    rows: int
    room_numbers: int = 0
    scene_numbers: int = 0
    step_numbers: int = 0


def device_bytes(shape: StripShape) -> int:
    """Bytes of device memory while strips of this shape are computed."""
    return SLOTS * shape.rows * (_row_bytes(shape) + _room_bytes(shape)) + _shared_bytes(shape)


def pinned_bytes(shape: StripShape) -> int:
    """Bytes of pinned host memory while strips of this shape are computed."""
    return SLOTS * shape.rows * _row_bytes(shape)


def strip_rows(shape: StripShape, memory_bytes: int) -> int:
    """Rows of a strip, at most `shape.rows`, whose `device_bytes` are at most `memory_bytes`; DeviceFull where not one fits."""
    row, shared = _row_bytes(shape) + _room_bytes(shape), _shared_bytes(shape)
    fitting = (memory_bytes - shared) // (SLOTS * row)
    if fitting < 1:
        raise DeviceFull(
            f"one row of {shape.width} pixels, {shape.n_scenes} observations and {shape.n_bands} bands needs {SLOTS * row + shared:,} "
            f"bytes of device memory, {memory_bytes:,} are free; use a smaller tile, or free the device"
        )
    integers = shape.width * shape.n_scenes * shape.n_bands
    if integers > MOST_INTEGERS:
        raise DeviceFull(
            f"one row of {shape.width} pixels, {shape.n_scenes} observations and {shape.n_bands} bands has {integers:,} integers, the kernels "
            f"count to {MOST_INTEGERS:,}; use a smaller tile"
        )
    return min(shape.rows, fitting, max(1, STRIP_BYTES // row))


@dataclass(frozen=True, slots=True)
class Given:
    """What the kernels are given: block (layer, scene, y, x), causes (scene, y, x), the layer of each band that is sent, its gain and bias (scene, band).

    `table` (number) is shared by all pixels.
    """

    block: Counts
    causes: NDArray[np.uint8]
    sent: Integers
    gain: Floats
    bias: Floats
    table: Doubles
    min_observations: int = 1


def run_strips(
    source: TemporalSource, given: Given, n_features: int, memory_bytes: int | None = None, say: Say | None = None, threads: int = 1,
) -> Floats:  # fmt: skip
    """float32 (feature, y, x): what the kernels write, on the current CUDA device; NaN where they do not.

    `memory_bytes` of the device are used at most, by default most of what is free. Where they cannot be had, strips are halved, which is said
    or logged; DeviceFull where not one row can be had. So many `threads` of the host copy to and from pinned memory.
    """
    n_scenes, height, width = given.causes.shape
    if not n_scenes or not n_features * height * width:
        return np.full((n_features, height, width), np.nan, np.float32)
    out = np.empty((n_features, height, width), np.float32)
    import cupy

    free = memory_bytes if memory_bytes is not None else usable_bytes(cupy)
    whole = StripShape(len(given.sent), n_scenes, n_features, width, height, source.room_numbers, 0, given.table.size)
    shared = (
        cupy.asarray(np.stack([given.gain, given.bias], axis=-1).astype(np.float32)),
        cupy.asarray(given.table.astype(np.float64)),
    )
    cupy.cuda.get_current_stream().synchronize()
    slots = _slots(cupy, source, whole, strip_rows(whole, free), say or _log.warning)
    with ThreadPoolExecutor(threads) as pool:
        try:
            for i, first in enumerate(range(0, height, slots[0].rows)):
                slot = slots[i % SLOTS]
                slot.finish(out, pool)
                slot.start(given, shared, first, pool)
        finally:
            for slot in slots:
                slot.stream.synchronize()
        for slot in slots:
            slot.finish(out, pool)
    return out


def usable_bytes(cupy: Any) -> int:  # noqa: ANN401
    """Most of the device memory that is free, or kept by the pool of this process."""
    return int((cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()) * SHARE_OF_FREE)


def blocks(kernel: Kernel, pixels: int) -> int:
    """Blocks of `kernel.threads` threads, `kernel.lanes` of which compute a pixel."""
    return -(-pixels * kernel.lanes // kernel.threads)


def _row_bytes(shape: StripShape) -> int:
    """Of what crosses the bus."""
    return shape.width * (shape.n_scenes * (2 * shape.n_bands + 1) + 4 * shape.n_features)


def _room_bytes(shape: StripShape) -> int:
    return 8 * shape.room_numbers * shape.width


def _shared_bytes(shape: StripShape) -> int:
    return 8 * (shape.n_scenes * (shape.n_bands + shape.scene_numbers) + shape.step_numbers)


@lru_cache(maxsize=16)
def _module(cupy: Any, text: str) -> Any:  # noqa: ANN401
    return cupy.RawModule(code=text, options=OPTIONS)


def _slots(cupy: Any, source: TemporalSource, whole: StripShape, rows: int, say: Say) -> list["_Slot"]:  # noqa: ANN401
    """Two slots of `rows` rows, or of half as many until the device has the memory."""
    while True:
        try:
            return [_Slot(cupy, source, whole, rows) for _ in range(SLOTS)]
        except (cupy.cuda.memory.OutOfMemoryError, cupy.cuda.runtime.CUDARuntimeError) as error:
            full = cupy.cuda.runtime.errorMemoryAllocation  # what pinned memory that cannot be had raises
            if getattr(error, "status", full) != full:
                raise
            if rows == 1:
                raise DeviceFull(f"the device has too little memory for one row of {whole.width} pixels") from error
            fewer = -(-rows // 2)
            say(f"the device has too little memory for strips of {rows} rows: trying {fewer}")
            rows = fewer


def _copy(pool: ThreadPoolExecutor, copies: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> None:
    """Each second array into its first."""
    for _ in pool.map(np.copyto, *zip(*copies, strict=True)):
        pass


class _Slot:
    """Pinned and device memory of one strip, and the stream that moves and computes it."""

    def __init__(self, cupy: Any, source: TemporalSource, whole: StripShape, rows: int) -> None:  # noqa: ANN401
        from cupyx import empty_pinned as pinned

        self.rows, self.whole, self.kernels = rows, whole, source.kernels
        module = _module(cupy, source.text)
        self.functions: Sequence[Any] = [module.get_function(kernel.name) for kernel in source.kernels]
        pixels = rows * whole.width
        sizes = {
            "block": (whole.n_bands * whole.n_scenes * pixels, np.uint16),
            "causes": (whole.n_scenes * pixels, np.uint8),
            "out": (whole.n_features * pixels, np.float32),
        }
        self.device = {name: cupy.empty(size, dtype) for name, (size, dtype) in sizes.items()}
        self.room = cupy.empty(whole.room_numbers * pixels, np.float64)
        self.host = {name: pinned(size, dtype) for name, (size, dtype) in sizes.items()}
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.taken: slice | None = None

    def start(self, given: Given, shared: tuple[Any, Any], first: int, pool: ThreadPoolExecutor) -> None:
        """Send the strip from row `first` and queue its kernels and its way back; `shared` are terms and table on the device."""
        rows = slice(first, min(first + self.rows, self.whole.rows))
        n, width, scenes = rows.stop - first, self.whole.width, self.whole.n_scenes
        pixels = n * width
        numbers = self.host["block"][: len(given.sent) * scenes * pixels].reshape(len(given.sent), scenes, n, width)
        fates = self.host["causes"][: scenes * pixels].reshape(scenes, n, width)
        parts = [slice(at, at + SCENES_AT_ONCE) for at in range(0, scenes, SCENES_AT_ONCE)]
        copies: list[tuple[NDArray[Any], NDArray[Any]]] = [
            (numbers[place, part], given.block[layer, part, rows])
            for place, layer in enumerate(given.sent)
            for part in parts
        ]
        _copy(pool, [*copies, *((fates[part], given.causes[part, rows]) for part in parts)])
        terms, table = shared
        with self.stream:
            for name, size in (("block", numbers.size), ("causes", scenes * pixels)):
                self.device[name][:size].set(self.host[name][:size], stream=self.stream)
            arguments = (self.device["block"], self.device["causes"], terms, self.device["out"], table, self.room)
            counts = (
                np.int32(len(given.sent)),
                np.int32(scenes),
                np.int64(pixels),
                np.int32(given.min_observations),
            )
            for kernel, function in zip(self.kernels, self.functions, strict=True):
                function((blocks(kernel, pixels),), (kernel.threads,), (*arguments, *counts))
            size = self.whole.n_features * pixels
            self.device["out"][:size].get(stream=self.stream, out=self.host["out"][:size], blocking=False)
        self.taken = rows

    def finish(self, out: Floats, pool: ThreadPoolExecutor) -> None:
        """Wait for the strip that was started last, and put it into out (feature, y, x)."""
        if self.taken is None:
            return
        self.stream.synchronize()
        n = self.taken.stop - self.taken.start
        size = self.whole.n_features * n * self.whole.width
        found = self.host["out"][:size].reshape(self.whole.n_features, n, self.whole.width)
        _copy(pool, [(there[self.taken], here) for there, here in zip(out, found, strict=True)])
        self.taken = None
