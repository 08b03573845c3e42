"""Scenes of an existing ODC product, used as it is: nothing of it is indexed again."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from datacube.model import Dataset

from datacube_config.connection import Index
from flows.steps.loading.dataset_location import dataset_location
from flows.steps.scenes.pass_day import wrs_day
from flows.steps.scenes.view_angles import angles_of
from products.antimeridian import in_one_piece
from products.errors import RequestError
from products.external import ExternalProduct
from products.period import as_utc
from products.scene import BandFile, Scene
from products.sensors import SENSORS


def require_external(index: Index, product: str, reading: ExternalProduct) -> None:
    """RequestError where the index has no such product, or the product no such measurement."""
    known = index.dc.index.products.get_by_name(product)
    if known is None:
        names = ", ".join(sorted(each.name for each in index.dc.index.products.get_all()))
        raise RequestError(f"the index has no product {product!r}: expected one of {names}")
    for name in (*reading.bands.values(), reading.mask.band):
        if name not in known.measurements:
            raise RequestError(
                f"the product {product} has no measurement {name!r}: expected some of {', '.join(known.measurements)}"
            )


def external_scene(dataset: Dataset, reading: ExternalProduct) -> Scene:
    """The scene behind a dataset of an external product, its bands by our names, its mask in the place of the sensor's."""
    facts = dataset.metadata_doc["properties"]
    acquired = as_utc(facts["datetime"])
    platform = str(facts.get("eo:platform") or "").lower().replace("_", "-")
    bands = {
        band: _band_file(dataset, name, reading.scale, reading.offset, reading.nodata)
        for band, name in reading.bands.items()
    }
    mask = _band_file(dataset, reading.mask.band, 1.0, 0.0, reading.mask.nodata)
    longitude = in_one_piece(dataset.extent).centroid.coords[0][0]
    return Scene(
        id=dataset.id,
        item_id=str(dataset.metadata_doc.get("label") or dataset.id),
        product=dataset.product.name,
        collection=dataset.product.name,
        sensor=reading.sensor,
        platform=platform,
        acquired=acquired,
        acquisition=f"{dataset.product.name}/{dataset.id}",
        rendition=str(facts.get("odc:processing_datetime") or facts.get("odc:dataset_version") or ""),
        pass_id=_pass(platform, str(facts.get("odc:region_code") or ""), acquired, longitude),
        footprint=dataset.extent,
        bands={**bands, SENSORS[reading.sensor].mask: mask},
        angles=angles_of(facts, reading.sensor),
    )


def _band_file(dataset: Dataset, name: str, scale: float, offset: float, nodata: int) -> BandFile:
    measurement = dataset.measurements[name]
    grid: dict[str, Any] = dataset.metadata_doc.get("grids", {}).get(measurement.get("grid", "default"), {})
    return BandFile(
        href=_href(dataset_location(dataset), str(measurement["path"])),
        scale=scale,
        offset=offset,
        nodata=nodata,
        layer=int(measurement.get("band", 1)),
        shape=tuple(grid["shape"]) if "shape" in grid else None,
    )


def _href(location: str, path: str) -> str:
    """A measurement's path from the dataset's location, a file URL as a local path."""
    href = path if path.startswith("/") or "://" in path else f"{location.rpartition('/')[0]}/{path}"
    return unquote(urlsplit(href).path) if href.startswith("file:") else href


def _pass(platform: str, region: str, acquired: datetime, longitude: float) -> str:
    """Platform, WRS-2 path where the region code has one, and solar day: of the path, or else of the longitude."""
    if platform.startswith("landsat") and len(region) == 6 and region.isdigit():
        return f"{platform}/{region[:3]}/{wrs_day(int(region[:3]), acquired, acquired)}"
    return f"{platform}//{acquired + timedelta(hours=longitude / 15):%Y-%m-%d}"
