"""Rows of the search and spatial tables of ODC's postgis driver, as its own `add` writes them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import isnan
from typing import Any

from datacube.drivers.postgis._api import non_native_fields
from datacube.drivers.postgis._fields import PgField
from datacube.drivers.postgis._schema import search_field_map
from datacube.drivers.postgis._spatial import extract_geometry_from_eo3_projection, generate_dataset_spatial_values
from datacube.model import MetadataType, Range
from datacube.utils.dates import tz_as_utc
from odc.geo.crs import CRS

SEARCH_TABLES = {
    "string": "odc.dataset_search_string",
    "numeric": "odc.dataset_search_num",
    "datetime": "odc.dataset_search_datetime",
}


def searched_fields(metadata_type: MetadataType) -> dict[str, PgField]:
    """The fields of a metadata type that have a row in a search table, by name."""
    return non_native_fields(metadata_type.definition)


def search_rows(fields: Mapping[str, PgField], document: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """(table, search key, value as COPY reads it) of each field of a document."""
    for name, field in fields.items():
        kind = search_field_map[field.type_name]
        value = field.extract(document)
        if kind == "string":
            yield SEARCH_TABLES[kind], name, value
            continue
        low, high = value if isinstance(value, Range) else (value, value)
        if not any(isinstance(bound, float) and isnan(bound) for bound in (low, high)):
            yield SEARCH_TABLES[kind], name, f"[{_bound(low)},{_bound(high)}]"


def extent_rows(document: Mapping[str, Any], crses: Sequence[CRS]) -> Iterator[tuple[int, str]]:
    """(EPSG code, extent as EWKT) for each spatial index."""
    extent = extract_geometry_from_eo3_projection(document["grid_spatial"]["projection"])
    for crs in crses if extent else ():
        values = generate_dataset_spatial_values(document["id"], crs, extent)
        if values is not None and crs.epsg is not None:
            yield crs.epsg, values["extent"]


def _bound(value: object) -> str:
    """A bound of a range: a number, or an instant in UTC; nothing where it is open."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, datetime):
        return tz_as_utc(value).isoformat()
    return "" if value is None else str(value)
