"""What every command prints: one JSON document or words on stdout, progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def place_at(at: str) -> tuple[float, float]:
    """Longitude and latitude; RequestError."""
    try:
        longitude, latitude = (float(part) for part in at.split(","))
    except ValueError:
        longitude = latitude = float("nan")
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise RequestError(f"expected --at as LON,LAT in degrees, such as 100.845,4.95, got {at!r}")
    return longitude, latitude


@contextmanager
def progress_on_stderr(doing: str) -> Iterator[Callable[[str], None]]:
    """A function that shows how far the work is, in one moving line on stderr; silent where stderr is no terminal."""
    with Console(stderr=True).status(doing) as status:
        yield lambda so_far: status.update(f"{doing}: {so_far}")
