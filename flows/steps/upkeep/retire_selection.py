"""What an operator asks to retire, and what of the index that is and what depends on it, in temporary tables."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from datacube_config.connection import Index
from flows.steps.areas import find_area
from flows.steps.index.index_rows import SCENE_KIND, dataset_rows, lineage_rows
from products.area import Area
from products.covered_ground import covered_ground, with_bends
from products.errors import RequestError
from products.formula import near
from products.period import Period, parse_period
from products.template import CELL_KIND

CHECKED_AT_ONCE = 500
TABLES = """
create temporary table selected (id uuid primary key, kind text, product text, family text, label text) on commit drop;
create temporary table dependent (like selected including all) on commit drop
"""
# A cell lies in a period if all of it does; a scene by its sensing time.
SELECT = """
insert into selected select {columns} from {rows} r where r.archived is null and r.kind = any(:kinds)
and (cast(:scenes as text[]) is null or r.id::text = any(:scenes) or r.facts ->> 'neocube:item_id' = any(:scenes))
and (cast(:acquisition as text) is null or
    (r.facts ->> 'neocube:acquisition' like :acquisition and r.facts ->> 'neocube:rendition' like :rendition))
and (cast(:product as text) is null or r.product = :product)
and (cast(:version as integer) is null or (r.facts ->> 'neocube:product_version')::integer = :version)
and (cast(:start as timestamptz) is null or (
    coalesce(r.facts ->> 'dtr:start_datetime', r.facts ->> 'datetime')::timestamptz >= :start
    and coalesce(r.facts ->> 'dtr:end_datetime', r.facts ->> 'datetime')::timestamptz < :end))
and (cast(:north as float8) is null or (
    (r.metadata #>> '{{extent,lat,begin}}')::float8 <= :north and (r.metadata #>> '{{extent,lat,end}}')::float8 >= :south))
and (cast(:west as float8) is null or exists (
    select from (values (0), (360)) as turn (degrees)
    where (r.metadata #>> '{{extent,lon,begin}}')::float8 - degrees <= :east
    and (r.metadata #>> '{{extent,lon,end}}')::float8 - degrees >= :west))
on conflict do nothing
"""
COLUMNS = """r.id, r.kind, r.product,
case when r.kind = 'neocube_cell' then coalesce(r.facts ->> 'odc:product_family', 'cell') else 'scene' end,
coalesce(r.facts ->> 'neocube:item_id', r.metadata ->> 'label', r.id::text)"""
DEPENDENTS = """
with recursive below (id) as (
    select e.derived from {lineage} e join selected s on s.id = e.source
    union select e.derived from {lineage} e join below b on b.id = e.source
)
insert into dependent select {columns} from below b join {rows} r on r.id = b.id
where r.archived is null and not exists (select from selected s where s.id = r.id)
"""
# What comes from cells by way of a model learned from them stays: the model does too.
TAKE_DERIVED_CELLS = """
with recursive edge as (
    select e.derived, e.source from {lineage} e join dependent d on d.id = e.derived and d.family <> 'model'
), below (id) as (
    select e.derived from edge e join selected s on s.id = e.source
    union select e.derived from edge e join below b on b.id = e.source
)
insert into selected select d.* from dependent d join below b on b.id = d.id
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to retire: `scenes`, `renditions`, a source product or a product; `area` and `period` narrow it, or stand alone."""

    scenes: tuple[str, ...] = ()
    renditions: tuple[str, ...] = ()
    product: str | None = None
    version: int | None = None
    source_product: str | None = None
    area: str | None = None
    period: str | None = None
    reason: str = "retired by the operator"

    def __post_init__(self) -> None:
        named = [each for each in (self.scenes, self.renditions, self.product, self.source_product) if each]
        if not (named or self.area or self.period):
            raise RequestError(
                "nothing is selected: expected --scene, --rendition, --product, --source-product, --area or --period"
            )
        if len(named) > 1:
            raise RequestError(
                "expected one of --scene, --rendition, --product and --source-product, got several: retire one at a time"
            )
        if self.version is not None and self.product is None:
            raise RequestError(f"--version {self.version}: expected the --product that it is a version of")
        for each in self.renditions:
            if each.count("=") != 1 or not all(each.split("=")):
                raise RequestError(
                    f"--rendition: expected ACQUISITION=RENDITION as `neocube scenes` lists them, * for any, got {each!r}"
                )

    @property
    def is_of_product(self) -> bool:
        """Whether what is derived from it is retired with it."""
        return self.product is not None


def select_datasets(connection: Connection, index: Index, selection: Selection, others: Collection[str] = ()) -> None:
    """Fill the tables `selected` and `dependent` (of the active rows; dropped at the end of the transaction); the index does not know `others`."""
    connection.execute(text(TABLES))
    area = find_area(selection.area) if selection.area else None
    values = _values(index, selection, area, others)
    statement = text(SELECT.format(columns=COLUMNS, rows=dataset_rows(index)))
    for rendition in selection.renditions or (None,):
        acquisition, _, name = rendition.partition("=") if rendition else ("", "", "")
        like = {"acquisition": _like(acquisition), "rendition": _like(name)} if rendition else {}
        connection.execute(statement, {"acquisition": None, "rendition": None, **values, **like})
    if area:
        _drop_outside(connection, index, area)
    derive = DEPENDENTS.format(columns=COLUMNS, lineage=lineage_rows(index), rows=dataset_rows(index))
    connection.execute(text(derive))
    if selection.is_of_product:
        connection.execute(text(TAKE_DERIVED_CELLS.format(lineage=lineage_rows(index))))
        connection.execute(text("delete from dependent d using selected s where s.id = d.id"))
    _require_scenes(connection, selection)


def _values(index: Index, selection: Selection, area: Area | None, others: Collection[str]) -> dict[str, Any]:
    period: Period | None = parse_period(selection.period) if selection.period else None
    west, south, east, north = with_bends(area.geometry.boundingbox.bbox) if area else (None,) * 4
    product = selection.product or selection.source_product
    kinds = [SCENE_KIND, CELL_KIND]
    if product is not None:
        kinds = [_kind_of(index, product, others, is_source=selection.source_product is not None)]
    elif selection.scenes or selection.renditions:
        kinds = [SCENE_KIND]
    return {
        "kinds": kinds,
        "scenes": list(selection.scenes) or None,
        "product": product,
        "version": selection.version,
        "start": period.start if period else None,
        "end": period.end if period else None,
        "north": north,
        "south": south,
        "west": west,
        "east": east,
    }


def _kind_of(index: Index, name: str, others: Collection[str], *, is_source: bool) -> str:
    """The metadata type of a product; RequestError unless it is one of ours, of the right sort."""
    kinds = dict.fromkeys(others, CELL_KIND)
    kinds |= {each.name: each.metadata_type.name for each in index.dc.index.products.get_all()}
    fitting = sorted(each for each, kind in kinds.items() if (kind != CELL_KIND) == is_source)
    if name in fitting:
        return str(kinds[name])
    option, other = ("--source-product", "--product") if is_source else ("--product", "--source-product")
    hint = f"; it goes with {other}" if name in kinds else near(name, fitting)
    raise RequestError(f"{option} {name!r}: expected one of {', '.join(fitting) or 'none, nothing is published'}{hint}")


def _drop_outside(connection: Connection, index: Index, area: Area) -> None:
    """Leave what meets the area itself, not only its latitudes."""
    streamed = text("select id from selected").execution_options(stream_results=True, yield_per=CHECKED_AT_ONCE)
    with connection.execute(streamed) as rows:
        for some in rows.scalars().partitions():
            outside = list(_outside(index, list(some), area))
            connection.execute(text("delete from selected where id = any(:ids)"), {"ids": outside})


def _outside(index: Index, ids: list[UUID], area: Area) -> Iterator[UUID]:
    for dataset in index.dc.index.datasets.bulk_get(ids):
        extent = dataset.extent
        if extent is not None and not area.meets(covered_ground(extent).geom):
            yield dataset.id


def _require_scenes(connection: Connection, selection: Selection) -> None:
    """RequestError for a scene that is asked for by name and is not active."""
    for name in selection.scenes:
        found = connection.scalar(
            text("select 1 from selected where id::text = :name or label = :name"), {"name": name}
        )
        if found is None and not (selection.area or selection.period):
            raise RequestError(
                f"no active scene {name!r}: expected the id or the item_id of one, as `neocube scenes` lists them"
            )


def _like(pattern: str) -> str:
    """A pattern with * as SQL's LIKE has it."""
    return pattern.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_").replace("*", "%")
