"""What the index knows of some scenes, asked for a batch at a time, by indexes that answer the same at any size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from datacube_config.connection import ODC_SCHEMAS, Index
from flows.steps.index.scene_lookup import add_place_index

ACQUISITION = r"(d.metadata #>> '{properties,neocube\:acquisition}')"
FACTS = rf"""
    d.id, {ACQUISITION}, d.metadata #>> '{{properties,neocube\:rendition}}', d.metadata #>> '{{properties,neocube\:archive}}',
    coalesce(d.metadata #>> '{{properties,neocube\:slice}}', ''), d.archived is null
"""
# ODC's own index of acquisitions, one a product, holds the active datasets only.
ARCHIVED_INDEX = f"""
    create index if not exists neocube_archived_acquisition
    on agdc.dataset (dataset_type_ref, {ACQUISITION.replace("d.", "")}) where archived is not null
"""


@dataclass(frozen=True, slots=True)
class KnownRendition:
    """One dataset of an acquisition, active or archived; `slice`: empty, or which part of a pass it is."""

    id: UUID
    acquisition: str
    rendition: str
    archive: str
    slice: str
    is_active: bool


def add_lookup_indexes(connection: Connection, driver: str) -> None:
    """The indexes of ODC's tables that these questions need and ODC does not make."""
    if driver == "postgres":
        connection.execute(text(ARCHIVED_INDEX))
    else:
        add_place_index(connection)


def known_ids(index: Index, ids: Iterable[UUID]) -> set[UUID]:
    """Which of some dataset ids are in the index, active or archived."""
    wanted = list(ids)
    if not wanted:
        return set()
    with index.engine.connect() as connection:
        query = text(f"select id from {ODC_SCHEMAS[index.driver]}.dataset where id = any(:ids)")
        return set(connection.scalars(query, {"ids": wanted}))


def known_renditions(index: Index, acquisitions: Mapping[str, Sequence[str]]) -> dict[str, list[KnownRendition]]:
    """By product: what the index has of some acquisitions, archived ones included."""
    found = {}
    with index.engine.connect() as connection:
        connection.execute(text("set local enable_seqscan = off"))
        for name, keys in acquisitions.items():
            product = index.dc.index.products.get_by_name(name)
            if product is not None:
                rows = connection.execute(
                    text(_question(index.driver, int(product.id))), {"keys": list(dict.fromkeys(keys))}
                )
                found[name] = [KnownRendition(*row) for row in rows]
    return found


def _question(driver: str, product: int) -> str:
    """Each key by itself, which `offset 0` says: without statistics of it PostgreSQL would rather read the whole table."""
    if driver == "postgis":
        known = (
            f"select {FACTS} from odc.dataset_search_string s join odc.dataset d on d.id = s.dataset_ref "
            f"where s.search_key = 'acquisition' and s.search_val = wanted.key and d.product_ref = {product} offset 0"
        )
    else:
        # The number stands in the text, since a partial index answers to no parameter.
        each = f"select {FACTS} from agdc.dataset d where d.dataset_type_ref = {product} and {ACQUISITION} = wanted.key"
        known = f"({each} and d.archived is null offset 0) union all ({each} and d.archived is not null offset 0)"
    return f"select known.* from unnest(cast(:keys as text[])) as wanted (key), lateral ({known}) known"
