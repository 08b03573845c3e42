"""The values of an array of a cell at some pixels: each chunk that holds one is read and decoded once."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flows.steps.cubes.cell_store import shard_path
from flows.steps.cubes.shards import CRC_BYTES, INDEX_ENTRY_BYTES, ChunkDecoder, shard_index
from flows.steps.storage import Storage
from products.kept_memory import kept_empty
from products.learning.place_kernels import count_near, near_per_chunk, put_near, take_pixels
from products.template import ArrayTemplate, StoredArray

CHUNKS_AT_ONCE: Final = 8  # by a thread, before it asks for more


@dataclass(frozen=True, slots=True)
class ChunkedPixels:
    """Pixels of a tile, sorted by the chunk of `side` pixels that they lie in; in that order they are read fastest.

    `order` (n,) int64, and in that order: `inner` (n,) uint32, where a pixel lies in its chunk. `first` (chunk + 1,): where the pixels of a chunk begin.
    """

    order: NDArray[np.int64]
    inner: NDArray[np.uint32]
    first: NDArray[np.int64]
    side: int


def chunked_pixels(
    row: NDArray[np.int64], column: NDArray[np.int64], side: int, tile_px: int, threads: int
) -> ChunkedPixels:
    """The pixels at rows and columns of a tile: a counting sort by neighbourhoods of each chunk. ValueError for a pixel beyond the tile."""
    edges = np.linspace(0, row.size, max(threads, 1) + 1).astype(np.int64)
    parts, per_chunk = [slice(*pair) for pair in pairwise(edges)], near_per_chunk(side)
    near, inner, ordered = np.empty((3, row.size), np.uint32)
    count = np.zeros((len(parts), (tile_px // side) ** 2 * per_chunk), np.int64)
    order = np.empty(row.size, np.int64)

    def counted(number: int) -> bool:
        part = parts[number]
        inside: bool = count_near(row[part], column[part], side, tile_px, near[part], inner[part], count[number])
        return inside

    def put(number: int) -> None:
        part = parts[number]
        put_near(near[part], inner[part], start[number], part.start, order, ordered)

    with ThreadPoolExecutor(len(parts)) as pool:
        if not all(pool.map(counted, range(len(parts)))):
            raise ValueError(f"expected rows and columns from 0 to {tile_px - 1} of a tile, got others")
        ends = np.cumsum(count.T).reshape(count.T.shape)
        start = np.ascontiguousarray((ends - count.T).T)
        first = np.append(start[0, ::per_chunk], row.size)
        list(pool.map(put, range(len(parts))))
    return ChunkedPixels(order, ordered, first, side)


def values_in_order(
    storage: Storage, path: str, array: ArrayTemplate, tile_px: int, pixels: ChunkedPixels, threads: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Of pixels in their order: (layer, n) the values of all layers (times and features, in C order) of an array of the cell at `path`, and (n,)
    where all are finite."""
    n_blocks, n_layers = (tile_px // pixels.side) ** 2, int(np.prod(array.shape(tile_px)[:-2]))
    blocks = np.flatnonzero(np.diff(pixels.first)).tolist()
    numbers = [layer * n_blocks + block for layer in range(n_layers) for block in blocks]
    chunks = stored_chunks(
        storage, shard_path(path, StoredArray(array.name, 0, array, tile_px)), n_layers * n_blocks, numbers
    )
    found = kept_empty((n_layers, pixels.order.size), array.dtype)
    complete, decoder = np.ones(pixels.order.size, np.bool_), ChunkDecoder((pixels.side**2,), array.dtype)

    def read(start: int) -> None:
        for number in numbers[start : start + CHUNKS_AT_ONCE]:
            layer, block = divmod(number, n_blocks)
            values = decoder.decoded(chunks[number], f"chunk {number} of {array.name}")
            part = slice(*pixels.first[block : block + 2])
            take_pixels(values, pixels.inner[part], found[layer, part], complete[part])

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        list(pool.map(read, range(0, len(numbers), CHUNKS_AT_ONCE)))
    return found, complete


def stored_chunks(
    storage: Storage, path: str, n_chunks: int, wanted: Sequence[int]
) -> Mapping[int, memoryview | bytes]:
    """The stored bytes of some chunks of a shard, by number: as they lie in a mapped file, or by one batch of range requests."""
    tail = n_chunks * INDEX_ENTRY_BYTES + CRC_BYTES
    if storage.is_local:
        content = storage.view(path)
        index = shard_index(content[-tail:], n_chunks).astype(np.int64)
        return {number: content[index[number, 0] : index[number].sum()] for number in wanted}
    index = shard_index(storage.filesystem.cat_file(path, start=-tail), n_chunks).astype(np.int64)
    starts, ends = index[list(wanted), 0], index[list(wanted)].sum(axis=1)
    parts = storage.filesystem.cat_ranges([path] * len(wanted), starts.tolist(), ends.tolist())
    return dict(zip(wanted, parts, strict=True))
