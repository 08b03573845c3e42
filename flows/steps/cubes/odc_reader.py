"""Layers of cells as rasters, and the odc.loader driver that reads them."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import zarr
from affine import Affine
from datacube.api.query import GroupBy
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.overlap import compute_reproject_roi
from odc.geo.roi import roi_is_empty, roi_pad
from odc.geo.warp import rio_reproject
from odc.loader.types import RasterLoadParams, RasterSource

from datacube_config.settings import get_settings
from flows.steps.storage import s3_options, storage_at
from products.errors import RequestError

BY_PERIOD = GroupBy(lambda dataset: dataset.time.begin, "time", "seconds since 1970-01-01 00:00:00")
"""`dc.load(group_by=BY_PERIOD)` labels time with the start of the period; ODC's own default is the middle."""
BY_PASS = GroupBy(
    lambda dataset: dataset.metadata_doc["properties"]["neocube:period"],
    "time",
    "seconds since 1970-01-01 00:00:00",
    sort_key=lambda dataset: dataset.time.begin,
    group_key=lambda datasets: min(dataset.time.begin for dataset in datasets),
)
"""`dc.load(group_by=BY_PASS)` gives one time for each pass of observations; by ODC's own default each tile would have its own."""

Rois = tuple[slice, slice]
KERNEL_RADIUS_PX = 3  # lanczos, the widest of GDAL's kernels


class UnreadableCellError(OSError):
    """A cell that the index names cannot be read: the message says which and why."""


@dataclass(frozen=True, slots=True)
class CellLayer:
    """One layer of one array of a cell: `read` gives (y, x) pixels of its geobox."""

    array: zarr.Array[Any]
    geobox: GeoBox
    index: tuple[int, ...]

    @property
    def nodata(self) -> float:
        """The fill value; NaN for floats."""
        return float(self.array.fill_value)

    def read(self, roi: Rois) -> NDArray[Any]:
        """The pixels of a (rows, columns) window."""
        selection: tuple[int | slice, ...] = (*self.index, *roi)
        return np.asarray(self.array[selection])


def open_layer(url: str, layer: int = 1, options: Mapping[str, Any] | None = None) -> CellLayer:
    """The layer, counted from 1, of the array at `<cell url>/<array>`; `options` of s3fs, by default the settings'."""
    if options is None:
        options = s3_options(get_settings()) if url.startswith("s3://") else {}
    array, geobox = _opened(url, json.dumps(options, sort_keys=True))
    each = array.shape[1] if array.ndim == 4 else 1
    layers = array.shape[0] * each
    if not 1 <= layer <= layers:
        raise UnreadableCellError(f"expected a layer from 1 to {layers} of {url}, the dataset says {layer}")
    time_number, place = divmod(layer - 1, each)
    return CellLayer(array, geobox, (time_number, place) if array.ndim == 4 else (time_number,))


@lru_cache(maxsize=512)
def _opened(url: str, options_json: str) -> tuple[zarr.Array[Any], GeoBox]:
    """Cells are immutable, so what is opened stays true."""
    group_url, _, name = url.rpartition("/")
    try:
        storage = storage_at(group_url, json.loads(options_json))
        group = storage.open_group(storage.root)
        array, reference = group[name], group["spatial_ref"]
    except (FileNotFoundError, KeyError) as error:
        raise UnreadableCellError(
            f"cannot read {url}, which the index names: {error}; is the store where it was when the cell was built?"
        ) from error
    if not isinstance(array, zarr.Array) or array.ndim not in (3, 4):
        raise UnreadableCellError(f"expected an array (period, [layer], y, x) at {url}, got {array}")
    transform = Affine.from_gdal(*(float(value) for value in str(reference.attrs["GeoTransform"]).split()))
    return array, GeoBox(array.shape[-2:], transform, CRS(str(reference.attrs["crs_wkt"])))


def warp(layer: CellLayer, target: GeoBox, resampling: str, dtype: str, fill: float) -> tuple[Rois, NDArray[Any]]:
    """The rows and columns of `target` that the layer covers, and its pixels there, (y, x) of `dtype`; read as they are where the grids agree."""
    overlap = compute_reproject_roi(layer.geobox, target, ttol=0.9 if resampling == "nearest" else 0.01)
    if roi_is_empty(overlap.roi_dst) or roi_is_empty(overlap.roi_src):
        return (slice(0, 0), slice(0, 0)), np.empty((0, 0), dtype)
    if overlap.paste_ok and overlap.read_shrink == 1:
        pixels = layer.read(overlap.roi_src)
        return overlap.roi_dst, _with_fill(pixels, layer.nodata, fill, dtype)
    margin = KERNEL_RADIUS_PX * int(np.ceil(max(1.0, overlap.scale)))
    source = roi_pad(overlap.roi_src, margin, layer.geobox.shape)
    covered = roi_pad(overlap.roi_dst, 1, target.shape)
    warped = np.full(target[covered].shape, fill, dtype)
    nodata = {"src_nodata": layer.nodata, "dst_nodata": fill}
    rio_reproject(layer.read(source), warped, layer.geobox[source], target[covered], resampling, **nodata)
    return covered, warped


def _with_fill(pixels: NDArray[Any], nodata: float, fill: float, dtype: str) -> NDArray[Any]:
    missing = np.isnan(pixels) if np.isnan(nodata) and pixels.dtype.kind == "f" else pixels == nodata
    converted = np.where(missing, 0, pixels).astype(dtype)
    converted[missing] = fill
    return converted


@dataclass(frozen=True, slots=True)
class CellReader:
    """An odc.loader RasterReader of one layer; opens when it reads, so that it travels to dask workers."""

    source: RasterSource
    options: Mapping[str, Any] | None
    resampling: str | None

    def read(
        self, cfg: RasterLoadParams, dst_geobox: GeoBox, *, dst: NDArray[Any] | None = None, selection: object = None
    ) -> tuple[Rois, NDArray[Any]]:
        """The covered part of the target and its pixels."""
        number = int(
            self.source.subdataset or self.source.band
        )  # a band other than 1 breaks datacube 1.9.20's driver path
        layer = open_layer(self.source.uri, number, self.options)
        dtype = np.dtype(cfg.dtype or layer.array.dtype)
        fill = layer.nodata if cfg.fill_value is None else cfg.fill_value
        roi, pixels = warp(layer, dst_geobox, self.resampling or cfg.resampling, dtype.str, fill)
        if dst is None:
            return roi, pixels
        dst[roi] = pixels
        return roi, dst[roi]


@dataclass(frozen=True, slots=True)
class CellDriver:
    """The odc.loader ReaderDriver of cells.

    A plain `dc.load` needs none. `dc.load(driver=…)` of datacube 1.9.20 drops its `resampling` and shifts `time` by the
    local zone: state the resampling here, and a zone other than UTC is refused. `caller="odc.loader"` is for those who
    call odc.loader (or odc.stac), which do neither.
    """

    resampling: str | None = None
    caller: Literal["datacube", "odc.loader"] = "datacube"
    options: Mapping[str, Any] | None = None

    def new_load(self, geobox: GeoBox, *, chunks: dict[str, int] | None = None) -> None:
        """Nothing is shared by the reads of one load."""

    def finalise_load(self, load_state: None) -> None:
        """Nothing to close."""

    def capture_env(self) -> dict[str, Any]:
        """Nothing to carry to workers; RequestError where datacube would shift time."""
        if self.caller == "datacube" and (time.timezone or time.daylight):
            raise RequestError(
                f"dc.load(driver=…) would shift time by the local zone {time.tzname[0]}: "
                "leave driver= out, dc.load reads these cells without it, or set TZ=UTC"
            )
        return {}

    @contextmanager
    def restore_env(self, env: dict[str, Any], load_state: None) -> Iterator[None]:
        """The context of a read: none."""
        yield None

    def open(self, src: RasterSource, ctx: None) -> CellReader:
        """The reader of one layer."""
        return CellReader(src, self.options, self.resampling)

    @property
    def md_parser(self) -> None:
        """Bands are described by the product."""
        return None

    @property
    def dask_reader(self) -> None:
        """odc.loader's own dask reading serves."""
        return None

    @property
    def aux_reader(self) -> None:
        """Cells have no auxiliary bands."""
        return None
