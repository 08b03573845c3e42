"""Source products that are not scenes, on the pixels of a tile: elevation, masks, labels."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from datacube.model import Dataset, Range
from datacube.utils.dates import tz_as_utc
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from datacube_config.connection import Index
from flows.steps.loading.dataset_location import band_href, dataset_location
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import warp_band
from products.antimeridian import meet, turns
from products.covered_ground import covered_ground
from products.errors import RequestError
from products.period import Period
from products.raster import RasterFile, RasterLayer
from products.window_spec import RasterInput


def find_rasters(index: Index, inputs: Iterable[RasterInput], period: Period, area: Geometry) -> list[RasterFile]:
    """The active datasets behind some inputs that may share time with `period` and ground with `area`.

    RequestError for a product or band that is not indexed.
    """
    lonlat = covered_ground(area)
    box = lonlat.boundingbox
    found: dict[tuple[RasterInput, UUID], RasterFile] = {}
    for wanted in inputs:
        _require(index, wanted)
        query = {"time": Range(period.start, period.end), "lat": Range(box.bottom, box.top)}
        for longitudes in turns(box.left, box.right, widest=360):
            for dataset in index.dc.index.datasets.search(product=wanted.product, lon=Range(*longitudes), **query):
                ground = covered_ground(dataset.extent)
                if meet(ground, lonlat):
                    measurement = dataset.metadata_doc["measurements"][wanted.band]
                    href = band_href(dataset_location(dataset).rpartition("/")[0], measurement["path"])
                    layer = int(measurement.get("band", 1))
                    says = dataset.metadata_doc["properties"].get("neocube:radiometry", {}).get(wanted.band, {})
                    nodata = float(says.get("nodata", dataset.product.measurements[wanted.band].nodata))
                    scale, offset = float(says.get("scale", 1)), float(says.get("offset", 0))
                    found[wanted, dataset.id] = RasterFile(
                        wanted,
                        dataset.id,
                        ground,
                        href,
                        layer,
                        scale,
                        offset,
                        nodata,
                        *_time_of(dataset),
                        _is_upright(dataset, measurement),
                    )
    return sorted(found.values(), key=lambda raster: (raster.input.product, raster.input.band, str(raster.id)))


def load_rasters(
    rasters: Sequence[RasterFile], inputs: Iterable[RasterInput], geobox: GeoBox, access: RasterAccess
) -> dict[RasterInput, RasterLayer]:
    """By input on the pixels of `geobox`, in the units of the band; NaN where no dataset has data, and where any of them reaches.

    Of datasets that overlap the first by id gives the pixel. UnreadBand if a file fails.
    """
    made = {wanted: np.full(geobox.shape, np.nan, np.float32) for wanted in inputs}
    covered = {wanted: np.zeros(geobox.shape, np.bool_) for wanted in made}
    for raster in rasters:
        values = np.empty(geobox.shape, np.float32)
        with access.env():
            read = warp_band(raster.href, raster.layer, raster.nodata, geobox, raster.input.resampling, values)
        out = made[raster.input]
        take = np.isnan(out) & ~np.isnan(values)
        out[take] = values[take] * np.float32(raster.scale) + np.float32(raster.offset)
        covered[raster.input] |= True if read.covered is None else read.covered
    return {wanted: RasterLayer(made[wanted], None if on.all() else on) for wanted, on in covered.items()}


def _is_upright(dataset: Dataset, measurement: Mapping[str, Any]) -> bool:
    grid = dataset.metadata_doc.get("grids", {}).get(measurement.get("grid", "default"), {})
    a, b, _, d, e, *_ = grid.get("transform", (1, 0, 0, 0, -1, 0))
    return dataset.crs is not None and not dataset.crs.geographic and a > 0 > e and not b and not d


def _time_of(dataset: Dataset) -> tuple[datetime, datetime]:
    return tz_as_utc(dataset.time.begin), tz_as_utc(dataset.time.end)


def _require(index: Index, wanted: RasterInput) -> None:
    product = index.dc.index.products.get_by_name(wanted.product)
    if product is None:
        raise RequestError(
            f"a feature reads the product {wanted.product!r}, which is not in the index: take it in with neocube ingest PATH --as {wanted.product}"
        )
    if wanted.band not in product.measurements:
        raise RequestError(
            f"{wanted.product} has no band {wanted.band!r}: expected one of {', '.join(product.measurements)}"
        )
