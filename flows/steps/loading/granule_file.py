"""The angle grids of a scene, from the metadata file of its granule, which a process reads once for all cells."""

from collections.abc import Sequence
from threading import Lock

from flows.steps.archives.item_refused import ItemRefused
from flows.steps.archives.packed_files import is_packed_folder, read_packed
from flows.steps.archives.safe_metadata import MAX_XML_BYTES
from flows.steps.archives.source_bytes import CopyFailed, FileAccess, opened_source
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import BandRead, UnreadBand
from flows.steps.scenes.granule_angles import granule_angles
from products.pixel.angle_grids import AngleGrids

REMEMBERED = 256  # scenes, about 100 kB each

_known: dict[tuple[str, int], AngleGrids] = {}
_lock = Lock()


def read_granule(places: Sequence[str], revision: int, access: RasterAccess) -> tuple[AngleGrids, BandRead]:
    """The angle grids at the first of some places that can be read, and what reading gave; UnreadBand, naming each, if none can be or all are damaged."""
    failures: list[str] = []
    for href in places:
        try:
            grids, size = _read(href, revision, access)
        except UnreadBand as error:
            failures.append(str(error))
            continue
        return grids, BandRead(size, None, f"read from {href}: {'; '.join(failures)}" if failures else "")
    raise UnreadBand("; ".join(failures))


def _read(href: str, revision: int, access: RasterAccess) -> tuple[AngleGrids, int]:
    """The angle grids in a file, and the bytes of it that had to be read."""
    key = href, revision
    with _lock:
        known = _known.get(key)
    if known is not None:
        return known, 0
    try:
        raw = _bytes(href, access)
        found = granule_angles(raw)
    except CopyFailed as error:
        raise UnreadBand(f"cannot read the angles of a granule: {error}") from error
    except ItemRefused as refusal:
        raise UnreadBand(
            f"cannot read the angles in {href}: {refusal}; fetch the file again, or ingest the item without granule_metadata"
        ) from refusal
    with _lock:
        while len(_known) >= REMEMBERED:
            del _known[next(iter(_known))]
        _known[key] = found
    return found, len(raw)


def _bytes(href: str, access: RasterAccess) -> bytes:
    if is_packed_folder(href):
        return read_packed(href, MAX_XML_BYTES)
    raw = bytearray()
    with opened_source(href, FileAccess(access.s3, access.signing)) as (_, chunks):
        for chunk in chunks(0):
            raw += chunk
            if len(raw) > MAX_XML_BYTES:
                raise ItemRefused(f"it has more than {MAX_XML_BYTES} bytes")
    return bytes(raw)
