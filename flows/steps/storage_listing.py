"""What lies in the store, by name."""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from flows.steps.storage import Storage


def children(storage: Storage, *place: str) -> list[str]:
    """The names directly below a folder or prefix of the store; none where it is not there."""
    try:
        found = storage.filesystem.ls(storage.path(*place), detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)


def snapshots(storage: Storage, products: Iterable[str] | None = None) -> Iterator[str]:
    """The cube snapshots below <root>/cubes, of all or of some product folders."""
    for product in children(storage, "cubes") if products is None else products:
        for area in children(storage, "cubes", product):
            for crs in children(storage, "cubes", product, area):
                for name in children(storage, "cubes", product, area, crs):
                    if name.endswith(".zarr"):
                        yield storage.path("cubes", product, area, crs, name)


def is_whole_snapshot(storage: Storage, path: str) -> bool:
    """Whether a cube snapshot is there, and the file beside it that is written last and swept first."""
    return storage.exists(path) and storage.exists(path.removesuffix(".zarr") + ".complete")


def cells_of_snapshot(storage: Storage, path: str) -> set[UUID]:
    """The cells that a snapshot says it is made of; none where a dead writer left it without its metadata."""
    try:
        attributes: dict[str, Any] = storage.open_group(path).attrs.asdict()
    except FileNotFoundError:
        return set()
    listed = attributes.get("neocube:cells", [])
    return {UUID(str(cell)) for cell in listed} if isinstance(listed, list) else set()


def numbered(storage: Storage, kind: str) -> Iterator[tuple[str, UUID]]:
    """Product and id of what lies under <root>/<kind>/<product>/<uuid>."""
    for product in children(storage, kind):
        for name in children(storage, kind, product):
            try:
                number = UUID(name)
            except ValueError:
                continue
            yield product, number
