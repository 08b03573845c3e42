"""Active scenes whose scale and offset the pixels of others contradict: they were taken before that was found out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from datacube_config.connection import Index
from flows.steps.index.index_rows import dataset_rows
from flows.steps.upkeep.archive_listing import Scope, is_inside
from products.radiometric_verdict import BANDS, words

CONTRADICTED = """
select archive, collection, baseline, claim from neocube.radiometric_verdict
where verdict = 'contradicted' and archive = any(:archives) order by 1, 2, 3, 4
"""
OF_THE_BASELINE = """
select i.*, r.facts -> 'neocube:radiometry' as radiometry from indexed i join {rows} r on r.id = i.id
where i.active and i.archive = :archive and i.collection = :collection and split_part(i.rendition, '/', 1) = :baseline
order by i.acquired, i.id
"""
FETCHED_ROWS = 1000


def contradicted_scenes(
    connection: Connection, index: Index, archives: Sequence[str], scope: Scope
) -> Iterator[dict[str, Any]]:
    """Rows of the table `indexed` whose claim of scale and offset has the verdict contradicted by now."""
    statement = text(OF_THE_BASELINE.format(rows=dataset_rows(index)))
    streamed = statement.execution_options(stream_results=True, yield_per=FETCHED_ROWS)
    for key in connection.execute(text(CONTRADICTED), {"archives": list(archives)}).mappings().all():
        with connection.execute(streamed, dict(key)) as found:
            for each in found.mappings():
                row: dict[str, Any] = dict(each)
                if is_inside(row, scope) and _claim(row["radiometry"]) == key["claim"]:
                    yield _scene(row, key["claim"])


def _claim(radiometry: Mapping[str, Any]) -> str | None:
    if not all(band in radiometry for band in BANDS):
        return None
    return words({band: (radiometry[band]["scale"], radiometry[band]["offset"]) for band in BANDS})


def _scene(row: Mapping[str, Any], claim: str) -> dict[str, Any]:
    named = {name: row[name] for name in ("id", "item_id", "product", "acquisition", "rendition")}
    why = f"its reflectance is read as {claim}, which the pixels of other scenes contradict"
    return {"kind": "scene", **named, "datetime": row["acquired"], "why": why}
