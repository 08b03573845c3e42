"""Quarantine by collection too: the items of two collections may have one id, as those of Landsat reflectance and temperature have."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the collection part of the key, empty where there is none."""
    op.execute("update neocube.quarantine set collection = '' where collection is null")
    op.alter_column("quarantine", "collection", nullable=False, server_default=sa.text("''"), schema="neocube")
    op.drop_constraint("quarantine_item", "quarantine", schema="neocube")
    op.create_unique_constraint("quarantine_item", "quarantine", ["archive", "collection", "item_id"], schema="neocube")


def downgrade() -> None:
    """Leave the collection out; the last tried item of an id stays."""
    op.execute(
        "delete from neocube.quarantine a using neocube.quarantine b where a.archive = b.archive "
        "and a.item_id = b.item_id and (a.last_tried, a.id) < (b.last_tried, b.id)"
    )
    op.drop_constraint("quarantine_item", "quarantine", schema="neocube")
    op.create_unique_constraint("quarantine_item", "quarantine", ["archive", "item_id"], schema="neocube")
    op.alter_column("quarantine", "collection", nullable=True, server_default=None, schema="neocube")
