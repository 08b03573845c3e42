"""Make or migrate the index, and add the metadata types and products that neocube indexes."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from datacube import Datacube
from datacube.drivers.postgres._core import METADATA
from datacube.index.exceptions import IndexSetupError
from datacube.utils import jsonify_document
from datacube.utils.changes import get_doc_changes
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

import datacube_config
import products
from datacube_config.connection import ODC_SCHEMAS, Index, migrate, open_index
from datacube_config.schema import SCHEMA
from datacube_config.settings import Settings
from flows.steps.index.known_scenes import add_lookup_indexes
from products.errors import RequestError

METADATA_TYPES = Path(datacube_config.__file__).parent / "metadata_types"
PRODUCT_DEFINITIONS = Path(products.__file__).parent / "definitions"
LOCK = "neocube init"
# ODC 1.9.20's postgis driver writes `grant … with admin true`, which PostgreSQL 15 does not know; its postgres driver
# cannot add a metadata type without its roles.
FIRST_WITH_ADMIN_GRANTS = 160_000


def init_index(settings: Settings, definitions: Path) -> dict[str, Any]:
    """Make or migrate the index, add a folder's `*.odc-product.yaml`: `index`, `driver`, `products`. Safe to repeat."""
    with open_index(settings, initialised=False) as index, _alone(index.engine):
        _make_odc_schema(index)
        with index.engine.begin() as connection:
            migrate(connection)
        for document in _documents(METADATA_TYPES, "*.odc-type.yaml"):
            _add_metadata_type(index.dc, document)
        for document in _documents(definitions, "*.odc-product.yaml"):
            add_product(index.dc, document, may_grow=True)
        with index.engine.begin() as connection:
            add_lookup_indexes(connection, index.driver)
        return {
            "index": index.engine.url.render_as_string(hide_password=True),
            "driver": index.driver,
            "products": sorted(product.name for product in index.dc.index.products.get_all()),
        }


def add_product(dc: Datacube, document: dict[str, Any], may_grow: bool = False) -> None:
    """Add a product definition, or change what ODC lets change, and units; RequestError where datasets would no longer fit.

    A product that `may_grow` may gain measurements, which datasets of before lack: ODC calls that unsafe.
    """
    _define(dc.index.products, document, "product", "give the new one another name", may_grow)


def _add_metadata_type(dc: Datacube, document: dict[str, Any]) -> None:
    _define(dc.index.metadata_types, document, "metadata type", "use a new database")


def _define(held: Any, document: dict[str, Any], kind: str, way_out: str, may_grow: bool = False) -> None:  # noqa: ANN401, of ODC
    known, wanted = held.get_by_name(document["name"]), held.from_doc(document)
    if known is None:
        try:
            held.add(wanted)
        except IntegrityError:  # somebody else defined it meanwhile, perhaps otherwise
            if (known := held.get_by_name(document["name"])) is None:
                raise
    if known and get_doc_changes(known.definition, definition := jsonify_document(wanted.definition)):
        is_sound = only_units_differ(known.definition, definition)
        is_sound |= may_grow and only_gains_measurements(known.definition, definition)
        try:
            held.update(wanted, is_sound)
        except ValueError as error:
            raise RequestError(f"{kind} {document['name']} is already defined otherwise: {error}: {way_out}") from error


def only_gains_measurements(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a product definition is a known one with measurements more, in any order."""
    before, after = ({each["name"]: each for each in of["measurements"]} for of in (known, wanted))
    rest = [{key: value for key, value in of.items() if key != "measurements"} for of in (known, wanted)]
    return rest[0] == rest[1] and all(after.get(name) == measurement for name, measurement in before.items())


def only_units_differ(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two definitions are the same but for the units of their measurements, which say nothing of the values."""
    return _unitless(known) == _unitless(wanted)


def _unitless(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {**definition, "measurements": [each | {"units": ""} for each in definition.get("measurements", [])]}


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """One init at a time: a polled advisory lock, as a waiting query would hold up `create index concurrently`."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(text("select pg_try_advisory_lock(hashtext(:lock))"), {"lock": LOCK}):
            time.sleep(0.2)
        try:
            yield
        finally:
            connection.execute(text("select pg_advisory_unlock(hashtext(:lock))"), {"lock": LOCK})


def _make_odc_schema(index: Index) -> None:
    with index.engine.begin() as connection:
        version = int(connection.scalar(text("show server_version_num")) or 0)
        _drop_unfinished(connection, index.driver)
    # ODC adds each product's search indexes to its table descriptions, and would make them in the next new database.
    for table in METADATA.tables.values():
        table.indexes.difference_update({each for each in table.indexes if str(each.name).startswith("dix_")})
    with_roles = index.driver == "postgres" or version >= FIRST_WITH_ADMIN_GRANTS
    try:
        index.dc.index.init_db(with_permissions=with_roles)
    except IndexSetupError as error:
        raise RequestError(f"the database cannot be made an ODC index: {error}") from error


def _drop_unfinished(connection: Connection, driver: str) -> None:
    """Drop an ODC schema without products where ours is missing: an init was killed, and ODC never completes one."""
    odc, products = ODC_SCHEMAS[driver], "dataset_type" if driver == "postgres" else "product"
    exists = text("select to_regclass(:table) is not null")
    if connection.scalar(exists, {"table": f"{SCHEMA}.revision"}):
        return
    if connection.scalar(exists, {"table": f"{odc}.{products}"}) and connection.scalar(
        text(f"select exists (select from {odc}.{products})")
    ):
        return
    connection.execute(text(f"drop schema if exists {odc} cascade"))


def _documents(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text()) for path in sorted(folder.glob(pattern))]
