"""The tables of the `neocube` schema: what ODC cannot say about scenes and cells."""

from sqlalchemy import ARRAY, Column, DateTime, Integer, MetaData, Table, Text, UniqueConstraint, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "neocube"
REVISION = "0001"  # of datacube_config.migrations

metadata = MetaData(schema=SCHEMA)


def _moment(name: str, *, primary_key: bool = False) -> "Column[object]":
    """A UTC instant that defaults to the transaction's."""
    return Column(name, DateTime(timezone=True), primary_key=primary_key, nullable=False, server_default=func.now())


quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("archive", Text, nullable=False),
    Column("collection", Text),
    Column("item_id", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("document", JSONB),
    _moment("since"),
    _moment("last_tried"),
    Column("attempts", Integer, nullable=False, server_default="1"),
    UniqueConstraint("archive", "item_id", name="quarantine_item"),
)

archive_reason = Table(
    "archive_reason",
    metadata,
    Column("dataset_id", Uuid, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    _moment("at", primary_key=True),
)

product_binding = Table(
    "product_binding",
    metadata,
    Column("product", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
)

cube_pointer = Table(
    "cube_pointer",
    metadata,
    Column("product", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("area", Text, primary_key=True),
    Column("crs", Text, primary_key=True),
    Column("snapshot_url", Text, nullable=False),
    Column("cell_ids", ARRAY(Uuid), nullable=False),
    _moment("updated"),
)

follow_up = Table(
    "follow_up",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("parameters", JSONB, nullable=False),
    _moment("requested_at"),
    Column("done_at", DateTime(timezone=True)),
    UniqueConstraint("kind", "subject", name="follow_up_subject"),
)
