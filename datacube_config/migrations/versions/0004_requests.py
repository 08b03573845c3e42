"""Requests of products, and the audit log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATES = "state in ('asked', 'approved', 'running', 'done', 'failed', 'cancelled', 'refused')"


def upgrade() -> None:
    """Make both tables and their indexes."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "request",
        sa.Column("id", sa.Uuid, primary_key=True),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("asked_by", "project", "product", "recipe", "area", "period")
        ),
        sa.Column("train", sa.Text),
        sa.Column("key", sa.Uuid, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("same_as", sa.Uuid, sa.ForeignKey("neocube.request.id")),
        sa.Column("plan", JSONB, nullable=False),
        sa.Column("to_build", ARRAY(sa.Uuid), nullable=False),
        sa.Column("core_hours", sa.Float, nullable=False),
        sa.Column("charged_core_hours", sa.Float),
        sa.Column("price", sa.Float, nullable=False),
        sa.Column("charged", sa.Float),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("asked_at", moment, nullable=False, server_default=sa.func.now()),
        *(sa.Column(name, moment) for name in ("approved_at", "started_at", "ended_at")),
        sa.Column("run_id", sa.Text),
        sa.Column("cause", sa.Text),
        sa.Column("result", JSONB),
        sa.CheckConstraint(STATES, name="request_state"),
        schema="neocube",
    )
    op.create_index("request_key", "request", ["key"], schema="neocube")
    op.create_index("request_asked_by", "request", ["asked_by", "asked_at"], schema="neocube")
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", moment, nullable=False, server_default=sa.func.now()),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("did", sa.Text, nullable=False),
        sa.Column("request_id", sa.Uuid, sa.ForeignKey("neocube.request.id")),
        sa.Column("detail", JSONB),
        schema="neocube",
    )
    op.create_index("audit_request", "audit", ["request_id"], schema="neocube")


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("audit", schema="neocube")
    op.drop_table("request", schema="neocube")
