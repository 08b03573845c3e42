"""Reading an asset, tried again where it fails; a failure becomes an entry of the manifest."""

from collections.abc import Callable, Mapping
from uuid import UUID

from flows.steps.loading.manifest import AssetRead
from flows.steps.loading.reading import BandRead, UnreadBand
from products.scene import Scene

ATTEMPTS = 2
Failures = Mapping[tuple[UUID, str], AssetRead]


def attempt_read(
    scene: Scene, band: str, failed: Failures, read: Callable[[], BandRead]
) -> tuple[AssetRead, BandRead | None]:
    """Try to read twice, unless the asset failed already; MemoryError where GDAL had no memory, which says nothing about the file."""
    if known := failed.get((scene.id, band)):
        return known, None
    cause = ""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            done = read()
        except UnreadBand as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            cause = str(error)
            continue
        return AssetRead(scene.id, scene.item_id, band, "read", attempt, done.decoded_bytes, note=done.note), done
    return AssetRead(scene.id, scene.item_id, band, "failed", ATTEMPTS, cause=cause), None


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether GDAL's out-of-memory error is among the causes of an error."""
    return error is not None and (type(error).__name__ == "CPLE_OutOfMemoryError" or is_out_of_memory(error.__cause__))
