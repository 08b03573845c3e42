"""Where copies of band files lie, and reading from the nearest place that has the pixels."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from sqlalchemy import Row, select

from datacube_config.connection import Index
from datacube_config.schema import mirror_file
from flows.steps.archives.signing import signed
from flows.steps.loading.clips import as_whole_file, holds_tile
from flows.steps.loading.reading import FAILURES, BandRead, UnreadBand, gdal_path, read_band, read_opened, unread
from flows.steps.loading.wanted_pixels import WantedPixels
from flows.steps.scenes.normalise import GRANULE
from products.scene import BandFile, BandPlace, Clip, Scene

SCENES_PER_QUERY = 5000
NEARNESS = {"s3": 1, "http": 2, "https": 2}  # by scheme; local is nearest

Copies = Mapping[tuple[UUID, str], Sequence[Row[Any]]]


def with_mirrors(index: Index, scenes: Sequence[Scene], preferred: Sequence[str] = ()) -> list[Scene]:
    """The scenes with every place to read their bands from: the `preferred` mirrors first, then the nearer before the farther."""
    copies = recorded_copies(index, [scene.id for scene in scenes])
    if not copies:
        return list(scenes)
    found = []
    for scene in scenes:
        bands = {
            name: replace(file, places=_places(file, copies.get((scene.id, name), ()), preferred))
            for name, file in scene.bands.items()
        }
        found.append(replace(scene, bands=bands, granule_metadata=_granule_places(scene, copies, preferred)))
    return found


def recorded_copies(index: Index, datasets: Sequence[UUID], mirror: str | None = None) -> Copies:
    """The rows of mirror_file by dataset and band, of one mirror or of all."""
    rows: dict[tuple[UUID, str], list[Row[Any]]] = defaultdict(list)
    with index.engine.connect() as connection:
        for start in range(0, len(datasets), SCENES_PER_QUERY):
            query = select(mirror_file).where(mirror_file.c.dataset_id.in_(datasets[start : start + SCENES_PER_QUERY]))
            query = query if mirror is None else query.where(mirror_file.c.mirror == mirror)
            for row in connection.execute(query.order_by(mirror_file.c.mirror)):
                rows[row.dataset_id, row.band].append(row)
    return rows


def clip_from(document: Mapping[str, Any] | None) -> Clip | None:
    """The clip that a row's document says; None for a whole copy."""
    if document is None:
        return None
    lists: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
    }
    return Clip(**lists)


def read_nearest(
    file: BandFile, geobox: GeoBox, resampling: str, out: NDArray[Any], wanted: WantedPixels | None = None
) -> BandRead:
    """Read a band, at least where it is wanted, from the first of its places that has the tile and can be read, saying which failed; UnreadBand if all do."""
    # Views, because rasterio leaves the shape of an array changed where a read fails.
    if not file.places:
        return read_band(file, geobox, resampling, out.view(), wanted)
    failures: list[str] = []
    for place in file.places:
        if place.clip is not None and not holds_tile(place.clip, geobox):
            continue
        try:
            read = _read_place(file, place, geobox, resampling, out.view(), wanted)
        except UnreadBand as error:
            failures.append(str(error))
            continue
        return replace(read, note="; ".join([note for note in (read.note, _instead(place, failures)) if note]))
    raise UnreadBand("; ".join(failures))


def _read_place(
    file: BandFile, place: BandPlace, geobox: GeoBox, resampling: str, out: NDArray[Any], wanted: WantedPixels | None
) -> BandRead:
    _check_size(place)
    if place.clip is None:
        return read_band(replace(file, href=place.href), geobox, resampling, out, wanted)
    try:
        with (
            signed(place.href) as href,
            rasterio.open(as_whole_file(place.clip, gdal_path(href)), sharing=False) as whole,
        ):
            return read_opened(whole, replace(file, href=place.href), geobox, resampling, out, wanted)
    except FAILURES as error:
        raise unread(place.href, error) from error


def _check_size(place: BandPlace) -> None:
    """UnreadBand for a local copy that is gone or has another size than was recorded."""
    if place.size_bytes is None or "://" in place.href:
        return
    try:
        size = Path(place.href).stat().st_size
    except OSError as error:
        raise UnreadBand(f"cannot read {place.href}: {error.strerror}") from error
    if size != place.size_bytes:
        raise UnreadBand(f"cannot read {place.href}: it has {size} bytes, {place.size_bytes} were copied")


def _instead(place: BandPlace, failures: Sequence[str]) -> str:
    return f"read from {place.href}: {'; '.join(failures)}" if failures else ""


def _places(file: BandFile, rows: Iterable[Row[Any]], preferred: Sequence[str]) -> tuple[BandPlace, ...]:
    """The copies and the source, in order of preference; none where there are no copies."""
    ranked = [
        (_rank(row.href, row.mirror, preferred), BandPlace(row.href, row.size_bytes, clip_from(row.clip)))
        for row in rows
    ]
    if not ranked:
        return ()
    ranked.append((_rank(file.href, None, preferred), BandPlace(file.href)))
    return tuple(place for _, place in sorted(ranked, key=lambda pair: pair[0]))


def _granule_places(scene: Scene, copies: Copies, preferred: Sequence[str]) -> tuple[str, ...]:
    """The places of the metadata of a granule, in order of preference."""
    rows = copies.get((scene.id, GRANULE), ())
    ranked = [(_rank(row.href, row.mirror, preferred), row.href) for row in rows]
    ranked += [(_rank(href, None, preferred), href) for href in scene.granule_metadata]
    return tuple(href for _, href in sorted(ranked, key=lambda pair: pair[0]))


def _rank(href: str, mirror: str | None, preferred: Sequence[str]) -> tuple[int, int, bool]:
    """Preferred mirrors, then local before s3 before http, then a copy before the source."""
    wish = preferred.index(mirror) if mirror in preferred else len(preferred)
    return wish, NEARNESS.get(href.partition("://")[0], 0), mirror is None
