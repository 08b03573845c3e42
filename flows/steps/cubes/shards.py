"""Zarr v3 shards, encoded and decoded by all threads: zarr-python does it with one (ADR 0010). Every other reader sees plain Zarr."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, Final, TypeVar

import google_crc32c
import numpy as np
from numcodecs.blosc import Blosc
from numpy.typing import NDArray

from products.template import ArrayTemplate

CHUNK_CODEC: Final = "lz4"
CHUNK_LEVEL: Final = 5
CRC_BYTES, INDEX_ENTRY_BYTES = 4, 16
DECODED_SIZE = slice(4, 8)  # of the header of a chunk (c-blosc, README_CHUNK_FORMAT), little-endian

T = TypeVar("T")
Stored = bytes | memoryview


class BrokenShard(RuntimeError):
    """The bytes are not the shard that the array's shape, chunks and checksum ask for."""


def encode_shard(array: ArrayTemplate, content: NDArray[Any], threads: int) -> Iterator[bytes]:
    """The parts of the one shard of an array (`array.dims`): its chunks in C order, then the index (zarr v3 `sharding_indexed`, index at the end).

    Each comes as soon as it is made. The index holds offset and length of each chunk as little-endian uint64, and their CRC-32C.
    """
    chunks = array.chunks(content.shape[-1])
    codec = Blosc(CHUNK_CODEC, CHUNK_LEVEL, Blosc.SHUFFLE)

    def encode(place: tuple[slice, ...]) -> bytes:
        encoded: bytes = codec.encode(np.ascontiguousarray(content[place]))
        return encoded

    sizes: list[int] = []
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for part in pool.map(encode, _places(content.shape, chunks)):
            sizes.append(len(part))
            yield part
    lengths = np.array(sizes, "<u8")
    index = np.stack([np.cumsum(lengths) - lengths, lengths], axis=-1).astype("<u8").tobytes()
    yield index
    yield np.uint32(google_crc32c.value(index)).astype("<u4").tobytes()


def decode_shard(array: ArrayTemplate, shard: Stored, shape: tuple[int, ...], threads: int) -> NDArray[Any]:
    """The array (`array.dims`) in a shard; BrokenShard if the checksum of its index, or a chunk, is not as written."""
    content = np.empty(shape, array.dtype)

    def put(place: tuple[slice, ...], chunk: NDArray[Any]) -> None:
        content[place] = chunk

    _for_each_chunk(array, shard, shape, threads, put)
    return content


def is_shard_of(array: ArrayTemplate, shard: Stored, content: NDArray[Any], threads: int) -> bool:
    """Whether a shard holds an array (`array.dims`) to the bit, a chunk of it in memory for each thread. BrokenShard."""
    bits = content.view(f"u{content.itemsize}")

    def compare(place: tuple[slice, ...], chunk: NDArray[Any]) -> bool:
        return np.array_equal(chunk.view(bits.dtype), bits[place])

    return content.dtype == array.dtype and all(_for_each_chunk(array, shard, content.shape, threads, compare))


def _for_each_chunk(
    array: ArrayTemplate,
    shard: Stored,
    shape: tuple[int, ...],
    threads: int,
    take: Callable[[tuple[slice, ...], NDArray[Any]], T],
) -> list[T]:
    """What is made of each chunk of a shard, in C order; BrokenShard if one cannot be decoded."""
    size = array.chunks(shape[-1])
    places, there = list(_places(shape, size)), memoryview(shard)
    index, decoder = shard_index(shard, len(places)), ChunkDecoder(size, array.dtype)

    def decoded(number: int) -> T:
        offset, length = (int(value) for value in index[number])
        chunk = decoder.decoded(there[offset : offset + length], f"chunk {number} of {array.name}")
        return take(places[number], chunk)

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        return list(pool.map(decoded, range(len(places))))


class ChunkDecoder(threading.local):
    """Decodes chunks of a shape and type; in each thread into the same memory, as new memory costs more than decoding."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self._chunk = np.empty(shape, dtype)

    def decoded(self, stored: Stored, name: str) -> NDArray[Any]:
        """A chunk of a shard, valid until the next one; BrokenShard, with its name, if it does not hold just that much."""
        size = int.from_bytes(stored[DECODED_SIZE], "little")
        if size != self._chunk.nbytes:
            raise BrokenShard(f"{name} holds {size} bytes, expected {self._chunk.nbytes}")
        try:
            Blosc().decode(stored, out=self._chunk)
        except (RuntimeError, ValueError) as error:
            raise BrokenShard(f"{name} cannot be decoded: {error}") from error
        return self._chunk


def shard_index(shard: Stored, n_chunks: int) -> NDArray[np.uint64]:
    """The index at the end of a shard, uint64 (chunk, 2): offset and length. BrokenShard if its checksum is another."""
    size = INDEX_ENTRY_BYTES * n_chunks
    if len(shard) < size + CRC_BYTES:
        raise BrokenShard(
            f"a shard of {len(shard)} bytes: expected at least the index of {n_chunks} chunks, {size + CRC_BYTES} bytes"
        )
    index, crc = bytes(shard[-size - CRC_BYTES : -CRC_BYTES]), bytes(shard[-CRC_BYTES:])
    if google_crc32c.value(index) != int.from_bytes(crc, "little"):
        raise BrokenShard("the index of a shard has another checksum than was written")
    return np.frombuffer(index, "<u8").reshape(n_chunks, 2)


def _places(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """The chunks of a shard in C order."""
    steps = [range(0, size, chunk) for size, chunk in zip(shape, chunks, strict=True)]
    for starts in product(*steps):
        yield tuple(slice(start, start + chunk) for start, chunk in zip(starts, chunks, strict=True))
