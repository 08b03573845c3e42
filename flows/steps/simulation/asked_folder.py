"""A folder that somebody asked to have files in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from products.errors import RequestError


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """What the disk says against the folder, as a RequestError."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror or error}; choose another folder") from error
