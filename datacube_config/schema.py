"""The tables of the `neocube` schema: what ODC cannot say about scenes and cells."""

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "neocube"
REVISION = "0007"  # of datacube_config.migrations

metadata = MetaData(schema=SCHEMA)


def _moment(name: str, *, primary_key: bool = False) -> "Column[datetime]":
    """A UTC instant that defaults to the transaction's."""
    return Column(name, DateTime(timezone=True), primary_key=primary_key, nullable=False, server_default=func.now())


quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("archive", Text, nullable=False),
    Column("collection", Text, nullable=False, server_default=""),  # archives give one id to items of two collections
    Column("item_id", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("document", JSONB),
    _moment("since"),
    _moment("last_tried"),
    Column("attempts", Integer, nullable=False, server_default="1"),
    Column("retry_at", DateTime(timezone=True)),  # null: only on request
    UniqueConstraint("archive", "collection", "item_id", name="quarantine_item"),
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

# What an archive was seen to hold: the digest of each item as it came, and when it went.
known_item = Table(
    "known_item",
    metadata,
    Column("archive", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("dataset_id", Uuid),  # null: part of another scene (note), or in quarantine
    Column("note", Text),
    Column("acquired", DateTime(timezone=True)),
    Column("bounds", ARRAY(Float)),  # west, south, east, north in degrees; east beyond 180 across the antimeridian
    _moment("first_seen"),
    _moment("last_seen"),
    Column("seen_by", Uuid),  # the run that last saw it
    Column("gone_at", DateTime(timezone=True)),
)
Index("known_item_gone", known_item.c.archive, postgresql_where=known_item.c.gone_at.is_not(None))

harvest = Table(
    "harvest",
    metadata,
    Column("archive", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("area", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("mark", Text),  # updated, created or datetime: the property that high_water is of
    Column("high_water", DateTime(timezone=True)),
    Column("listed_at", DateTime(timezone=True)),
    Column("signature", Text),  # of the files of a local archive, once each of its items was taken
    Column("n_items", Integer),
    Column("next_page", JSONB),
    _moment("updated"),
)

rate_limit = Table(
    "rate_limit",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("tokens", Float, nullable=False),
    _moment("filled_at"),
    Column("closed_until", DateTime(timezone=True)),
    Column("closed_because", Text),
)

radiometric_verdict = Table(
    "radiometric_verdict",
    metadata,
    Column("archive", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("baseline", Text, primary_key=True),
    Column("claim", Text, primary_key=True),  # scale and offset as the metadata have them
    Column("verdict", Text, nullable=False),
    Column("evidence", JSONB, nullable=False),
    _moment("checked_at"),
)

mirror_file = Table(
    "mirror_file",
    metadata,
    Column("dataset_id", Uuid, primary_key=True),
    Column("band", Text, primary_key=True),
    Column("mirror", Text, primary_key=True),
    Column("href", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("clip", JSONB),
    Column("encoding", Text, nullable=False, server_default="source"),
    _moment("copied_at"),
)

retirement = Table(
    "retirement",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("selection", JSONB, nullable=False),
    Column("dataset_ids", ARRAY(Uuid), nullable=False),
    Column("promoted_ids", ARRAY(Uuid), nullable=False),  # restored in the place of retired renditions
    Column("pointers", JSONB, nullable=False),  # rows of cube_pointer that it took away
    _moment("applied_at"),
    Column("restored_at", DateTime(timezone=True)),
    Column("swept_at", DateTime(timezone=True)),
    Column("sweep_began_at", DateTime(timezone=True)),
)

# A product that somebody asked for; `same_as` is the request whose outcome it shares.
request = Table(
    "request",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("asked_by", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("area", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("train", Text),
    Column("key", Uuid, nullable=False),  # of the pixels asked for
    Column("state", Text, nullable=False),
    Column("same_as", Uuid, ForeignKey("neocube.request.id")),
    Column("plan", JSONB, nullable=False),  # its cells counted by state
    Column("to_build", ARRAY(Uuid), nullable=False),
    Column("core_hours", Float, nullable=False),  # planned
    Column("charged_core_hours", Float),  # null until it ends
    Column("price", Float, nullable=False),
    Column("charged", Float),
    Column("currency", Text, nullable=False),
    _moment("asked_at"),
    Column("approved_at", DateTime(timezone=True)),
    Column("started_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("run_id", Text),
    Column("cause", Text),
    Column("result", JSONB),
    Column("began_at", DateTime(timezone=True)),  # its run, which may wait long after the start
    CheckConstraint(
        "state in ('asked', 'approved', 'running', 'done', 'failed', 'cancelled', 'refused')", name="request_state"
    ),
)
Index("request_key", request.c.key)
Index("request_asked_by", request.c.asked_by, request.c.asked_at)

# Who did what: signing in, asking, deciding, cancelling, taking away.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _moment("at"),
    Column("by", Text, nullable=False),
    Column("did", Text, nullable=False),
    Column("request_id", Uuid, ForeignKey("neocube.request.id")),
    Column("detail", JSONB),
)
Index("audit_request", audit.c.request_id)
