"""An index of the few known items that are gone: without it, each ingest and reconcile looks at all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    where = sa.text("gone_at is not null")
    op.create_index("known_item_gone", "known_item", ["archive"], schema="neocube", postgresql_where=where)


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("known_item_gone", "known_item", schema="neocube")
