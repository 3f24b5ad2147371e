"""A fair share's group is one of its own domain."""

from __future__ import annotations

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

BOTH = ["domain_name", "group_id"]


def upgrade() -> None:
    """Have one foreign key over both columns; it is refused where a share has a group of another domain."""
    op.create_unique_constraint(op.f("uq_groups_domain_name_id"), "groups", ["domain_name", "id"])
    op.create_foreign_key(
        op.f("fk_fair_shares_domain_name_group_id"),
        "fair_shares",
        "groups",
        BOTH,
        ["domain_name", "id"],
        ondelete="CASCADE",
    )
    for column in BOTH:
        op.drop_constraint(op.f(f"fk_fair_shares_{column}"), "fair_shares", type_="foreignkey")


def downgrade() -> None:
    """Have one over each."""
    op.create_foreign_key(
        op.f("fk_fair_shares_group_id"), "fair_shares", "groups", ["group_id"], ["id"], ondelete="CASCADE"
    )
    op.create_foreign_key(op.f("fk_fair_shares_domain_name"), "fair_shares", "domains", ["domain_name"], ["name"])
    op.drop_constraint(op.f("fk_fair_shares_domain_name_group_id"), "fair_shares", type_="foreignkey")
    op.drop_constraint(op.f("uq_groups_domain_name_id"), "groups", type_="unique")
