"""A raster of another grid reprojected onto the pixels of a tile."""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from flows.steps.loading.source_grid import BESIDE_PX, SourceGrid, TargetLattice, lattice_of, overlap
from flows.steps.loading.tiff_blocks import read_window
from flows.steps.loading.wanted_pixels import WantedPixels, wanted_squares
from products.scene import NEVER_SATURATED
from products.window.lattice_warp import warp_average, warp_average_turned, warp_cubic, warp_nearest
from products.window.resample import EDGE

SMOOTH: Final = {"average": warp_average, "cubic": warp_cubic}
LEAST_STEP: Final = (
    0.95  # a source pixel smaller than this share of a target pixel asks for a wider cubic, as GDAL makes it
)
LEAST_TURN_DEG: Final = 10.0  # zones of UTM and Web Mercator are turned by less against each other
LEAST_PLACES: Final = 4
UNMARKED: Final = 255
WARP_TOLERANCE_PX = 1e-10  # the transformation is not interpolated between pixels; 0 is refused


def warp(
    source: Any, layer: int, nodata: float, geobox: GeoBox, resampling: str, out: NDArray[Any],  # noqa: ANN401, an open rasterio dataset
    saturated: int = NEVER_SATURATED, wanted: WantedPixels | None = None,
) -> tuple[int, NDArray[np.bool_]]:  # fmt: skip
    """Reproject into out (y, x), exactly and with one scale for the whole file, so that any crop gives the same pixels. A float `out` gets NaN for nodata.

    What one source pixel of at least `saturated` counts in is `saturated`. What is not `wanted` may be nodata. The bytes of decoded source pixels, and where
    (y, x) the file has pixels.
    """
    missing = np.nan if out.dtype.kind == "f" else nodata
    grid = SourceGrid.of(source)
    lies = overlap(grid, geobox)
    covered = lies.covered(out.shape)
    if not lies.n_covered:
        out[...] = missing
        return 0, covered
    across, down = geobox.resolution.x, -geobox.resolution.y
    share = lies.n_covered * (across / lies.along_row) * (down / lies.along_column)
    n_bytes = int(share * np.dtype(source.dtypes[layer - 1]).itemsize)
    lattice = lattice_of(grid, geobox) if _is_ours(source, layer, nodata, geobox, resampling, out) else None
    if lattice is not None:
        _warp_by_lattice(source, layer, int(nodata), saturated, lattice, resampling, wanted, out)
        return n_bytes, covered
    options = {
        "crs": str(geobox.crs), "transform": geobox.affine, "height": out.shape[0], "width": out.shape[1], "resampling": Resampling[resampling],
        "tolerance": WARP_TOLERANCE_PX, "XSCALE": repr(float(lies.along_row / across)), "YSCALE": repr(float(lies.along_column / down)),
    }  # fmt: skip
    kind = {"dtype": out.dtype.name} if out.dtype.kind == "f" else {}
    with WarpedVRT(source, src_nodata=nodata, nodata=missing, **options, **kind) as warped:
        warped.read(layer, out=out)
    if resampling != "nearest" and out.dtype.kind != "f" and saturated <= np.iinfo(out.dtype).max:
        beside_px = math.ceil(BESIDE_PX * max(1.0, across / lies.along_row, down / lies.along_column))
        _mark_saturated(source, layer, nodata, saturated, grid.window_around(geobox, beside_px), options, out)
    return n_bytes, covered


def _mark_saturated(
    source: Any, layer: int, nodata: float, saturated: int, window: Window | None, options: Mapping[str, Any],  # noqa: ANN401
    out: NDArray[Any],
) -> None:  # fmt: skip
    """Put `saturated` into out (y, x) where GDAL gives a weight to a pixel of the window that is at least so large: what is saturated, warped as they were."""
    if window is None:
        return
    pixels = source.read(layer, window=window)
    if pixels.max() < saturated:
        return
    height, width = pixels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8", "crs": source.crs}
    marks = (pixels >= saturated).view(np.uint8)
    marks[pixels == nodata] = UNMARKED
    with MemoryFile() as memory:
        with memory.open(**profile, transform=source.window_transform(window)) as file:
            file.write(marks, 1)
        with (
            memory.open() as file,
            WarpedVRT(file, src_nodata=UNMARKED, nodata=np.nan, dtype="float32", **options) as warped,
        ):
            weights = warped.read(1)
    out[(np.abs(weights) > EDGE) & (out != nodata)] = saturated


def _is_ours(
    source: Any, layer: int, nodata: float, geobox: GeoBox, resampling: str, out: NDArray[Any],  # noqa: ANN401
) -> bool:  # fmt: skip
    """Whether unsigned integers on a map of metres are to be resampled as `products.window.lattice_warp` does."""
    kind, grid = np.dtype(source.dtypes[layer - 1]), source.transform
    if (
        kind not in (np.uint8, np.uint16)
        or out.dtype not in (kind, np.uint16)
        or nodata not in range(2 ** (8 * kind.itemsize))
    ):
        return False
    is_upright = not (grid.b or grid.d or geobox.affine.b or geobox.affine.d)
    is_metric = source.crs.is_projected and geobox.crs is not None and geobox.crs.projected
    steps = grid.a / geobox.resolution.x, grid.e / geobox.resolution.y
    is_alike = min(steps) >= LEAST_STEP if resampling == "cubic" else min(steps) > 0
    return bool(is_upright and is_metric and is_alike and resampling in ("nearest", *SMOOTH))


def _warp_by_lattice(
    source: Any, layer: int, nodata: int, saturated: int, target: TargetLattice, resampling: str,  # noqa: ANN401
    wanted: WantedPixels | None, out: NDArray[Any],
) -> None:  # fmt: skip
    """Into out (y, x): the places of nodes of the target's grid are transformed exactly, and those of pixels between them by a cubic through four."""
    window, lattice, squares = target.window, target.lattice, wanted_squares(wanted, out.shape)
    pixels = np.empty((window.height, window.width), source.dtypes[layer - 1])
    read_window(source, layer, window, pixels, None if wanted is None else target.needed(squares), nodata)
    largest = np.iinfo(pixels.dtype).max
    if resampling == "nearest":
        warp_nearest(pixels, nodata, lattice, squares, out)
    elif resampling == "average" and target.turn_deg > LEAST_TURN_DEG:
        n_places = _places_across(target.source_px)
        warp_average_turned(pixels, nodata, saturated, lattice, n_places, largest, squares, out)
    else:
        SMOOTH[resampling](pixels, nodata, saturated, lattice, largest, squares, out)


def _places_across(source_px: float) -> int:
    """How many places a side of a target pixel are looked at: more than it has source pixels; a power of two."""
    return max(LEAST_PLACES, int(2 ** math.ceil(math.log2(1.5 * source_px))))
