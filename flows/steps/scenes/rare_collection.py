"""Python's collector of cycles, called rarely while many documents pass: they have none, and it looks at each again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_OBJECTS = 200_000


@contextmanager
def rare_collection() -> Iterator[None]:
    """What exists already is left alone for the block, what is new is looked at after 200 000 objects."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
