"""What the disk says against a folder that somebody asked to have files in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from products.errors import RequestError


@contextmanager
def naming_folder_in_errors(folder: Path) -> Iterator[None]:
    """An OSError of what is written there, as a RequestError."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror or error}; choose another folder") from error
