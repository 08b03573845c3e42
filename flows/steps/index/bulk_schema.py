"""The tables of ODC that are written without its API, as they were when that was checked against the API."""

from collections.abc import Mapping
from importlib.metadata import version

from sqlalchemy import Connection, text

CHECKED_ODC = "1.9.20"

_MOMENT = "timestamp with time zone"
_LOCATION_ID = "nextval('agdc.dataset_location_id_seq'::regclass)"
_AGDC = {
    "agdc.dataset": (
        "id uuid not null",
        "metadata_type_ref smallint not null",
        "dataset_type_ref smallint not null",
        "metadata jsonb not null",
        f"archived {_MOMENT}",
        f"added {_MOMENT} not null default now()",
        "added_by name not null default CURRENT_USER",
        f"updated {_MOMENT}",
    ),
    "agdc.dataset_location": (
        f"id integer not null default {_LOCATION_ID}",
        "dataset_ref uuid not null",
        "uri_scheme character varying not null",
        "uri_body character varying not null",
        f"added {_MOMENT} not null default now()",
        "added_by name not null default CURRENT_USER",
        f"archived {_MOMENT}",
    ),
}
_ODC = {
    "odc.dataset": (
        "id uuid not null",
        "metadata_type_ref smallint not null",
        "product_ref smallint not null",
        "metadata jsonb not null",
        f"archived {_MOMENT}",
        f"added {_MOMENT} not null default now()",
        "added_by text not null default CURRENT_USER",
        f"updated {_MOMENT} not null default now()",
        "uri_scheme character varying",
        "uri_body character varying",
    ),
    "odc.dataset_search_string": (
        "dataset_ref uuid not null",
        "search_key character varying not null",
        "search_val character varying",
    ),
    "odc.dataset_search_num": (
        "dataset_ref uuid not null",
        "search_key character varying not null",
        "search_val numrange",
    ),
    "odc.dataset_search_datetime": (
        "dataset_ref uuid not null",
        "search_key character varying not null",
        "search_val tstzrange",
    ),
}
CHECKED: Mapping[str, Mapping[str, tuple[str, ...]]] = {"postgres": _AGDC, "postgis": _ODC}

_COLUMNS = text("""
    select a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
        || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
    from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = to_regclass(:table) and a.attnum > 0 and not a.attisdropped order by a.attnum
""")
# bit 2 of tgtype: fires on INSERT
_TRIGGERS = text(
    "select tgname from pg_trigger where tgrelid = to_regclass(:table) and not tgisinternal and tgtype & 4 <> 0"
)


def spatial_table(epsg: int) -> tuple[str, tuple[str, ...]]:
    """The postgis driver's spatial index of one CRS: its table and columns."""
    return f"odc.spatial_{epsg}", ("dataset_ref uuid not null", f"extent geometry(MultiPolygon,{epsg}) not null")


def schema_difference(connection: Connection, tables: Mapping[str, tuple[str, ...]]) -> str | None:
    """What differs from the checked ODC version, columns and triggers, in words; None where nothing does."""
    installed = version("datacube")
    if installed != CHECKED_ODC:
        return f"ODC is {installed}, checked was {CHECKED_ODC}"
    for table, expected in tables.items():
        found = tuple(connection.scalars(_COLUMNS, {"table": table}))
        if found != expected:
            unlike = sorted(set(found) ^ set(expected)) or ["order of the columns"]
            return f"{table} differs in {'; '.join(unlike)}"
        triggers = list(connection.scalars(_TRIGGERS, {"table": table}))
        if triggers:
            return f"{table} has a trigger on insert: {', '.join(triggers)}"
    return None
