"""A raster of another grid reprojected onto the pixels of a tile."""

import math
import threading
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, box
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from flows.steps.loading.tiff_blocks import read_window
from products.antimeridian import MAX_WIDTH_DEG, centre, in_one_piece, turned_shapes
from products.grid import METRES_PER_DEGREE
from products.scene import NEVER_SATURATED
from products.window.lattice_warp import NODE_PX, Lattice, warp_average, warp_average_turned, warp_cubic, warp_nearest
from products.window.resample import EDGE

_RASTERIZING = threading.Lock()  # rasterio mutes a warning of its own in-memory datasets, not safely in threads
SMOOTH: Final = {"average": warp_average, "cubic": warp_cubic}
OUTLINE_PLACES: Final = 65  # on each edge of the target, to find what of the source lies around it
AROUND_DEG: Final = 1.0  # the ground of a file over much of the world is cut so far from the target
BESIDE_PX: Final = 4  # source pixels: those of a cubic, and what the edge bends between two places
LEAST_STEP: Final = (
    0.95  # a source pixel smaller than this share of a target pixel asks for a wider cubic, as GDAL makes it
)
Places = NDArray[np.float64]
LEAST_TURN_DEG: Final = 10.0  # zones of UTM and Web Mercator are turned by less against each other
LEAST_PLACES: Final = 4
LEAST_COSINE: Final = 0.01  # of a latitude, as near a pole as a scale is worked out
UNMARKED: Final = 255
WARP_TOLERANCE_PX = 1e-10  # the transformation is not interpolated between pixels; 0 is refused


def covered_by(ground: Geometry, geobox: GeoBox) -> NDArray[np.bool_]:
    """Whether the centre of each pixel (y, x) lies on a piece of ground in the CRS of the geobox."""
    with _RASTERIZING:
        burnt = rasterize([ground.geom], out_shape=geobox.shape, transform=geobox.affine, dtype="uint8")
    return burnt.astype(bool)


def warp(
    source: Any, layer: int, nodata: float, geobox: GeoBox, resampling: str, out: NDArray[Any],  # noqa: ANN401, an open rasterio dataset
    saturated: int = NEVER_SATURATED,
) -> tuple[int, NDArray[np.bool_]]:  # fmt: skip
    """Reproject into out (y, x), exactly and with one scale for the whole file, so that any crop gives the same pixels. A float `out` gets NaN for nodata.

    What one source pixel of at least `saturated` counts in is `saturated`. The bytes of decoded source pixels, and where (y, x) the file has pixels.
    """
    missing = np.nan if out.dtype.kind == "f" else nodata
    ground = GeoBox(source.shape, source.transform, CRS(source.crs)).extent
    covered = np.zeros(geobox.shape, np.bool_)
    for piece in _pieces(ground, geobox):
        covered |= covered_by(piece.to_crs(geobox.crs, resolution=min(pixel_sides(source)) * 16), geobox)
    if not covered.any():
        out[...] = missing
        return 0, covered
    across, down = geobox.resolution.x, -geobox.resolution.y
    along_row, along_column = pixel_sides(source, _units_in(ground, CRS(geobox.crs)))
    share = covered.sum() * (across / along_row) * (down / along_column)
    n_bytes = int(share * np.dtype(source.dtypes[layer - 1]).itemsize)
    if _is_ours(source, layer, nodata, geobox, resampling, out):
        lattice = _lattice(source, geobox)
        if np.isfinite(lattice.columns).all() and np.isfinite(lattice.rows).all():
            _warp_by_lattice(source, layer, int(nodata), saturated, geobox, lattice, resampling, out)
            return n_bytes, covered
    options = {
        "crs": str(geobox.crs), "transform": geobox.affine, "height": out.shape[0], "width": out.shape[1], "resampling": Resampling[resampling],
        "tolerance": WARP_TOLERANCE_PX, "XSCALE": repr(float(along_row / across)), "YSCALE": repr(float(along_column / down)),
    }  # fmt: skip
    kind = {"dtype": out.dtype.name} if out.dtype.kind == "f" else {}
    with WarpedVRT(source, src_nodata=nodata, nodata=missing, **options, **kind) as warped:
        warped.read(layer, out=out)
    if resampling != "nearest" and out.dtype.kind != "f" and saturated <= np.iinfo(out.dtype).max:
        beside_px = math.ceil(BESIDE_PX * max(1.0, across / along_row, down / along_column))
        _mark_saturated(source, layer, nodata, saturated, _window_around(source, geobox, beside_px), options, out)
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


def _pieces(ground: Geometry, geobox: GeoBox) -> list[Geometry]:
    """The ground of a file in its CRS; of a file over much of the world, which no map of metres shows whole, what lies around the target."""
    if not ground.crs.geographic or ground.boundingbox.span_x <= MAX_WIDTH_DEG:
        return [ground]
    around = in_one_piece(geobox.extent).boundingbox.buffered(AROUND_DEG)
    readable = ground & box(-180, -90, 180, 90, ground.crs)  # GDAL finds nothing at longitudes beyond 180
    pieces = [readable & turned for turned in turned_shapes(box(*around.bbox, ground.crs))]
    return [piece for piece in pieces if piece.area > 0]


def pixel_sides(source: Any, units: tuple[float, float] = (1.0, 1.0)) -> tuple[float, float]:  # noqa: ANN401, an open rasterio dataset
    """The lengths of a pixel along a row and along a column, however the grid is turned; `units`: the lengths of a unit of its CRS along x and y."""
    (x, y), grid = units, source.transform
    return math.hypot(grid.a * x, grid.d * y), math.hypot(grid.b * x, grid.e * y)


def _units_in(ground: Geometry, target: CRS) -> tuple[float, float]:
    """The lengths of a unit of a file's CRS along x and y, in units of the target's, at the centre of the file's ground."""
    if ground.crs.geographic == target.geographic:
        return 1.0, 1.0
    _, latitude = centre(ground)
    degrees = METRES_PER_DEGREE * max(math.cos(math.radians(latitude)), LEAST_COSINE), METRES_PER_DEGREE
    return degrees if ground.crs.geographic else (1 / degrees[0], 1 / degrees[1])


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
    source: Any, layer: int, nodata: int, saturated: int, geobox: GeoBox, lattice: Lattice, resampling: str,  # noqa: ANN401
    out: NDArray[Any],
) -> None:  # fmt: skip
    """Into out (y, x): the places of nodes of the target's grid are transformed exactly, and those of pixels between them by a cubic through four."""
    window = _window_around(source, geobox)
    if window is None:
        out[...] = nodata
        return
    pixels = np.empty((window.height, window.width), source.dtypes[layer - 1])
    read_window(source, layer, window, pixels)
    moved = lattice._replace(columns=lattice.columns - window.col_off, rows=lattice.rows - window.row_off)
    if resampling == "nearest":
        warp_nearest(pixels, nodata, moved, out)
    elif resampling == "average" and turn_of(source, geobox) > LEAST_TURN_DEG:
        n_places = _places_across(source, geobox)
        warp_average_turned(pixels, nodata, saturated, moved, n_places, np.iinfo(pixels.dtype).max, out)
    else:
        SMOOTH[resampling](pixels, nodata, saturated, moved, np.iinfo(pixels.dtype).max, out)


def turn_of(source: Any, geobox: GeoBox) -> float:  # noqa: ANN401, an open rasterio dataset
    """By how many degrees, 0 to 45, rows of the target are turned against rows or columns of the source, at the centre of the file."""
    assert geobox.crs is not None
    (x, y), side = source.transform * (source.width / 2, source.height / 2), min(pixel_sides(source))
    there = CRS(source.crs).transformer_to_crs(geobox.crs)
    (x0, x1), (y0, y1) = there(np.array([x, x + side]), np.array([y, y]))
    angle = math.degrees(math.atan2(y1 - y0, x1 - x0)) % 90
    return min(angle, 90 - angle)


def _places_across(source: Any, geobox: GeoBox) -> int:  # noqa: ANN401
    """How many places a side of a target pixel are looked at: more than it has source pixels; a power of two."""
    n_source = geobox.resolution.x / min(pixel_sides(source))
    return max(LEAST_PLACES, int(2 ** math.ceil(math.log2(1.5 * n_source))))


def _lattice(source: Any, geobox: GeoBox) -> Lattice:  # noqa: ANN401
    """Nodes at whole multiples of their distance from the origin of the CRS, so that they are the same for any crop."""
    left, top = geobox.affine.c / geobox.affine.a, geobox.affine.f / geobox.affine.e
    (first_x, last_x), (first_y, last_y) = (
        (math.floor(start / NODE_PX) - 1, math.floor((start + size) / NODE_PX) + 2)
        for start, size in ((left, geobox.width), (top, geobox.height))
    )
    y, x = np.mgrid[first_y : last_y + 1, first_x : last_x + 1] * float(NODE_PX)
    columns, rows = _in_source(source, geobox, x - left, y - top)
    return Lattice(columns, rows, top / NODE_PX - first_y, left / NODE_PX - first_x)


def _in_source(source: Any, geobox: GeoBox, column: Places, row: Places) -> tuple[Places, Places]:  # noqa: ANN401
    """Columns and rows in the source of places on the target, in pixels of each from the upper left corner; infinite where there is none."""
    assert geobox.crs is not None
    x, y = geobox.crs.transformer_to_crs(CRS(source.crs))(*(geobox.affine * (column, row)))
    columns, rows = ~source.transform * (np.asarray(x, np.float64), np.asarray(y, np.float64))
    return columns, rows


def _window_around(source: Any, geobox: GeoBox, beside_px: int = BESIDE_PX) -> Window | None:  # noqa: ANN401
    """The source pixels that may lie under the target or beside it; None where there are none. All, where the map of the source does not hold the target."""
    y, x = np.linspace(0, geobox.height, OUTLINE_PLACES), np.linspace(0, geobox.width, OUTLINE_PLACES)
    column = np.concatenate([x, x, np.zeros_like(y), np.full_like(y, geobox.width)])
    row = np.concatenate([np.zeros_like(x), np.full_like(x, geobox.height), y, y])
    edges = _in_source(source, geobox, column, row)
    if not np.isfinite(edges).all():
        return Window(0, 0, source.width, source.height)
    (left, right), (top, bottom) = (
        (max(math.floor(places.min()) - beside_px, 0), min(math.ceil(places.max()) + beside_px, size))
        for places, size in zip(edges, (source.width, source.height), strict=True)
    )
    return None if left >= right or top >= bottom else Window(left, top, right - left, bottom - top)
