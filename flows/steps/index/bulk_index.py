"""Many documents into the index at once: COPY into ODC's tables, or its own `bulk_add` where they are not as checked."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import psycopg
from datacube.drivers.postgres._connections import _to_json
from datacube.index.abstract import DatasetTuple
from datacube.utils.uris import split_uri
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection

from datacube_config.connection import Index
from flows.steps.index.bulk_schema import CHECKED, schema_difference, spatial_table
from flows.steps.index.bulk_search_rows import extent_rows, search_rows, searched_fields

_log = logging.getLogger(__name__)

# (table, its columns), and the rows: what one COPY takes
Target = tuple[str, tuple[str, ...]]
Rows = Mapping[Target, Sequence[tuple[object, ...]]]

SEARCH_COLUMNS = ("dataset_ref", "search_key", "search_val")
EXTENT_COLUMNS = ("dataset_ref", "extent")


def bulk_index(index: Index, documents: Sequence[DatasetTuple]) -> None:
    """Add documents, prepared and with ids that the index lacks, in the transaction of this thread or one of their own.

    The rows are those of ODC's `index.datasets.add`; nothing is added if one cannot be.
    """
    with index.dc.index.datasets._db_connection(transaction=True) as api:
        connection: Connection = api._connection
        driver = connection.connection.driver_connection
        if not isinstance(driver, psycopg.Connection):
            difference: str | None = f"COPY needs psycopg 3, got {connection.dialect.driver}"
        elif (difference := _difference(index, connection)) is None:
            _copy(driver, _rows(index, documents))
            return
    _log.warning("scenes are added through ODC's API, which is slower: %s", difference)
    index.dc.index.datasets.bulk_add(documents)


def json_text(document: Mapping[str, Any]) -> str:
    """A document as ODC stores it."""
    raw = orjson.dumps(document)
    # orjson writes null for a number that JSON does not have, ODC its name.
    return str(_to_json(document)) if b"null" in raw else raw.decode()


def _difference(index: Index, connection: Connection) -> str | None:
    """Why COPY cannot be used, in words; None where it can."""
    tables = dict(CHECKED[index.driver])
    if index.driver == "postgis":
        tables |= dict(spatial_table(crs.epsg or 0) for crs in index.dc.index.spatial_indexes())
    return schema_difference(connection, tables)


def _rows(index: Index, documents: Iterable[DatasetTuple]) -> Rows:
    return _postgis_rows(index, documents) if index.driver == "postgis" else _postgres_rows(documents)


def _postgres_rows(documents: Iterable[DatasetTuple]) -> Rows:
    datasets: list[tuple[object, ...]] = []
    locations: list[tuple[object, ...]] = []
    for product, document, uri, _ in documents:
        datasets.append((document["id"], product.metadata_type.id, product.id, json_text(document)))
        uris = [uri] if isinstance(uri, str) else uri or []
        locations += [(document["id"], *split_uri(each)) for each in uris]
    return {
        ("agdc.dataset", ("id", "metadata_type_ref", "dataset_type_ref", "metadata")): datasets,
        ("agdc.dataset_location", ("dataset_ref", "uri_scheme", "uri_body")): locations,
    }


def _postgis_rows(index: Index, documents: Iterable[DatasetTuple]) -> Rows:
    columns = ("id", "metadata_type_ref", "product_ref", "metadata", "uri_scheme", "uri_body")
    crses = list(index.dc.index.spatial_indexes())
    fields: dict[str, Any] = {}
    datasets: list[tuple[object, ...]] = []
    others: dict[Target, list[tuple[object, ...]]] = defaultdict(list)
    for product, document, uri, _ in documents:
        kind, number = product.metadata_type, document["id"]
        place = split_uri(uri if isinstance(uri, str) else uri[0]) if uri else (None, None)
        datasets.append((number, kind.id, product.id, json_text(document), *place))
        if kind.name not in fields:
            fields[kind.name] = searched_fields(kind)
        for table, key, value in search_rows(fields[kind.name], document):
            others[table, SEARCH_COLUMNS].append((number, key, value))
        for epsg, extent in extent_rows(document, crses):
            others[spatial_table(epsg)[0], EXTENT_COLUMNS].append((number, extent))
    return {("odc.dataset", columns): datasets, **others}


def _copy(connection: "psycopg.Connection[Any]", rows: Rows) -> None:
    """Each table's rows in one COPY, datasets first."""
    for (table, columns), content in rows.items():
        names = SQL(", ").join(map(Identifier, columns))
        command = SQL("copy {} ({}) from stdin").format(Identifier(*table.split(".")), names)
        with connection.cursor() as cursor, cursor.copy(command) as copy:
            for row in content:
                copy.write_row(row)
