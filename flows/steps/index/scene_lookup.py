"""The datasets of an area and a period: by one index of both with PostGIS, by ODC's search elsewhere."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from datacube.model import Dataset, Product, Range
from odc.geo.geom import Geometry
from sqlalchemy import Connection, text

from datacube_config.connection import Index
from flows.steps.index.index_rows import SCENE_KIND
from flows.steps.index.search_boxes import search_boxes
from products.antimeridian import Box
from products.period import Period

_log = logging.getLogger(__name__)

PLACE_INDEX = "neocube_scene_place"
AT_ONCE = 1000
# PostgreSQL takes the time zone of a session for text without one, so its own cast may not stand in an index.
_MOMENT = """
    create or replace function neocube.moment(written text) returns timestamptz
    language sql immutable strict parallel safe set timezone = 'UTC' as 'select written::timestamptz'
"""


def _number(path: str) -> str:
    return f"(metadata #>> '{{extent,{path}}}')::float8"


def _moment(bound: str) -> str:
    return f"neocube.moment(coalesce(metadata #>> '{{properties,dtr:{bound}_datetime}}', metadata #>> '{{properties,datetime}}'))"


_CORNERS = f"point({_number('lon,begin')}, {_number('lat,begin')}), point({_number('lon,end')}, {_number('lat,end')})"
PLACE = f"box({_CORNERS})"
TIME = f"tstzrange({_moment('start')}, {_moment('end')}, '[]')"
PRODUCT = "int4range(product_ref, product_ref, '[]')"


def add_place_index(connection: Connection) -> None:
    """The index of odc.dataset that finds scenes by place, time and product at once."""
    kind = connection.scalar(text("select id from odc.metadata_type where name = :name"), {"name": SCENE_KIND})
    connection.execute(text(_MOMENT))
    connection.exec_driver_sql(
        f"create index if not exists {PLACE_INDEX} on odc.dataset using gist ({PLACE}, {TIME}, {PRODUCT}) "
        f"where metadata_type_ref = {kind}"
    )


def find_datasets(
    index: Index,
    names: Iterable[str],
    period: Period | None,
    area: Geometry | None,
    *,
    archived: bool | None = False,
) -> list[Dataset]:
    """The datasets of some products that may share time with `period` and ground with `area`, each once, in no order.

    None is missing; some may lie only in the box around the area. `archived`: as ODC's search takes it.
    """
    boxes = None if area is None else search_boxes(area)
    by_place = boxes is not None and _has_place_index(index)
    found: dict[str, Dataset] = {}
    for name in names:
        product = index.dc.index.products.get_by_name(name)
        if boxes is not None and by_place and product is not None and product.metadata_type.name == SCENE_KIND:
            datasets = _by_place(index, product, period, boxes, archived)
        else:
            datasets = _by_search(index, name, period, boxes, archived)
        found |= {str(dataset.metadata_doc["id"]): dataset for dataset in datasets}
    return list(found.values())


def count_datasets(index: Index, names: Iterable[str], period: Period, area: Geometry) -> int:
    """How many active datasets of some products may share time and ground: without reading them; some may count twice at the antimeridian."""
    queries = _queries(period, search_boxes(area))
    known = [name for name in names if index.dc.index.products.get_by_name(name) is not None]
    return sum(index.dc.index.datasets.count(product=name, **query) for name in known for query in queries)


def _by_search(
    index: Index, name: str, period: Period | None, boxes: Sequence[Box] | None, archived: bool | None
) -> Iterator[Dataset]:
    for query in _queries(period, boxes):
        yield from index.dc.index.datasets.search(product=name, archived=archived, **query)


def _queries(period: Period | None, boxes: Sequence[Box] | None) -> list[dict[str, Any]]:
    """What ODC's search takes for a time and each box."""
    query: dict[str, Any] = {"time": Range(period.start, period.end)} if period else {}
    if boxes is None:
        return [query]
    return [{**query, "lon": Range(west, east), "lat": Range(south, north)} for west, south, east, north in boxes]


def _by_place(
    index: Index, product: Product, period: Period | None, boxes: Sequence[Box], archived: bool | None
) -> Iterator[Dataset]:
    times = f"and {TIME} && tstzrange(:start, :end, '[]')" if period else ""
    standing = {None: "", False: "and archived is null", True: "and archived is not null"}[archived]
    # `offset 0` keeps each box a question of its own; the numbers stand in the text, as a partial index answers to no parameter.
    question = text(f"""
        select distinct found.id from unnest(cast(:boxes as box[])) as wanted (place), lateral (
            select id from odc.dataset where metadata_type_ref = {int(product.metadata_type.id)} and {PLACE} && wanted.place
            {times} and {PRODUCT} && int4range({int(product.id)}, {int(product.id)}, '[]') {standing} offset 0
        ) found
    """)
    values: dict[str, Any] = {
        "boxes": "{" + ";".join(f"({east},{north}),({west},{south})" for west, south, east, north in boxes) + "}"
    }
    if period:
        values |= {"start": period.start, "end": period.end}
    with index.engine.connect() as connection:
        connection.execute(text("set local enable_seqscan = off"))
        ids = list(connection.scalars(question, values))
    for start in range(0, len(ids), AT_ONCE):
        yield from index.dc.index.datasets.bulk_get(ids[start : start + AT_ONCE])


def _has_place_index(index: Index) -> bool:
    """Whether `neocube init` made it; a database of an older one is searched as ODC does, and a warning says so."""
    if index.driver != "postgis":
        return False
    with index.engine.connect() as connection:
        is_there = connection.scalar(text("select to_regclass(:name) is not null"), {"name": f"odc.{PLACE_INDEX}"})
    if not is_there:
        _log.warning("scenes are searched without an index of place and time, which is slower: run `neocube init`")
    return bool(is_there)
