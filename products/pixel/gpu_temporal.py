"""The GPU leaf of the fused temporal features: integers cross the bus once, strip by strip, through two pinned buffers and two streams."""

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from products.errors import DeviceFull, RequestError
from products.pixel.gpu_source import THREADS, Kernel, TemporalSource, temporal_source
from products.pixel.temporal import moved_operands

Floats = NDArray[np.float32]
Counts = NDArray[np.uint16]
Say = Callable[[str], None]
_log = logging.getLogger(__name__)
SLOTS = 2
STRIP_BYTES = 256 * 2**20  # of a slot: enough threads for the largest device, and little pinned memory
SHARE_OF_FREE = 0.8  # the rest is left to the compiler's modules and the other libraries of the process


@dataclass(frozen=True, slots=True)
class StripShape:
    """What a strip of `rows` rows holds: integers of (band, scene, row, x), causes of (scene, row, x), features of (feature, row, x)."""

    n_bands: int
    n_scenes: int
    n_features: int
    width: int
    rows: int


def device_bytes(shape: StripShape) -> int:
    """Bytes of device memory while strips of this shape are computed; the pinned host memory is as much."""
    return SLOTS * shape.rows * _row_bytes(shape) + _term_bytes(shape)


def strip_rows(shape: StripShape, memory_bytes: int) -> int:
    """Rows of a strip, at most `shape.rows`, whose `device_bytes` are at most `memory_bytes`; DeviceFull where not one fits."""
    row = _row_bytes(shape)
    fitting = (memory_bytes - _term_bytes(shape)) // (SLOTS * row)
    if fitting < 1:
        raise DeviceFull(
            f"one row of {shape.width} pixels, {shape.n_scenes} observations and {shape.n_bands} bands needs {SLOTS * row + _term_bytes(shape):,} "
            f"bytes of device memory, {memory_bytes:,} are free; use a smaller tile, or free the device"
        )
    return min(shape.rows, fitting, max(1, STRIP_BYTES // row))


def temporal_features_gpu(
    block: Counts, causes: NDArray[np.uint8], gain: Floats, bias: Floats,
    geomedian_bands: NDArray[np.int64], with_mads: bool,
    programs: NDArray[np.float64], reducers: Floats, min_observations: int, memory_bytes: int | None = None,
    say: Say | None = None,
) -> Floats:  # fmt: skip
    """float32 (feature, y, x): `products.pixel.temporal.temporal_features` on the current CUDA device, to the tolerances of docs/gpu.md.

    `memory_bytes` of the device are used at most, by default most of what is free. Where they cannot be had, strips are halved, which is said
    or logged; DeviceFull where not one row can be had.
    """
    if with_mads and not geomedian_bands.size:
        raise RequestError("the MADs are distances to the geomedian: expected a geomedian of some bands beside them")
    order = band_order(geomedian_bands, programs)
    source = temporal_source(
        geomedian_bands.size, with_mads, moved_operands(programs, order), reducers, max(1, block.shape[1])
    )
    n_features = geomedian_bands.size + 3 * with_mads + int(np.count_nonzero(~np.isnan(reducers)))
    out = np.full((n_features, *block.shape[2:]), np.nan, np.float32)
    if not out.size or not block.shape[1]:
        return out
    cupy = importlib.import_module("cupy")
    free = memory_bytes if memory_bytes is not None else usable_bytes(cupy)
    height, width = block.shape[2:]
    whole = StripShape(len(order), block.shape[1], n_features, width, height)
    terms = np.stack([gain.T[order], bias.T[order]], axis=-1).astype(np.float32)
    on_device = cupy.asarray(terms)
    cupy.cuda.get_current_stream().synchronize()
    slots = _slots(cupy, source, whole, strip_rows(whole, free), say or _log.warning)
    try:
        for i, first in enumerate(range(0, height, slots[0].rows)):
            slot = slots[i % SLOTS]
            slot.finish(out)
            slot.start(block, causes, order, on_device, first, min_observations)
    finally:
        for slot in slots:
            slot.stream.synchronize()
    for slot in slots:
        slot.finish(out)
    return out


def usable_bytes(cupy: Any) -> int:  # noqa: ANN401
    """Most of the device memory that is free, or kept by the pool of this process."""
    return int((cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()) * SHARE_OF_FREE)


def band_order(geomedian_bands: NDArray[np.int64], programs: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bands that are used, the geomedian's first."""
    used = programs[..., 1][programs[..., 0] == 0].astype(np.int64)
    return np.concatenate([geomedian_bands, np.setdiff1d(used, geomedian_bands)]).astype(np.int64)


def _row_bytes(shape: StripShape) -> int:
    return shape.width * (shape.n_scenes * (2 * shape.n_bands + 1) + 4 * shape.n_features)


def _term_bytes(shape: StripShape) -> int:
    return 8 * shape.n_bands * shape.n_scenes


@lru_cache(maxsize=16)
def _module(cupy: Any, text: str) -> Any:  # noqa: ANN401
    return cupy.RawModule(code=text, options=("--std=c++17",))


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


class _Slot:
    """Pinned and device memory of one strip, and the stream that moves and computes it."""

    def __init__(self, cupy: Any, source: TemporalSource, whole: StripShape, rows: int) -> None:  # noqa: ANN401
        pinned = importlib.import_module("cupyx").empty_pinned
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
        self.host = {name: pinned(size, dtype) for name, (size, dtype) in sizes.items()}
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.taken: slice | None = None

    def start(
        self, block: Counts, causes: NDArray[np.uint8], order: NDArray[np.int64], terms: Any, first: int, min_observations: int,  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Send the strip from row `first` and queue its kernels and its way back."""
        rows = slice(first, min(first + self.rows, self.whole.rows))
        n, width, scenes = rows.stop - first, self.whole.width, self.whole.n_scenes
        pixels = n * width
        numbers = self.host["block"][: len(order) * scenes * pixels].reshape(len(order), scenes, n, width)
        for place, band in enumerate(order):
            np.copyto(numbers[place], block[band, :, rows])
        np.copyto(self.host["causes"][: scenes * pixels].reshape(scenes, n, width), causes[:, rows])
        with self.stream:
            for name, size in (("block", numbers.size), ("causes", scenes * pixels)):
                self.device[name][:size].set(self.host[name][:size], stream=self.stream)
            arguments = (self.device["block"], self.device["causes"], terms, self.device["out"])
            counts = (np.int32(scenes), np.int64(pixels), np.int32(min_observations))
            for kernel, function in zip(self.kernels, self.functions, strict=True):
                function((blocks(kernel, pixels),), (THREADS,), (*arguments, *counts))
            size = self.whole.n_features * pixels
            self.device["out"][:size].get(stream=self.stream, out=self.host["out"][:size], blocking=False)
        self.taken = rows

    def finish(self, out: Floats) -> None:
        """Wait for the strip that was started last, and put it into out (feature, y, x)."""
        if self.taken is None:
            return
        self.stream.synchronize()
        n = self.taken.stop - self.taken.start
        size = self.whole.n_features * n * self.whole.width
        out[:, self.taken] = self.host["out"][:size].reshape(self.whole.n_features, n, self.whole.width)
        self.taken = None


def blocks(kernel: Kernel, pixels: int) -> int:
    """Blocks of THREADS threads, `kernel.lanes` of which compute a pixel."""
    return -(-pixels * kernel.lanes // THREADS)
