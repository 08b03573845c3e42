"""One row for each cube: which snapshot of a product, version, area and CRS is the current one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from datacube_config.connection import Index
from datacube_config.schema import cube_pointer

CLOSED = """
select pointer from neocube.retirement, jsonb_array_elements(pointers) pointer
where pointer @> cast(:key as jsonb) order by applied_at desc limit 1
"""


@dataclass(frozen=True, slots=True)
class CubeKey:
    """What there is one cube of."""

    product: str
    version: int
    area: str
    crs: str

    @property
    def columns(self) -> dict[str, str | int]:
        """The key as columns of its row."""
        return {"product": self.product, "version": self.version, "area": self.area, "crs": self.crs}


@dataclass(frozen=True, slots=True)
class HeldCells:
    """A snapshot and the cells that it was put together from."""

    snapshot_url: str
    cell_ids: frozenset[UUID]


def current_cube(index: Index, key: CubeKey) -> HeldCells | None:
    """The snapshot that is the current one."""
    columns = cube_pointer.c
    named = (columns[name] == value for name, value in key.columns.items())
    with index.engine.connect() as connection:
        row = connection.execute(select(columns.snapshot_url, columns.cell_ids).where(*named)).one_or_none()
    return None if row is None else HeldCells(row[0], frozenset(row[1]))


def last_cube(index: Index, key: CubeKey) -> HeldCells | None:
    """The current snapshot; of a cube that a retirement closed the one that it had then."""
    if current := current_cube(index, key):
        return current
    with index.engine.connect() as connection:
        row: Mapping[str, Any] | None = connection.scalar(text(CLOSED), {"key": json.dumps(key.columns)})
    return None if row is None else HeldCells(row["snapshot_url"], frozenset(map(UUID, row["cell_ids"])))


def point(index: Index, key: CubeKey, url: str, cell_ids: Sequence[UUID]) -> None:
    """Make a snapshot the current one."""
    content: dict[str, Any] = {"snapshot_url": url, "cell_ids": cell_ids, "updated": datetime.now(UTC)}
    statement = insert(cube_pointer).values(**key.columns, **content)
    with index.engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=list(key.columns), set_=content))
