"""Tables of the archives: known items, harvests, rate limits, radiometric verdicts, mirrors and retirements."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "neocube"
NOW = sa.func.now()
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.add_column("quarantine", sa.Column("retry_at", INSTANT), schema=SCHEMA)
    op.create_table(
        "known_item",
        sa.Column("archive", sa.Text, primary_key=True),
        sa.Column("collection", sa.Text, primary_key=True),
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("dataset_id", sa.Uuid),
        sa.Column("note", sa.Text),
        sa.Column("acquired", INSTANT),
        sa.Column("bounds", sa.ARRAY(sa.Float)),
        sa.Column("first_seen", INSTANT, nullable=False, server_default=NOW),
        sa.Column("last_seen", INSTANT, nullable=False, server_default=NOW),
        sa.Column("seen_by", sa.Uuid),
        sa.Column("gone_at", INSTANT),
        schema=SCHEMA,
    )
    op.create_table(
        "harvest",
        sa.Column("archive", sa.Text, primary_key=True),
        sa.Column("collection", sa.Text, primary_key=True),
        sa.Column("area", sa.Text, primary_key=True),
        sa.Column("period", sa.Text, primary_key=True),
        sa.Column("mark", sa.Text),
        sa.Column("high_water", INSTANT),
        sa.Column("listed_at", INSTANT),
        sa.Column("signature", sa.Text),
        sa.Column("n_items", sa.Integer),
        sa.Column("next_page", JSONB),
        sa.Column("updated", INSTANT, nullable=False, server_default=NOW),
        schema=SCHEMA,
    )
    op.create_table(
        "rate_limit",
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("tokens", sa.Float, nullable=False),
        sa.Column("filled_at", INSTANT, nullable=False, server_default=NOW),
        sa.Column("closed_until", INSTANT),
        sa.Column("closed_because", sa.Text),
        schema=SCHEMA,
    )
    op.create_table(
        "radiometric_verdict",
        sa.Column("archive", sa.Text, primary_key=True),
        sa.Column("collection", sa.Text, primary_key=True),
        sa.Column("baseline", sa.Text, primary_key=True),
        sa.Column("claim", sa.Text, primary_key=True),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("evidence", JSONB, nullable=False),
        sa.Column("checked_at", INSTANT, nullable=False, server_default=NOW),
        schema=SCHEMA,
    )
    op.create_table(
        "mirror_file",
        sa.Column("dataset_id", sa.Uuid, primary_key=True),
        sa.Column("band", sa.Text, primary_key=True),
        sa.Column("mirror", sa.Text, primary_key=True),
        sa.Column("href", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("clip", JSONB),
        sa.Column("encoding", sa.Text, nullable=False, server_default="source"),
        sa.Column("copied_at", INSTANT, nullable=False, server_default=NOW),
        schema=SCHEMA,
    )
    op.create_table(
        "retirement",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("selection", JSONB, nullable=False),
        sa.Column("dataset_ids", sa.ARRAY(sa.Uuid), nullable=False),
        sa.Column("promoted_ids", sa.ARRAY(sa.Uuid), nullable=False),
        sa.Column("pointers", JSONB, nullable=False),
        sa.Column("applied_at", INSTANT, nullable=False, server_default=NOW),
        sa.Column("restored_at", INSTANT),
        sa.Column("swept_at", INSTANT),
        schema=SCHEMA,
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("retirement", "mirror_file", "radiometric_verdict", "rate_limit", "harvest", "known_item"):
        op.drop_table(table, schema=SCHEMA)
    op.drop_column("quarantine", "retry_at", schema=SCHEMA)
