"""A coarse look at the pixels of a scene: a few bands and the mask on one small grid, from overviews where there are some."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import rasterio
from rasterio.windows import Window

from flows.steps.archives.signing import signed, without_tokens
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import UnreadBand, gdal_path
from products.radiometric_verdict import BANDS, PixelSample

SAMPLE_PX = 512
MOST_DECODED = 3
"""How much longer than the sample the side of what is decoded for it may be; beyond it, the middle of the file is read."""

# A look is given up rather than waited for.
PATIENCE: Mapping[str, str] = {
    "GDAL_HTTP_CONNECTTIMEOUT": "5",
    "GDAL_HTTP_TIMEOUT": "15",
    "GDAL_HTTP_MAX_RETRY": "0",
}


def read_sample(hrefs: Mapping[str, str], mask: str, access: RasterAccess) -> PixelSample:
    """BANDS and the band `mask` of a scene on one grid of at most SAMPLE_PX a side; UnreadBand if a file cannot be read."""
    patient = replace(access, options={**access.options, **PATIENCE})
    with patient.env(), ExitStack() as stack:
        try:
            files = {band: _opened(hrefs[band], stack) for band in (*BANDS, mask)}
            fraction = min(_readable_fraction(file) for file in files.values())
            rows, columns = zip(*(_size(file, fraction) for file in files.values()), strict=True)
            shape = min(SAMPLE_PX, *rows), min(SAMPLE_PX, *columns)
            pixels = {band: _middle(file, fraction, shape) for band, file in files.items()}
        except (rasterio.errors.RasterioError, OSError, IndexError) as error:
            raise UnreadBand(without_tokens(str(error))) from error
    return PixelSample(mask, pixels.pop(mask), pixels)


def _opened(href: str, stack: ExitStack) -> Any:  # noqa: ANN401, a rasterio dataset
    """The raster at an href, opened as what its name says: a file that only names other files is none."""
    driver = "JP2OpenJPEG" if href.lower().endswith(".jp2") else "GTiff"
    path = gdal_path(stack.enter_context(signed(href)))
    return stack.enter_context(rasterio.open(path, driver=driver, sharing=False))


def _readable_fraction(file: Any) -> float:  # noqa: ANN401
    """How much of each side of a raster can be read without decoding much more than the sample."""
    factor = max([1, *file.overviews(1)])
    decoded = max(file.shape) / factor
    return float(min(1.0, MOST_DECODED * SAMPLE_PX / decoded))


def _size(file: Any, fraction: float) -> tuple[int, int]:  # noqa: ANN401
    rows, columns = file.shape
    return max(1, round(rows * fraction)), max(1, round(columns * fraction))


def _middle(file: Any, fraction: float, shape: tuple[int, int]) -> Any:  # noqa: ANN401, (y, x)
    rows, columns = _size(file, fraction)
    window = Window((file.width - columns) // 2, (file.height - rows) // 2, columns, rows)
    return file.read(1, window=window, out_shape=shape)
