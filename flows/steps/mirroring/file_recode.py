"""A raster file, or a part of it, written anew with the same pixels: a clip as COG, or staged with a codec that decodes fast."""

import hashlib
import os
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from odc.geo.geom import Geometry
from rasterio import windows

from datacube_config.errors import StorageUnavailable
from flows.steps.archives.raster_drivers import driver_of, require_self_contained
from flows.steps.archives.signing import signed
from flows.steps.archives.source_bytes import CopyFailed, FileAccess
from flows.steps.loading.clips import GDAL_TYPES, Window, clip_of, united, window_over
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import gdal_path
from flows.steps.mirroring.file_copy import Copied, Stopped, hash_file, only_writer, writing_to
from products.scene import Clip

BLOCK_PX = 512
CLIPPED, STAGED = "deflate", "staged"
ENCODINGS: dict[str, dict[str, Any]] = {
    CLIPPED: {"compress": "deflate"},
    STAGED: {"compress": "lerc", "max_z_error": 0},
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The window of a file to copy, and whether that is the whole file."""

    window: Window
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Recoded:
    """A file written anew: where, and which part of the whole it holds, None for all."""

    copied: Copied
    clip: Clip | None


def recode_file(
    href: str,
    target: str,
    encoding: str,
    window: Window,
    access: RasterAccess,
    files: FileAccess,
    stop: threading.Event,
) -> Recoded:
    """Write a window of a file to a path or s3:// URL as a tiled GeoTIFF without overviews, every pixel compared after it is written."""
    with access.env():
        if not target.startswith("s3://"):
            return _recode(href, Path(target), encoding, window, stop)
        with tempfile.TemporaryDirectory(prefix="neocube-mirror-") as folder:
            done = _recode(href, Path(folder) / "copy.tif", encoding, window, stop)
            with writing_to(target):
                files.filesystem(target).put_file(done.copied.href, target)
    return Recoded(Copied(target, done.copied.size_bytes, done.copied.sha256, done.copied.moved_bytes), done.clip)


def window_to_copy(href: str, ground: Geometry | None, kept: Clip | None, access: RasterAccess) -> Asked | None:
    """The window of a file that some ground needs, with what a clip of it already holds; None if they do not meet."""
    with access.env(), _opened(href) as source:
        whole = (0, 0, source.height, source.width)
        if ground is None:
            return Asked(whole, True)
        window = window_over(ground, clip_of(source, whole))
        if window is None:
            return None
        if kept is not None and kept.shape == tuple(source.shape) and kept.transform == tuple(source.transform)[:6]:
            window = united(window, kept.window)
        return Asked(window, window == whole)


def _recode(href: str, target: Path, encoding: str, window: Window, stop: threading.Event) -> Recoded:
    with writing_to(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock, unfinished = (target.with_name(f"{target.name}.{ending}") for ending in ("lock", "unfinished"))
        with only_writer(lock), _opened(href) as source:
            clip = clip_of(source, window)
            unfinished.unlink(missing_ok=True)  # GDAL would open what a full disk left, to delete it, and fail at that
            if _pixels_written(source, unfinished, encoding, window, href, stop) != _pixels_read(unfinished, window):
                raise StorageUnavailable(f"cannot write {target}: other pixels came back: check the disk and its space")
            digest = hashlib.sha256()
            with unfinished.open("rb") as file:
                size = hash_file(file, digest)
                os.fsync(file.fileno())
            unfinished.replace(target)
            lock.unlink()
    is_whole = window == (0, 0, *clip.shape)
    return Recoded(Copied(str(target), size, digest.hexdigest(), size), None if is_whole else clip)


def _pixels_written(source: Any, path: Path, encoding: str, window: Window, href: str, stop: threading.Event) -> int:  # noqa: ANN401, an open dataset
    """Copy a window block by block; the checksum of its pixels."""
    row, column, height, width = window
    profile = {
        "driver": "GTiff", "width": width, "height": height, "count": source.count, "dtype": source.dtypes[0],
        "crs": source.crs, "nodata": source.nodata, "tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX,
        "transform": source.window_transform(windows.Window(column, row, width, height)), "bigtiff": "if_safer",
    }  # fmt: skip
    checksum = 0
    with _writing(path), rasterio.open(path, "w", **profile, **ENCODINGS[encoding]) as out:
        for block in _strips(height, width):
            there = windows.Window(column, row + block.row_off, width, block.height)
            try:
                pixels = source.read(window=there)
            except rasterio.errors.RasterioError as error:
                raise CopyFailed(f"cannot copy {href}: {error}") from error
            checksum = zlib.crc32(pixels, checksum)
            out.write(pixels, window=block)
            if stop.is_set():
                raise Stopped
    return checksum


def _pixels_read(path: Path, window: Window) -> int:
    checksum = 0
    with _writing(path), rasterio.open(path, sharing=False) as written:
        for block in _strips(window[2], window[3]):
            checksum = zlib.crc32(written.read(window=block), checksum)
    return checksum


def _strips(height: int, width: int) -> Iterator[windows.Window]:
    """Rows of whole blocks, from the top."""
    for row in range(0, height, BLOCK_PX):
        yield windows.Window(0, row, width, min(BLOCK_PX, height - row))


@contextmanager
def _opened(href: str) -> Iterator[Any]:
    """An open source raster with pixels that can be written anew; CopyFailed otherwise."""
    with ExitStack() as stack:
        try:
            path = gdal_path(stack.enter_context(signed(href)))
            source = stack.enter_context(rasterio.open(path, driver=driver_of(href), sharing=False))
            require_self_contained(source)
        except (rasterio.errors.RasterioError, OSError) as error:
            raise CopyFailed(f"cannot copy {href}: {error}") from error
        if source.crs is None or len(set(source.dtypes)) > 1 or source.dtypes[0] not in GDAL_TYPES:
            raise CopyFailed(
                f"cannot copy {href}: expected a CRS and one kind of numbers, got {source.crs}, {source.dtypes}",
                is_final=True,
            )
        yield source


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """OSError for what GDAL cannot write or read back."""
    try:
        yield
    except rasterio.errors.RasterioError as error:
        raise OSError(f"{path}: {error}") from error
