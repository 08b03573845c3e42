"""What GDAL remembers of files over a network as long as a process lives: their first bytes, their size, and that a request failed once."""

import ctypes

import rasterio._base

_GDAL = ctypes.CDLL(rasterio._base.__file__)  # whose functions rasterio has no names for
_GDAL.VSICurlPartialClearCache.argtypes = [ctypes.c_char_p]


def forget_files() -> None:
    """Ask anew for every file when it is opened next: it may be another by now."""
    _GDAL.VSICurlClearCache()


def forget_file(path: str) -> None:
    """Ask anew for a file, by its GDAL path, or for all whose paths begin so."""
    _GDAL.VSICurlPartialClearCache(path.encode())
