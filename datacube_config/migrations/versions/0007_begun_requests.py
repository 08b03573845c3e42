"""When the run of a request began: what waits for Prefect or a worker after its start is not charged."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the moment; of requests from before, their start is the best that is known."""
    op.add_column("request", sa.Column("began_at", sa.DateTime(timezone=True)), schema="neocube")
    op.execute("update neocube.request set began_at = started_at")


def downgrade() -> None:
    """Drop the moment."""
    op.drop_column("request", "began_at", schema="neocube")
