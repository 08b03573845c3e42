"""Which formats are opened as rasters: none that names other files or addresses, as a VRT does under any name."""

from typing import Any
from urllib.parse import urlsplit

from rasterio.errors import RasterioIOError

BY_SUFFIX = {".tif": "GTiff", ".tiff": "GTiff", ".jp2": "JP2OpenJPEG", ".png": "PNG", ".nc": "netCDF"}
SELF_CONTAINED = frozenset(("GTiff", "JP2OpenJPEG", "ENVI", "HFA", "PNG", "JPEG", "netCDF"))


def driver_of(href: str) -> str | None:
    """The driver that a file of this name is opened with, None where the name does not say."""
    path = urlsplit(href).path if "://" in href else href
    return BY_SUFFIX.get(f".{path.rpartition('.')[2].lower()}")


def require_self_contained(raster: Any) -> None:  # noqa: ANN401, a rasterio dataset
    """RasterioIOError for an open raster whose format may lead to other files."""
    if raster.driver not in SELF_CONTAINED:
        raise RasterioIOError(
            f"{raster.driver} is not read: expected {', '.join(sorted(SELF_CONTAINED))}, which hold their own pixels"
        )
