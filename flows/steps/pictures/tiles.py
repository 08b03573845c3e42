"""Map tiles of a cube: the last cell in its colours, on the grid of web maps (EPSG:3857, 256 pixels)."""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import shapely
import xarray
from affine import Affine
from matplotlib import image
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox, geobox_union_conservative
from odc.geo.geom import BoundingBox, Geometry, point
from rasterio.enums import Resampling
from rasterio.warp import reproject

from flows.steps.cubes.cube_pieces import find_sites
from flows.steps.cubes.cube_times import periods_of
from flows.steps.cubes.open_cube import count_overviews
from flows.steps.pictures.cube import as_periods, best_time, layers_shown, thinned, with_scenes
from products.antimeridian import as_geojson, outline
from products.errors import RequestError
from products.passes import Pass
from products.period import Period

TILE_PX = 256
HALF_M = math.pi * 6378137.0  # OGC 17-083r4, WebMercatorQuad: half the side of the world
MOST_ZOOM = 22
LEAST_WHOLE_ZOOM = 7  # from here on a tile is 2.8 degrees wide, less than the zones of UTM
AROUND_PX = 2
DOT_PX = 9  # a side: ground of at most four pixels and some around is shown as a dot, or nobody would find it on a map of the world
MOST_READ_PX = 2048  # a side: of more, every n-th pixel is read


@dataclass(frozen=True)
class Layers:
    """A snapshot's last cell at all levels, finest first, site by site: three of its features as red, green and blue, or one in grey."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def sites(self) -> tuple[tuple[xarray.DataArray, ...], ...]:
        """(feature, y, x) of each level of each site, lazy."""
        layers = [
            [layers_shown(cube, number) for cube in levels]
            for levels, number in zip(self.stored, self.numbers, strict=True)
        ]
        names = [str(name) for name in layers[0][0]["feature"].values]
        bands = ["red", "green", "blue"] if {"red", "green", "blue"} <= set(names) else names[:1]
        return tuple(tuple(each.sel(feature=bands) for each in levels) for levels in layers)

    @cached_property
    def stored(self) -> tuple[tuple[xarray.Dataset, ...], ...]:
        """Of each site the snapshot and its overviews, lazy."""
        sites, n_levels = find_sites(self.url, self.options), 1 + count_overviews(self.url, self.options)
        return tuple(zip(*(sites.at(level) for level in range(n_levels)), strict=True))

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Which period, pass or step is shown of each site at all levels: the last period, the clearest pass or the best observed step."""
        return tuple(best_time(levels[-1]) for levels in self.stored)

    @cached_property
    def limits(self) -> NDArray[np.float64]:
        """The 2nd and 98th percentile of each layer (limit, feature), of the coarsest level of all sites: the same colours in all tiles."""
        layers = [[thinned(layer, MOST_READ_PX).ravel() for layer in levels[-1]] for levels in self.sites]
        values = np.concatenate([np.stack(each) for each in layers], axis=1)
        if not np.isfinite(values).any(axis=1).all():
            return np.repeat([[0.0], [1.0]], len(values), axis=1)
        return np.asarray(np.nanpercentile(values, [2, 98], axis=1))

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of where scenes lay, in degrees; across the antimeridian west is larger than east."""
        shown = [with_scenes(as_periods(levels[-1]))["features"].odc.geobox for levels in self.stored]
        _, box = as_geojson(outline(geobox_union_conservative(shown)))
        return box

    def period_at(self, longitude: float, latitude: float) -> Period:
        """The time of the cell that is shown at a place, or in the first site where the place is in none."""
        grounds = [levels[0].odc.geobox.extent for levels in self.stored]
        place = point(longitude, latitude, "EPSG:4326").to_crs(grounds[0].crs)
        site = next((number for number, ground in enumerate(grounds) if ground.contains(place)), 0)
        cube, number = self.stored[site][0], self.numbers[site]
        dim = "period" if "period" in cube.dims else "time"
        if dim == "period" and "time" in cube.dims:
            number = int(np.flatnonzero(cube["period"].values <= cube["time"].values[number])[-1])
        shown = periods_of(cube, dim)[number]
        if "pass_id" not in cube.variables:
            return shown
        named = (str(cube[name].values[number]) for name in ("pass_id", "platform"))
        return Pass(shown.start, shown.end, *named)


@lru_cache(maxsize=32)
def layers_of(layers: Layers) -> Layers:
    """These layers with what was read of them before: snapshots never change."""
    return layers


def tile_picture(layers: Layers, zoom: int, column: int, row: int) -> bytes:
    """A PNG of a tile, transparent where there is no value; RequestError for a tile that web maps do not have."""
    target, whole = tile_box(zoom, column, row), [(slice(TILE_PX), slice(TILE_PX))]
    pixels = np.full((layers.sites[0][0].sizes["feature"], TILE_PX, TILE_PX), np.nan, np.float32)
    for levels in layers.sites:
        finest = levels[0]
        for window in whole if zoom >= LEAST_WHOLE_ZOOM else _where_shown(finest.odc.geobox, target):
            part = target[window]
            ground = outline(part).to_crs(finest.odc.geobox.crs).boundingbox
            if not np.isfinite(ground.bbox).all():  # beyond the reach of the cube's CRS
                continue
            wanted_m = max(ground.span_x, ground.span_y) / max(part.shape)
            fine_enough = [level for level in levels if abs(level.odc.geobox.resolution.x) <= wanted_m] or [finest]
            found = _warped(fine_enough[-1], ground, part)
            if zoom < LEAST_WHOLE_ZOOM and max(part.shape) <= DOT_PX:
                found = _dot(found, levels[-1])
            np.copyto(pixels[:, *window], found, where=np.isfinite(found))
    return _png(pixels, layers.limits)


def tile_box(zoom: int, column: int, row: int) -> GeoBox:
    """The pixels of a tile, counted from the north-west; RequestError for one that there is not."""
    if not (0 <= zoom <= MOST_ZOOM and 0 <= column < 2**zoom and 0 <= row < 2**zoom):
        raise RequestError(f"expected a zoom from 0 to {MOST_ZOOM} and a tile of it, got {zoom}/{column}/{row}")
    side = 2 * HALF_M / 2**zoom
    west, north = column * side - HALF_M, HALF_M - row * side
    return GeoBox.from_bbox((west, north - side, west + side, north), "EPSG:3857", shape=(TILE_PX, TILE_PX), tight=True)


def _warped(level: xarray.DataArray, ground: BoundingBox, target: GeoBox) -> NDArray[np.float32]:
    """(feature, y, x) on the target grid, NaN where there is no value; only the window that it needs is read."""
    source = level.odc.geobox
    corners = [~source.affine * corner for corner in ((ground.left, ground.top), (ground.right, ground.bottom))]
    (left, top), (right, bottom) = corners
    columns = _within(left, right, level.sizes["x"])
    rows = _within(top, bottom, level.sizes["y"])
    step = max(1, -(-max(rows.stop - rows.start, columns.stop - columns.start) // MOST_READ_PX))
    window = level.isel(y=slice(rows.start, rows.stop, step), x=slice(columns.start, columns.stop, step))
    warped = np.full((level.sizes["feature"], *target.shape), np.nan, np.float32)
    if 0 not in window.shape:
        first = source[rows, columns].affine  # every n-th pixel stands for n around its own middle
        affine = first * Affine.translation((1 - step) / 2, (1 - step) / 2) * Affine.scale(step)
        reproject(
            window.values.astype(np.float32), warped, src_transform=affine, src_crs=str(source.crs), src_nodata=np.nan,
            dst_transform=target.affine, dst_crs=str(target.crs), dst_nodata=np.nan, resampling=Resampling.bilinear,
        )  # fmt: skip
    return warped


def _dot(found: NDArray[np.float32], coarsest: xarray.DataArray) -> NDArray[np.float32]:
    """(feature, y, x) as wide as what was found, of the mean of each layer; NaN where it has none."""
    layers = found if np.isfinite(found).any() else np.stack([thinned(layer, MOST_READ_PX) for layer in coarsest])
    known = [layer[np.isfinite(layer)] for layer in layers]
    means = np.array([layer.mean() if layer.size else np.nan for layer in known], np.float32)
    return np.broadcast_to(means[:, None, None], found.shape)


def _where_shown(source: GeoBox, target: GeoBox) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of a tile under which a cube lies, one after the other on both sides of the antimeridian.

    The CRS of a cube does not reach over all of a tile that shows much of the world.
    """
    geometry, _ = as_geojson(outline(source))
    for ground in shapely.get_parts(shapely.geometry.shape(geometry)):
        shared = Geometry(ground, "EPSG:4326").to_crs(target.crs) & target.extent
        if not shared.is_empty:
            west, south, east, north = shared.boundingbox.bbox
            (left, top), (right, bottom) = (~target.affine * corner for corner in ((west, north), (east, south)))
            yield _within(top, bottom, TILE_PX), _within(left, right, TILE_PX)


def _within(first: float, last: float, size: int) -> slice:
    """The pixels from first to last and some around, of those that there are."""
    start, stop = (min(max(int(edge), 0), size) for edge in (first - AROUND_PX, last + AROUND_PX + 1))
    return slice(start, stop)


def _png(layers: NDArray[np.float32], limits: NDArray[np.float64]) -> bytes:
    """Square roots of the values' places between their limits, as in quicklooks."""
    low, high = limits[..., None, None]
    share = np.sqrt(np.clip((layers - low) / np.maximum(high - low, 1e-6), 0, 1))
    is_known = np.asarray(np.isfinite(layers).all(axis=0))
    colours = np.nan_to_num(share * 255).astype(np.uint8)
    pixels = np.concatenate([np.broadcast_to(colours, (3, TILE_PX, TILE_PX)), is_known[None] * np.uint8(255)])
    buffer = io.BytesIO()
    image.imsave(buffer, np.moveaxis(pixels, 0, -1), format="png", metadata={"Software": "neocube"})
    return buffer.getvalue()
