"""What every command prints: one JSON document or words on stdout, progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOTDIR
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from products.errors import RequestError

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
device_option = click.option("--device", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", show_default=True)


def emit(document: object, as_json: bool, render: Callable[[Any], str], *, failed: bool = False) -> None:
    """Print a document as JSON or as `render` words it; where part of the work failed, exit with 1."""
    click.echo(json.dumps(document, default=str, indent=2) if as_json else render(document))
    if failed:
        sys.exit(1)


def output_path(place: str) -> Path:
    """Where a file is to be written, in a folder that is there or is made; RequestError, before the work, if it cannot be."""
    path = Path(place)
    with writing(place):
        if path.parent.is_file():
            raise NotADirectoryError(ENOTDIR, f"{path.parent} is no folder")
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def written(path: Path, content: bytes) -> None:
    """Write a file whole; RequestError if the place does not take it."""
    with writing(path):
        path.write_bytes(content)


@contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """What the disk says against a file that is asked for, as a RequestError."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"cannot write {place}: {error.strerror or error}: choose another place") from error


@contextmanager
def progress_on_stderr(doing: str) -> Iterator[Callable[[str], None]]:
    """A function that shows how far the work is, in one moving line on stderr; silent where stderr is no terminal."""
    with Console(stderr=True).status(doing) as status:
        yield lambda so_far: status.update(f"{doing}: {so_far}")
