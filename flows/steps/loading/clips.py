"""Parts of raster files: which window of a file some ground needs, and a clipped copy opened as if it were the whole file."""

import math
from typing import Any
from xml.sax.saxutils import escape

from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from products.scene import Clip

Window = tuple[int, int, int, int]
MARGIN_PX = (
    64  # kept around the ground of a clip, so that a resampling kernel finds its neighbours up to 20 times coarser
)
KERNEL_RADIUS_PX = 3  # lanczos, the widest of GDAL's kernels, in target pixels
EDGE_STEPS = 16  # points per side of an outline that is projected
GDAL_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "float32": "Float32", "float64": "Float64",
}  # fmt: skip


def clip_of(source: Any, window: Window) -> Clip:  # noqa: ANN401, an open rasterio dataset
    """What a copy of a window of an open file must remember."""
    return Clip(
        window, source.crs.to_string(), tuple(source.transform)[:6], tuple(source.shape), tuple(map(str, source.dtypes))
    )


def window_over(ground: Geometry, clip: Clip, margin_px: int = MARGIN_PX) -> Window | None:
    """The (row, column, height, width) of the whole file that holds some ground and a margin; None if they do not meet."""
    needed = _needed(ground, clip, margin_px)
    row0, row1 = max(needed[0], 0), min(needed[1], clip.shape[0])
    column0, column1 = max(needed[2], 0), min(needed[3], clip.shape[1])
    return None if row0 >= row1 or column0 >= column1 else (row0, column0, row1 - row0, column1 - column0)


def united(one: Window, other: Window) -> Window:
    """The smallest window that holds two."""
    row, column = min(one[0], other[0]), min(one[1], other[1])
    bottom, right = max(one[0] + one[2], other[0] + other[2]), max(one[1] + one[3], other[1] + other[3])
    return row, column, bottom - row, right - column


def holds_window(clip: Clip, window: Window | None) -> bool:
    """Whether a clip has all pixels of a window of the whole file."""
    return window is None or united(clip.window, window) == clip.window


def holds_tile(clip: Clip, geobox: GeoBox) -> bool:
    """Whether a clip has every pixel of the whole file that resampling onto a tile reads."""
    rows0, rows1, columns0, columns1 = _needed(geobox.extent, clip, 0)
    step = max((rows1 - rows0) / geobox.shape[0], (columns1 - columns0) / geobox.shape[1], 1.0)
    return holds_window(clip, window_over(geobox.extent, clip, math.ceil(KERNEL_RADIUS_PX * step) + 2))


def as_whole_file(clip: Clip, path: str) -> str:
    """A GDAL virtual raster with the grid of the whole file and the pixels of its clip, so that it reads like the whole."""
    row, column, height, width = clip.window
    a, b, c, d, e, f = clip.transform
    place = f'xSize="{width}" ySize="{height}"'
    layers = "".join(
        f'<VRTRasterBand dataType="{GDAL_TYPES[dtype]}" band="{number}"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0" shared="0">{escape(path)}</SourceFilename><SourceBand>{number}</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" {place}/><DstRect xOff="{column}" yOff="{row}" {place}/></SimpleSource></VRTRasterBand>'
        for number, dtype in enumerate(clip.dtypes, 1)
    )
    return (
        f'<VRTDataset rasterXSize="{clip.shape[1]}" rasterYSize="{clip.shape[0]}"><SRS>{escape(clip.crs)}</SRS>'
        f"<GeoTransform>{c!r},{a!r},{b!r},{f!r},{d!r},{e!r}</GeoTransform>{layers}</VRTDataset>"
    )


def _needed(ground: Geometry, clip: Clip, margin_px: int) -> tuple[int, int, int, int]:
    """First and last row and column of the bounds of some ground in pixels of the whole file, not cut to it."""
    box = ground.boundingbox
    step = max(box.span_x, box.span_y) / EDGE_STEPS
    bounds = ground.to_crs(CRS(clip.crs), resolution=step, wrapdateline=False).boundingbox
    to_pixels = ~Affine(*clip.transform)
    corners = [to_pixels * (x, y) for x in (bounds.left, bounds.right) for y in (bounds.bottom, bounds.top)]
    columns, rows = [corner[0] for corner in corners], [corner[1] for corner in corners]
    return (
        math.floor(min(rows)) - margin_px, math.ceil(max(rows)) + margin_px,
        math.floor(min(columns)) - margin_px, math.ceil(max(columns)) + margin_px,
    )  # fmt: skip
