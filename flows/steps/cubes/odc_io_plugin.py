"""The entry point that lets a plain `dc.load` read cells: group `datacube.plugins.io.read`, format zarr."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from affine import Affine
from datacube.drivers.datasource import DataSource, GeoRasterReader, RasterShape
from datacube.storage import BandInfo
from numpy.typing import NDArray
from odc.geo.crs import CRS

from flows.steps.cubes.odc_reader import CellLayer, open_layer

Window = tuple[tuple[int, int], tuple[int, int]]


class CellBand(GeoRasterReader):
    """One layer of a cell as ODC reads rasters."""

    def __init__(self, layer: CellLayer) -> None:
        self._layer = layer

    @property
    def crs(self) -> CRS:
        """The cell's CRS."""
        return self._layer.geobox.crs

    @property
    def transform(self) -> Affine:
        """Pixel to CRS units."""
        return self._layer.geobox.affine

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The stored type."""
        return np.dtype(self._layer.array.dtype)

    @property
    def shape(self) -> RasterShape:
        """Rows and columns."""
        return tuple(self._layer.geobox.shape)

    @property
    def nodata(self) -> float:
        """The fill value."""
        return self._layer.nodata

    def read(self, window: Window | None = None, out_shape: RasterShape | None = None) -> NDArray[np.generic]:
        """The pixels of ((row, row), (column, column)), shrunk to `out_shape` as by `shrink`."""
        (top, bottom), (left, right) = window or tuple((0, size) for size in self.shape)
        pixels = self._layer.read((slice(top, bottom), slice(left, right)))
        return pixels if out_shape is None or tuple(out_shape) == pixels.shape else shrink(pixels, tuple(out_shape))


def shrink(pixels: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.generic]:
    """Blocks of n x n pixels as one (the last may be cut): the mean of what is not NaN, of integers the centre."""
    factor = block_px(pixels.shape, shape)
    rows, columns = (np.arange(size) * factor for size in shape)
    if pixels.dtype.kind != "f":
        height, width = pixels.shape
        return pixels[np.ix_(np.minimum(rows + factor // 2, height - 1), np.minimum(columns + factor // 2, width - 1))]
    valid = ~np.isnan(pixels)

    def block_sum(values: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype="float64"), columns, axis=1)

    total, count = block_sum(np.where(valid, pixels, 0)), block_sum(valid)
    return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0).astype(pixels.dtype)


def block_px(full: tuple[int, ...], shrunk: tuple[int, ...]) -> int:
    """The n by which `full` shrinks to `shrunk`, rounding up; ValueError if there is none."""
    for factor in range(max(full[0] // shrunk[0], full[1] // shrunk[1], 1), max(full) + 1):
        if all(-(-size // factor) == small for size, small in zip(full, shrunk, strict=True)):
            return factor
    raise ValueError(f"expected an output that is {full} shrunk by a whole number, got {shrunk}")


@dataclass(frozen=True, slots=True)
class CellBandSource(DataSource):
    """Where a band of a dataset is: `uri` of the array and layer counted from 1."""

    uri: str
    layer: int

    @contextmanager
    def open(self) -> Iterator[CellBand]:
        """The band, for as long as ODC reads it."""
        yield CellBand(open_layer(self.uri, self.layer))


class CellPlugin:
    """What ODC asks a reader plugin for."""

    name = "neocube"
    protocols = ("file", "s3")
    formats = ("zarr",)

    def supports(self, protocol: str, fmt: str) -> bool:
        """Whether cells are read from there."""
        return protocol in self.protocols and fmt in self.formats

    def new_datasource(self, band: BandInfo) -> CellBandSource:
        """The source of one band."""
        return CellBandSource(band.uri, int(band.layer or band.band or 1))


def reader_driver_init() -> CellPlugin:
    """Called by ODC once per process."""
    return CellPlugin()
