"""The items that their archives no longer have."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from datacube_config.connection import Index
from datacube_config.schema import known_item


def gone_items(index: Index, archive: str | None = None) -> Iterator[dict[str, Any]]:
    """Every item that its archive no longer has: archive, collection, item id, scene, since when."""
    query = select(known_item).where(known_item.c.gone_at.is_not(None))
    if archive is not None:
        query = query.where(known_item.c.archive == archive)
    with index.engine.connect() as connection:
        for row in connection.execution_options(yield_per=500).execute(query.order_by(known_item.c.gone_at)):
            yield {
                "archive": row.archive,
                "collection": row.collection,
                "id": row.item_id,
                "dataset_id": str(row.dataset_id) if row.dataset_id else None,
                "gone_at": row.gone_at.isoformat(),
            }
