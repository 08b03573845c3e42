"""First tables: quarantine, archive_reason, product_binding, cube_pointer, follow_up."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "neocube"
NOW = sa.func.now()
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("archive", sa.Text, nullable=False),
        sa.Column("collection", sa.Text),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("document", JSONB),
        sa.Column("since", INSTANT, nullable=False, server_default=NOW),
        sa.Column("last_tried", INSTANT, nullable=False, server_default=NOW),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="1"),
        sa.UniqueConstraint("archive", "item_id", name="quarantine_item"),
        schema=SCHEMA,
    )
    op.create_table(
        "archive_reason",
        sa.Column("dataset_id", sa.Uuid, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", INSTANT, primary_key=True, nullable=False, server_default=NOW),
        schema=SCHEMA,
    )
    op.create_table(
        "product_binding",
        sa.Column("product", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.Text, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "cube_pointer",
        sa.Column("product", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("area", sa.Text, primary_key=True),
        sa.Column("crs", sa.Text, primary_key=True),
        sa.Column("snapshot_url", sa.Text, nullable=False),
        sa.Column("cell_ids", sa.ARRAY(sa.Uuid), nullable=False),
        sa.Column("updated", INSTANT, nullable=False, server_default=NOW),
        schema=SCHEMA,
    )
    op.create_table(
        "follow_up",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("requested_at", INSTANT, nullable=False, server_default=NOW),
        sa.Column("done_at", INSTANT),
        sa.UniqueConstraint("kind", "subject", name="follow_up_subject"),
        schema=SCHEMA,
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("follow_up", "cube_pointer", "product_binding", "archive_reason", "quarantine"):
        op.drop_table(table, schema=SCHEMA)
