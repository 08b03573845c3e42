"""When the sweep of a retirement began: what its store lacks since is swept, and no sign that another store is asked."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the moment, null where no sweep began."""
    op.add_column("retirement", sa.Column("sweep_began_at", sa.DateTime(timezone=True)), schema="neocube")


def downgrade() -> None:
    """Drop the moment."""
    op.drop_column("retirement", "sweep_began_at", schema="neocube")
