"""The tables: a domain's rows are all on one shard, and so are the foreign keys between them."""

from __future__ import annotations

import uuid

from sqlalchemy import ForeignKeyConstraint, Identity, Index, MetaData, PrimaryKeyConstraint, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from examples import base

BY_DOMAIN = {"postgresql_partition_by": "HASH (domain_name)", "info": {"distributed_by": "domain_name"}}
"""Of each table: it is spread by the domain, here over partitions. With Citus leave ``postgresql_partition_by`` out."""


class Base(DeclarativeBase):
    """These tables stand in a database of their own, so in metadata of their own."""

    metadata = MetaData(naming_convention=base.Base.metadata.naming_convention)
    type_annotation_map = base.Base.type_annotation_map


class GroupRow(base.Timestamps, Base):
    """One group of a domain; its name is unique there among the groups that are not deleted."""

    __tablename__ = "spread_groups"
    __table_args__ = (
        PrimaryKeyConstraint("domain_name", "id"),
        Index(
            "uq_spread_groups_domain_name_name_live",
            "domain_name",
            "name",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        BY_DOMAIN,
    )

    domain_name: Mapped[str]
    id: Mapped[int] = mapped_column(Identity())
    name: Mapped[str] = mapped_column(String(200))
    population: Mapped[int] = mapped_column(server_default=text("0"))


class GroupMemberRow(Base):
    """A user in a group, on the group's shard; goes with the group."""

    __tablename__ = "spread_members"
    __table_args__ = (
        PrimaryKeyConstraint("domain_name", "group_id", "user_id"),
        ForeignKeyConstraint(
            ["domain_name", "group_id"], ["spread_groups.domain_name", "spread_groups.id"], ondelete="CASCADE"
        ),
        BY_DOMAIN,
    )

    domain_name: Mapped[str]
    group_id: Mapped[int]
    user_id: Mapped[uuid.UUID]
