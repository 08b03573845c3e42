"""Streams cut into batches."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last of what is left: `itertools.batched`, which Python has from 3.12 on."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch
