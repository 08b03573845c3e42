"""STAC for a snapshot of a cube: one item, described by the datacube, projection and scientific extensions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from flows.steps.cubes.cube_times import LAYER_DIMS, TIME_DIMS, span_of
from products.antimeridian import as_geojson, outline

STAC_VERSION = "1.1.0"
EXTENSIONS = (
    "https://stac-extensions.github.io/datacube/v2.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/scientific/v1.0.0/schema.json",
)
ZARR_TYPE = "application/vnd.zarr; version=3"


def snapshot_item(
    cube: xarray.Dataset, identity: str, properties: dict[str, Any], credit: Sequence[str], created: datetime
) -> dict[str, Any]:
    """The item of a snapshot that lies beside it as `cube.zarr`; `properties` join those that follow from the cube as stored."""
    geobox = georeferenced(cube)
    geometry, box = as_geojson(outline(geobox))
    first, last = span_of(cube)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS),
        "id": identity,
        "geometry": geometry,
        "bbox": list(box),
        "properties": {
            "title": cube.attrs["title"],
            "datetime": None,
            "start_datetime": _utc(first),
            "end_datetime": _utc(last),
            "created": created.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "license": "other",
            "proj:code": str(geobox.crs),
            "proj:shape": list(geobox.shape),
            "proj:transform": list(geobox.affine)[:6],
            "cube:dimensions": _dimensions(cube, geobox),
            "cube:variables": {
                str(name): {"dimensions": list(array.dims), "type": "data"} for name, array in cube.data_vars.items()
            },
            "neocube:credits": list(credit),
            **properties,
        },
        "links": [],
        "assets": {
            "cube": {"href": "./cube.zarr", "type": ZARR_TYPE, "roles": ["data"], "bands": _bands(cube)},
            "credits": {"href": "./CREDITS.txt", "type": "text/plain", "roles": ["metadata"]},
        },
    }


def georeferenced(cube: xarray.Dataset) -> GeoBox:
    """The pixels of a cube as stored, its CRS by its code: the stored one is WKT."""
    stored = cube.odc.geobox
    return GeoBox(stored.shape, stored.affine, CRS(cube.attrs["proj:code"]))


def _dimensions(cube: xarray.Dataset, geobox: GeoBox) -> dict[str, Any]:
    """cube:dimensions. The extent of x and y is that of the pixels' edges, in metres."""
    left, bottom, right, top = geobox.extent.boundingbox.bbox
    system: int | str = geobox.crs.epsg or geobox.crs.to_wkt()
    space = {"type": "spatial", "reference_system": system}
    found: dict[str, Any] = {
        "x": {**space, "axis": "x", "extent": [left, right], "step": geobox.affine.a},
        "y": {**space, "axis": "y", "extent": [bottom, top], "step": geobox.affine.e},
    }
    for name in (dim for dim in TIME_DIMS if dim in cube.dims):
        extent = [_utc(instant) for instant in span_of(cube)]
        found[name] = {"type": "temporal", "extent": extent, "values": [_utc(start) for start in cube[name].values]}
    for name in (str(dim) for dim in cube.dims if str(dim) not in found):
        found[name] = {"type": "bands" if name in LAYER_DIMS else name, "values": cube[name].values.tolist()}
    return found


def _bands(cube: xarray.Dataset) -> list[dict[str, str]]:
    """The layers that a reader asks for by name: features, bands, or the arrays of a map."""
    named = [cube[dim].values.tolist() for dim in LAYER_DIMS if dim in cube]
    names = named[0] if named else list(map(str, cube.data_vars))
    return [{"name": str(name)} for name in names]


def _utc(instant: np.datetime64) -> str:
    return f"{np.datetime_as_string(instant, 'us').removesuffix('.000000')}Z"
