"""Source products declared in sources.yaml: their ODC definition, and the EO3 document of each of their rasters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isnan
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import rasterio
import shapely
from datacube.index.eo3 import EO3_SCHEMA, prep_eo3
from odc.geo.crs import CRS
from odc.geo.geom import Geometry

from datacube_config.sources import Described, FolderSource, RasterBand, RasterSource
from flows.steps.archives.archive_files import as_uri
from flows.steps.archives.item_refused import ItemRefused
from flows.steps.ingesting.raster_files import ALWAYS, RasterFiles
from flows.steps.loading.raster_access import RasterAccess
from flows.steps.loading.reading import gdal_path
from flows.steps.scenes.eo3_geometry import extent
from flows.steps.scenes.footprint import AssetGrid
from products.covered_ground import covered_ground
from products.period import Period

RASTER_NAMESPACE = uuid5(NAMESPACE_URL, "https://neocube.org/raster")
METADATA_TYPE = "neocube_raster"
INSTANT = timedelta(microseconds=1)  # ODC includes the end of a time range


@dataclass(frozen=True, slots=True)
class RasterDocument:
    """A raster to be indexed."""

    id: UUID
    product: str
    location: str
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RasterHeader:
    """What the header of a raster file says."""

    crs: str
    grid: AssetGrid
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    driver: str


def raster_id(product: str, key: str) -> UUID:
    """The dataset id: product, tile, epoch or date, version and platform; never location."""
    return uuid5(RASTER_NAMESPACE, f"{product}/{key}")


def product_definition(name: str, source: RasterSource | FolderSource) -> dict[str, Any]:
    """The ODC product of a declared source."""
    bands = source.bands if isinstance(source, RasterSource) else {}
    return {
        "name": name,
        "description": source.title,
        "metadata_type": METADATA_TYPE,
        "license": source.license,
        "metadata": {"product": {"name": name}},
        "measurements": [_measurement(band, spec) for band, spec in bands.items()],
    }


def raster_document(product: str, source: RasterSource, found: RasterFiles, access: RasterAccess) -> RasterDocument:
    """The EO3 document of the files of one raster; ItemRefused for an unreadable file or one that is not as declared."""
    headers = {name: read_header(path, access) for name, path in found.paths.items()}
    lacking = sorted({str(spec.file) for spec in source.bands.values()} - {str(name) for name in headers})
    if lacking:
        raise ItemRefused(f"no file {lacking[0]} of {found.facts.key}: expected one file for each `file` of the bands")
    for band, spec in source.bands.items():
        _require_as_declared(band, spec, headers[spec.file])
    first = headers[next(iter(source.bands.values())).file]
    if others := {header.crs for header in headers.values()} - {first.crs}:
        raise ItemRefused(f"the files of one raster are in {first.crs} and {others.pop()}: expected one CRS")
    names = _grid_names([header.grid for header in headers.values()])
    facts = found.facts
    measurements = {
        band: _placed(found.paths[spec.file], spec.layer, names[headers[spec.file].grid])
        for band, spec in source.bands.items()
    }
    properties = {
        **_properties(source, facts.period, facts.tile, facts.version, facts.moment),
        "odc:file_format": first.driver,
        **({"eo:platform": facts.platform} if facts.platform else {}),
        "neocube:radiometry": {
            band: {"scale": spec.scale, "offset": spec.offset, "nodata": _plain(spec.nodata)}
            for band, spec in source.bands.items()
        },
    }
    outline = shapely.union_all([grid.outline for grid in names])
    document = _document(raster_id(product, facts.key), f"{product} {facts.key}".rstrip("/"), product, first.crs)
    document |= {
        "geometry": shapely.geometry.mapping(shapely.orient_polygons(outline)),
        "grids": {name: {"shape": list(grid.shape), "transform": list(grid.transform)} for grid, name in names.items()},
        "properties": properties,
        "measurements": measurements,
    }
    return _prepared(document, found.first)


def folder_document(product: str, source: FolderSource, location: str, n_files: int) -> RasterDocument:
    """The EO3 document of a folder registered as it is: the whole world, at every time, without measurements."""
    world = AssetGrid((1, 1), (360.0, 0.0, -180.0, 0.0, -180.0, 90.0))
    document = _document(raster_id(product, "folder"), product, product, "EPSG:4326")
    document |= {
        "geometry": shapely.geometry.mapping(shapely.orient_polygons(world.outline)),
        "grids": {"default": {"shape": list(world.shape), "transform": list(world.transform)}},
        "properties": {
            **_properties(source, ALWAYS, product, "", "static"),
            "odc:file_format": "folder",
            "neocube:files": n_files,
        },
        "measurements": {},
    }
    return _prepared(document, location)


def read_header(path: str, access: RasterAccess) -> RasterHeader:
    """The header of a raster file; ItemRefused where it has none, or says nowhere."""
    try:
        with access.env(), rasterio.open(gdal_path(path)) as raster:
            if raster.crs is None or raster.transform.is_identity:
                raise ItemRefused(
                    "the file has no coordinate system or no geotransform: expected a georeferenced raster"
                )
            grid = AssetGrid(raster.shape, tuple(raster.transform)[:6])
            crs = CRS(raster.crs)
            return RasterHeader(str(crs), grid, raster.dtypes, raster.nodatavals, raster.driver)
    except (rasterio.errors.RasterioError, OSError) as error:
        raise ItemRefused(f"unreadable raster: {' '.join(str(error).split())}") from error


def _require_as_declared(band: str, spec: RasterBand, header: RasterHeader) -> None:
    """ItemRefused for a file without the layer, of another data type, or that names another nodata value."""
    if spec.layer > len(header.dtypes):
        raise ItemRefused(f"band {band}: expected layer {spec.layer}, the file has {len(header.dtypes)}")
    dtype, nodata = header.dtypes[spec.layer - 1], header.nodata[spec.layer - 1]
    if dtype != spec.dtype:
        raise ItemRefused(f"band {band}: expected {spec.dtype}, the file holds {dtype}")
    if nodata is not None and nodata != spec.nodata and not (isnan(nodata) and isnan(spec.nodata)):
        raise ItemRefused(f"band {band}: expected nodata {spec.nodata:g}, the file says {nodata:g}")


def _measurement(band: str, spec: RasterBand) -> dict[str, Any]:
    found: dict[str, Any] = {"name": band, "dtype": spec.dtype, "nodata": _plain(spec.nodata), "units": spec.units}
    if spec.scale != 1 or spec.offset != 0:
        found |= {"scale_factor": spec.scale, "add_offset": spec.offset}
    if spec.classes:
        bits = list(range(8 * int("".join(filter(str.isdigit, spec.dtype))) // 8))
        found["flags_definition"] = {band: {"bits": bits, "description": band, "values": dict(spec.classes)}}
    return found


def _properties(source: Described, period: Period, tile: str, version: str, moment: str) -> dict[str, Any]:
    return {
        "datetime": period.start.isoformat(),
        "dtr:start_datetime": period.start.isoformat(),
        "dtr:end_datetime": (period.end - INSTANT).isoformat(),
        "odc:product_family": source.kind,
        "odc:region_code": tile,
        "neocube:moment": moment,
        "neocube:version": version,
        "neocube:credit": source.credit,
    }


def _document(number: UUID, label: str, product: str, crs: str) -> dict[str, Any]:
    return {
        "$schema": EO3_SCHEMA,
        "id": str(number),
        "label": label,
        "product": {"name": product},
        "crs": crs,
        "accessories": {},
        "lineage": {},
    }


def _prepared(document: dict[str, Any], location: str) -> RasterDocument:
    prepared = prep_eo3(document, remap_lineage=False)
    prepared["extent"] = raster_extent(prepared)
    return RasterDocument(UUID(document["id"]), document["product"]["name"], as_uri(location), prepared)


def raster_extent(document: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The bounds in degrees of what a document says that a raster covers."""
    return extent(covered_ground(Geometry(document["geometry"], document["crs"])).boundingbox.bbox)


def _grid_names(grids: Sequence[AssetGrid]) -> dict[AssetGrid, str]:
    """The finest grid is EO3's default, the others are numbered."""
    finest_first = sorted(dict.fromkeys(grids), key=lambda grid: (abs(grid.transform[0]), grid.transform))
    return {grid: f"g{number}" if number else "default" for number, grid in enumerate(finest_first)}


def _placed(path: str, layer: int, grid: str) -> dict[str, Any]:
    placed: dict[str, Any] = {"path": path}
    if layer != 1:
        placed["band"] = layer
    return placed if grid == "default" else {**placed, "grid": grid}


def _plain(nodata: float) -> float | int | str:
    """An integer where it is one, and `NaN` as ODC writes it in JSON."""
    if isnan(nodata):
        return "NaN"
    return int(nodata) if nodata == int(nodata) else nodata
