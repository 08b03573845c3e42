"""Where there are scenes, for a map."""

from typing import Any

from sqlalchemy import func, select

from datacube_config.connection import Index
from datacube_config.schema import known_item

STEP_DEGREES = 0.25
MOST_BOXES = 3000


def scene_boxes(index: Index) -> list[dict[str, Any]]:
    """Boxes round scenes of about the same place with how many each has, and from when to when.

    Bounds are west, south, east, north in degrees, east beyond 180 across the antimeridian.
    """
    outwards = (func.floor, func.floor, func.ceil, func.ceil)
    edges = [
        outward(known_item.c.bounds[number] / STEP_DEGREES) * STEP_DEGREES for number, outward in enumerate(outwards, 1)
    ]
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
