"""Whom to credit for a cube: the providers of all scenes and rasters that its cells descend from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text

from datacube_config.connection import Index
from flows.steps.index.index_rows import dataset_rows, lineage_rows
from products.errors import RequestError
from products.sensors import SENSORS
from products.template import CELL_KIND

# https://www.usgs.gov/centers/eros/data-citation and the Copernicus Sentinel data legal notice, which wants the years.
CREDIT_LINES: Final = {
    "landsat-c2-l2": "Landsat Collection 2 Level-2 data of {years} courtesy of the U.S. Geological Survey",
    "sentinel-2-l2a": "Contains modified Copernicus Sentinel data {years}",
}
SIMULATED: Final = "Simulated data made by neocube: they show no real place"
COLLECTION_OF: Final = {sensor.product: sensor.collection for sensor in SENSORS.values()}
SOURCES: Final = """
with recursive made (id) as (
    select unnest(cast(:ids as uuid[])) union select e.source from {lineage} e join made m on e.derived = m.id
)
select distinct r.product, r.facts ->> 'neocube:credit' as credit, left(r.facts ->> 'datetime', 4) as year,
    coalesce(cast(r.facts ->> 'neocube:simulated' as boolean), false) as is_simulated
from made m join {rows} r on r.id = m.id where r.kind <> :kind order by 1, 2, 3, 4
"""
KNOWN: Final = "select r.id from {rows} r where r.id = any(cast(:ids as uuid[]))"


@dataclass(frozen=True, slots=True)
class Source:
    """A source product of some cells in one year; `credit` is what the index says of it, if it does; `is_simulated`: it shows no real place."""

    product: str
    credit: str | None
    year: str
    is_simulated: bool = False


def credit_lines(sources: Iterable[Source]) -> list[str]:
    """One line for each provider, sorted; a product that no one has given a credit is named with that."""
    years: dict[str, set[str]] = {}
    lines = set()
    for source in sources:
        collection = COLLECTION_OF.get(source.product)
        if source.is_simulated:
            lines.add(SIMULATED)
        elif source.credit:
            lines.add(source.credit)
        elif collection:
            years.setdefault(collection, set()).add(source.year)
        else:
            lines.add(f"{source.product}: the index states no credit for this product, ask who made it")
    lines |= {CREDIT_LINES[name].format(years=", ".join(sorted(of))) for name, of in years.items()}
    return sorted(lines)


def sources_of(index: Index, cells: Sequence[UUID]) -> list[Source]:
    """What cells descend from, through models too; RequestError if the index has lost a cell, as its sources are lost with it."""
    rows, lineage = dataset_rows(index), lineage_rows(index)
    ids = [str(cell) for cell in cells]
    with index.engine.connect() as connection:
        known = set(connection.execute(text(KNOWN.format(rows=rows)), {"ids": ids}).scalars())
        lost = [cell for cell in cells if cell not in known]
        if lost:
            raise RequestError(
                f"expected cells that the index knows, {len(lost)} of {len(cells)} are purged, the first {lost[0]}: "
                "whom to credit is no longer known; build the cube again"
            )
        query = text(SOURCES.format(rows=rows, lineage=lineage))
        return [Source(*row) for row in connection.execute(query, {"ids": ids, "kind": CELL_KIND})]
