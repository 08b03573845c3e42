"""The values of an array of a cell at some pixels: each chunk that holds one is read and decoded once."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.steps.cubes.cell_store import shard_path
from flows.steps.cubes.shards import CRC_BYTES, INDEX_ENTRY_BYTES, ChunkDecoder, shard_index
from flows.steps.storage import Storage
from products.template import ArrayTemplate, StoredArray


def values_at(
    storage: Storage,
    path: str,
    array: ArrayTemplate,
    tile_px: int,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    threads: int,
) -> NDArray[Any]:
    """(layer, n): the values of all layers of an array (times and features, in C order) of the cell at `path` at rows and columns of its tile."""
    side = array.chunks(tile_px)[-1]
    n_blocks, n_layers = (tile_px // side) ** 2, int(np.prod(array.shape(tile_px)[:-2]))
    block, order = block_order(row, column, side, tile_px)
    blocks, first = np.unique(block[order], return_index=True)
    ends = [*first[1:].tolist(), row.size]
    inner = ((row % side) * side + column % side)[order]
    numbers = [layer * n_blocks + int(each) for layer in range(n_layers) for each in blocks]
    chunks = stored_chunks(
        storage, shard_path(path, StoredArray(array.name, 0, array, tile_px)), n_layers * n_blocks, numbers
    )
    found, decoder = np.empty((n_layers, row.size), array.dtype), ChunkDecoder((side * side,), array.dtype)

    def read(task: tuple[int, int]) -> None:
        layer, number = task
        chunk = layer * n_blocks + int(blocks[number])
        pixels = decoder.decoded(chunks[chunk], f"chunk {chunk} of {array.name}")
        part = slice(int(first[number]), ends[number])
        np.take(pixels, inner[part], out=found[layer, part], mode="clip")

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        list(pool.map(read, [(layer, number) for layer in range(n_layers) for number in range(blocks.size)]))
    if (np.diff(order) == 1).all():
        return found
    back = np.empty(row.size, np.int64)
    back[order] = np.arange(row.size)
    return found[:, back]


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


def block_order(
    row: NDArray[np.int64], column: NDArray[np.int64], side: int, tile_px: int
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64]]:
    """The number of the chunk of `side` pixels that each pixel lies in, and the order by it; in that order pixels are read fastest."""
    across = tile_px // side
    block = ((row // side) * across + column // side).astype(np.min_scalar_type(across**2))
    return block, np.argsort(block, kind="stable")
