"""One band of one scene onto the pixels of a tile: the file is opened once and its window read once."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio.windows import Window

from flows.steps.archives.raster_drivers import driver_of, require_self_contained
from flows.steps.archives.signing import signed, without_tokens
from flows.steps.loading.remote_memory import forget_file
from flows.steps.loading.source_grid import IsNeeded, SourceGrid
from flows.steps.loading.tiff_blocks import fill_around, read_window
from flows.steps.loading.wanted_pixels import WantedPixels
from flows.steps.loading.warping import warp
from products.scene import BandFile
from products.window.resample import average, nearest, replicate

DN_TYPES = ("uint8", "int8", "uint16", "int16")
ALIGNED = 1e-4  # source pixels: grids closer than this are the same grid


class UnreadBand(RuntimeError):
    """A band file could not be opened or read: the message names it and gives GDAL's words."""


class _OddFile(ValueError):
    """A file that can be opened, and whose pixels cannot be used."""


FAILURES = (rasterio.errors.RasterioError, rasterio.errors.CRSError, ProjError, OSError, _OddFile)


@dataclass(frozen=True, slots=True)
class BandRead:
    """What reading gave: bytes of decoded source pixels, where the file has pixels, (y, x) bool or None for everywhere, and what the manifest should say."""

    decoded_bytes: int
    covered: NDArray[np.bool_] | None
    note: str = ""


def read_band(
    file: BandFile, geobox: GeoBox, resampling: str, out: NDArray[Any], wanted: WantedPixels | None = None
) -> BandRead:
    """Read a band onto `geobox` into out (y, x), the file's nodata outside; UnreadBand if the file fails.

    A pixel that is not wanted may be nodata, or an average of less: blocks without a wanted one are not decoded.
    """
    try:
        with (
            signed(file.href) as href,
            rasterio.open(gdal_path(href), driver=driver_of(file.href), sharing=False) as source,
        ):
            require_self_contained(source)
            return read_opened(source, file, geobox, resampling, out, wanted)
    except FAILURES as error:
        raise unread(file.href, error) from error


def read_opened(
    source: Any, file: BandFile, geobox: GeoBox, resampling: str, out: NDArray[Any],  # noqa: ANN401, an open rasterio dataset
    wanted: WantedPixels | None = None,
) -> BandRead:  # fmt: skip
    """Read a band of an open file onto `geobox` into out (y, x), as `read_band` does; UnreadBand if it fails."""
    try:
        _require_whole_numbers(source, file)
        _require_ground(source)
        read = _read_signed if _is_signed(source, file) else _read
        level = _overview(source, file, geobox)
        if level is None:
            found = read(source, file, geobox, resampling, out, wanted)
        else:
            with rasterio.open(source.name, driver=source.driver, sharing=False, overview_level=level) as coarse:
                found = read(coarse, file, geobox, resampling, out, wanted)
        return replace(found, note=_grid_note(source, file))
    except FAILURES as error:
        raise unread(file.href, error) from error


def warp_band(
    href: str, layer: int, nodata: float, geobox: GeoBox, resampling: str, out: NDArray[np.float32]
) -> BandRead:
    """Reproject a band of any data type onto `geobox` into out (y, x), NaN for nodata and outside; UnreadBand if the file fails."""
    try:
        with signed(href) as opened, rasterio.open(gdal_path(opened), driver=driver_of(href), sharing=False) as source:
            require_self_contained(source)
            _require_layer(source, layer)
            _require_ground(source)
            return BandRead(*warp(source, layer, nodata, geobox, resampling, out))
    except FAILURES as error:
        raise unread(href, error) from error


def unread(href: str, error: Exception) -> UnreadBand:
    """What says that a file failed, in GDAL's own words; it is asked for anew when it is opened next."""
    forget_file(gdal_path(href))
    return UnreadBand(f"cannot read {href}: {_words(error)}")


def gdal_path(href: str) -> str:
    """The GDAL path of an href: s3:// through /vsis3, https:// through /vsicurl, a local path as it is."""
    if href.startswith("s3://"):
        return "/vsis3/" + href.removeprefix("s3://")
    if href.startswith(("https://", "http://")):
        return "/vsicurl/" + href
    return href.removeprefix("file://")


def _require_layer(source: Any, layer: int) -> None:  # noqa: ANN401, an open rasterio dataset
    if layer not in source.indexes:
        raise _OddFile(f"it has {source.count} layers, expected a layer {layer}")


def _require_whole_numbers(source: Any, file: BandFile) -> None:  # noqa: ANN401
    """_OddFile for a layer whose numbers would be cut off or wrap in 16 bit."""
    _require_layer(source, file.layer)
    if (kind := source.dtypes[file.layer - 1]) not in DN_TYPES:
        raise _OddFile(f"its layer {file.layer} holds {kind}, expected digital numbers: integers of 8 or 16 bit")


def _require_ground(source: Any) -> None:  # noqa: ANN401
    """_OddFile for a file that does not say where it lies."""
    if source.crs is None:
        raise _OddFile("it has no coordinate system, expected a georeferenced raster: write it anew with its CRS")


def _is_signed(source: Any, file: BandFile) -> bool:  # noqa: ANN401
    """Whether DN may be negative: by the nodata, or by the data type of the layer where that holds the nodata."""
    kind = source.dtypes[file.layer - 1]
    return file.nodata < 0 or (kind in ("int8", "int16") and file.nodata <= np.iinfo(np.int16).max)


def _read_signed(
    source: Any, file: BandFile, geobox: GeoBox, resampling: str, out: NDArray[Any], wanted: WantedPixels | None,  # noqa: ANN401
) -> BandRead:  # fmt: skip
    """A band of signed integers: negative DN, and with them a negative nodata, become 0."""
    values = np.empty(out.shape, np.int16)
    read = _read(source, file, geobox, resampling, values, wanted)
    np.maximum(values, 0, out=out, casting="unsafe")
    return read


def _read(
    source: Any, file: BandFile, geobox: GeoBox, resampling: str, out: NDArray[Any], wanted: WantedPixels | None,  # noqa: ANN401
) -> BandRead:  # fmt: skip
    if CRS(source.crs) != geobox.crs:
        return BandRead(*warp(source, file.layer, file.nodata, geobox, resampling, out, file.saturated, wanted))
    to_source = ~source.transform * geobox.affine
    first_column, first_row, step = to_source.c, to_source.f, to_source.a
    if abs(to_source.e - step) > ALIGNED / max(out.shape) or to_source.b or to_source.d:
        return BandRead(*warp(source, file.layer, file.nodata, geobox, resampling, out, file.saturated, wanted))
    covered = _covered(source.shape, first_row, first_column, step, out.shape)
    is_aligned = all(abs(value - round(value)) < ALIGNED for value in (first_row, first_column))
    if abs(step - 1) < ALIGNED / max(out.shape) and is_aligned:
        decoded = _read_aligned(source, file, round(first_row), round(first_column), out, wanted)
        return BandRead(decoded, covered)
    if resampling not in ("nearest", "average"):
        return BandRead(*warp(source, file.layer, file.nodata, geobox, resampling, out, file.saturated, wanted))
    window = _window(source.shape, first_row, first_column, step, out.shape)
    if window is None:
        out[...] = file.nodata
        return BandRead(0, covered)
    pixels = np.empty((window.height, window.width), source.dtypes[file.layer - 1])
    read_window(source, file.layer, window, pixels, _needed(wanted, first_row, first_column, step), file.nodata)
    factor = round(1 / step)
    rows, columns = (first_row - window.row_off) * factor, (first_column - window.col_off) * factor
    is_nested = abs(step * factor - 1) < ALIGNED / max(out.shape) and all(
        abs(v - round(v)) < ALIGNED for v in (rows, columns)
    )
    if is_nested:
        replicate(pixels, file.nodata, round(rows), round(columns), factor, out)
        return BandRead(pixels.nbytes, covered)
    row, column = first_row - window.row_off, first_column - window.col_off
    if resampling == "average":
        average(pixels, file.nodata, file.saturated, row, column, step, out)
    else:
        nearest(pixels, file.nodata, row, column, step, out)
    return BandRead(pixels.nbytes, covered)


def _overview(source: Any, file: BandFile, geobox: GeoBox) -> int | None:  # noqa: ANN401
    """The number of the coarsest overview whose pixels are no wider than those of a geobox in metres; None for the file itself."""
    if not file.by_overview or not source.crs.is_projected:
        return None
    side = max(SourceGrid.of(source).sides())
    fine = [factor for factor in source.overviews(file.layer) if factor * side <= geobox.resolution.x]
    return len(fine) - 1 if fine else None


def _needed(wanted: WantedPixels | None, first_row: float, first_column: float, step: float) -> IsNeeded | None:
    """Whether a rectangle of source pixels is needed for wanted pixels, of which (i, j) begins at first_row + i * step and first_column + j * step."""
    if wanted is None:
        return None

    def is_needed(top: int, left: int, bottom: int, right: int) -> bool:
        rows, columns = (top - first_row, bottom - first_row), (left - first_column, right - first_column)
        return wanted.any_in(rows[0] / step - 1, columns[0] / step - 1, rows[1] / step + 1, columns[1] / step + 1)

    return is_needed


def _read_aligned(
    source: Any, file: BandFile, row: int, column: int, out: NDArray[Any], wanted: WantedPixels | None,  # noqa: ANN401
) -> int:  # fmt: skip
    height, width = out.shape
    row0, row1 = max(row, 0), min(row + height, source.height)
    column0, column1 = max(column, 0), min(column + width, source.width)
    if row0 >= row1 or column0 >= column1:
        out[...] = file.nodata
        return 0
    inside = np.s_[row0 - row : row1 - row, column0 - column : column1 - column]
    fill_around(out, inside, file.nodata)
    window = Window(column0, row0, column1 - column0, row1 - row0)
    read_window(source, file.layer, window, out[inside], _needed(wanted, row, column, 1.0), file.nodata)
    return int(out[inside].nbytes)


def _window(
    shape: tuple[int, int], first_row: float, first_column: float, step: float, target: tuple[int, ...]
) -> Window | None:
    row0, row1 = max(math.floor(first_row), 0), min(math.ceil(first_row + step * target[0]), shape[0])
    column0, column1 = max(math.floor(first_column), 0), min(math.ceil(first_column + step * target[1]), shape[1])
    return None if row0 >= row1 or column0 >= column1 else Window(column0, row0, column1 - column0, row1 - row0)


def _covered(
    shape: tuple[int, int], first_row: float, first_column: float, step: float, target: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    """Where the centre of a target pixel lies on the file; None if everywhere."""
    edges = [
        (first + 0.5 * step, first + (n - 0.5) * step)
        for first, n in zip((first_row, first_column), target, strict=True)
    ]
    if all(low >= 0 and high < size for (low, high), size in zip(edges, shape, strict=True)):
        return None
    rows = first_row + (np.arange(target[0]) + 0.5) * step
    columns = first_column + (np.arange(target[1]) + 0.5) * step
    on_rows, on_columns = (rows >= 0) & (rows < shape[0]), (columns >= 0) & (columns < shape[1])
    return None if on_rows.all() and on_columns.all() else on_rows[:, None] & on_columns[None, :]


def _grid_note(source: Any, file: BandFile) -> str:  # noqa: ANN401
    if file.shape is None or tuple(source.shape) == tuple(file.shape):
        return ""
    return f"the file has {source.height} x {source.width} pixels, the catalogue says {file.shape[0]} x {file.shape[1]}: the file is believed"


def _words(error: BaseException) -> str:
    """GDAL's own words: rasterio often hides them in the cause."""
    parts = [str(error), str(error.__cause__ or "")]
    said = "; ".join(dict.fromkeys(" ".join(part.split()) for part in parts if part))
    return without_tokens(said) or type(error).__name__
