"""The first tables: domains, groups, fair shares; and rowsmith's own, of idempotency keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the tables of domains, groups and fair shares, and rowsmith's own."""
    op.create_table(
        "domains",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("title", sa.String(length=120), nullable=False),
        sa.Column(
            "continent",
            sa.Enum(
                "AFRICA", "ANTARCTICA", "ASIA", "EUROPE", "NORTH_AMERICA", "OCEANIA", "SOUTH_AMERICA", name="continent"
            ),
            nullable=False,
        ),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("languages", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("settings", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("name = upper(name) AND name <> ''", name=op.f("ck_domains_name_is_upper_case")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_domains")),
    )
    op.create_index(op.f("ix_domains_continent"), "domains", ["continent"], unique=False)
    op.create_index(
        "uq_domains_title_live", "domains", ["title"], unique=True, postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_table(
        "groups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("domain_name", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.Enum("CAPITAL", "REGULAR", name="group_kind"), server_default="REGULAR", nullable=False),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("tags", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("place", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["domain_name"], ["domains.name"], name=op.f("fk_groups_domain_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
    )
    op.create_index(
        "uq_groups_domain_name_name_live",
        "groups",
        ["domain_name", "name"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "fair_shares",
        sa.Column("domain_name", sa.String(length=32), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("weight", sa.Numeric(precision=20, scale=4), server_default=sa.text("1"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("weight > 0", name=op.f("ck_fair_shares_weight_positive")),
        sa.ForeignKeyConstraint(["domain_name"], ["domains.name"], name=op.f("fk_fair_shares_domain_name")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_fair_shares_group_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain_name", "group_id", "user_id", name=op.f("pk_fair_shares")),
    )
    op.create_index(op.f("ix_fair_shares_group_id"), "fair_shares", ["group_id"], unique=False)
    op.create_index(op.f("ix_fair_shares_user_id"), "fair_shares", ["user_id"], unique=False)
    op.create_table(
        "group_members",
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_group_members_group_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("group_id", "user_id", name=op.f("pk_group_members")),
    )
    op.create_index(op.f("ix_group_members_user_id"), "group_members", ["user_id"], unique=False)
    op.create_table(
        "usages",
        sa.Column("domain_name", sa.String(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("used", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.CheckConstraint("used >= 0", name=op.f("ck_usages_used_not_negative")),
        sa.ForeignKeyConstraint(
            ["domain_name", "group_id", "user_id"],
            ["fair_shares.domain_name", "fair_shares.group_id", "fair_shares.user_id"],
            name=op.f("fk_usages_domain_name_group_id_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("domain_name", "group_id", "user_id", "day", name=op.f("pk_usages")),
    )
    op.create_table(
        "rowsmith_idempotency_keys",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("body", sa.String(length=64), nullable=True),
        sa.Column("kept", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index(
        op.f("ix_rowsmith_idempotency_keys_created_at"), "rowsmith_idempotency_keys", ["created_at"], unique=False
    )


def downgrade() -> None:
    """Drop them, and the types of the enums, which autogenerate forgets."""
    op.drop_index(op.f("ix_rowsmith_idempotency_keys_created_at"), table_name="rowsmith_idempotency_keys")
    op.drop_table("rowsmith_idempotency_keys")
    op.drop_table("usages")
    op.drop_index(op.f("ix_group_members_user_id"), table_name="group_members")
    op.drop_table("group_members")
    op.drop_index(op.f("ix_fair_shares_user_id"), table_name="fair_shares")
    op.drop_index(op.f("ix_fair_shares_group_id"), table_name="fair_shares")
    op.drop_table("fair_shares")
    op.drop_index(
        "uq_groups_domain_name_name_live", table_name="groups", postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.drop_table("groups")
    op.drop_index(op.f("ix_domains_continent"), table_name="domains")
    op.drop_index("uq_domains_title_live", table_name="domains", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_table("domains")
    for enum in ("group_kind", "continent"):
        postgresql.ENUM(name=enum).drop(op.get_bind())
