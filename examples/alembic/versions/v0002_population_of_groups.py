"""Groups get a population, and an index to page by it within a domain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

INDEX = "ix_groups_domain_name_population_id"


def upgrade() -> None:
    """Add the column, with a default for the groups that are there, and the index.

    The index keeps writers out while it is made. Where that takes long, give it a revision of its own with
    ``postgresql_concurrently=True`` inside ``op.get_context().autocommit_block()``: it cannot be undone with the rest.
    """
    op.add_column("groups", sa.Column("population", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.create_check_constraint(op.f("ck_groups_population_not_negative"), "groups", "population >= 0")
    op.create_index(INDEX, "groups", ["domain_name", "population", "id"])


def downgrade() -> None:
    """Drop both; what was in the column is lost."""
    op.drop_index(INDEX, table_name="groups")
    op.drop_column("groups", "population")
