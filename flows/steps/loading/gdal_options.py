"""How GDAL opens and reads a file: no look beside it, one request for its header, and one for each row of blocks of a window, all at once."""

from collections.abc import Mapping
from typing import Any

from products.scene import REMOTE_WINDOW_BYTES

# bytes of the first request: the header and the block tables of a Landsat or Sentinel-2 COG (900 blocks at most) lie in them
HEADER_BYTES = 32768

# an integer of bytes, as rasterio hands it on: a number of megabytes, which GDAL takes as text, would leave no room for one block
BLOCK_CACHE_BYTES = 64 * 2**20

GDAL_OPTIONS: Mapping[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
    "GDAL_CACHEMAX": BLOCK_CACHE_BYTES,
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    # of its own GDAL waits for ever for a connection that says nothing
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    "GDAL_INGESTED_BYTES_AT_OPEN": str(HEADER_BYTES),
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    # beyond it GDAL asks for the blocks of a window one after the other
    "GDAL_MAX_RAW_BLOCK_CACHE_SIZE": str(REMOTE_WINDOW_BYTES),
    # a window is read once
    "VSI_CACHE": "FALSE",
}
