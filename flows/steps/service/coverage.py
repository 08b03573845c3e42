"""Where there are scenes, for a map."""

from typing import Any

from sqlalchemy import func, select

from datacube_config.connection import Index
from datacube_config.schema import known_item

STEP_DEGREES = 0.25
MOST_BOXES = 3000


def scene_boxes(index: Index) -> list[dict[str, Any]]:
    """Boxes of about the same place (west, south, east, north in degrees) with how many scenes each has, and from when to when."""
    edges = [func.round(known_item.c.bounds[number] / STEP_DEGREES) * STEP_DEGREES for number in (1, 2, 3, 4)]
    counted = (func.count(), func.min(known_item.c.acquired), func.max(known_item.c.acquired))
    query = (
        select(*edges, *counted)
        .where(known_item.c.dataset_id.is_not(None), known_item.c.bounds.is_not(None), known_item.c.gone_at.is_(None))
        .group_by(*edges)
        .order_by(func.count().desc())
        .limit(MOST_BOXES)
    )
    with index.engine.connect() as connection:
        rows = connection.execute(query).all()
    return [
        {"bounds": [float(value) for value in row[:4]], "scenes": row[4], "first": row[5], "last": row[6]}
        for row in rows
    ]
