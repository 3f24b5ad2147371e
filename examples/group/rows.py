"""The tables of groups and of who is in them."""

from __future__ import annotations

import enum
import uuid

from sqlalchemy import CheckConstraint, Enum, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from examples.base import Base, JsonObject, Timestamps
from examples.domain.rows import DomainRow


class GroupKind(enum.StrEnum):
    """What a group is in its domain."""

    CAPITAL = "capital"
    REGULAR = "regular"


class GroupRow(Timestamps, Base):
    """One group of a domain; its name is unique there among the groups that are not deleted."""

    __tablename__ = "groups"
    __table_args__ = (
        CheckConstraint("population >= 0", name="population_not_negative"),
        UniqueConstraint("domain_name", "id"),  # for the foreign keys of what belongs to the same domain
        Index(
            "uq_groups_domain_name_name_live",
            "domain_name",
            "name",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
            sqlite_where=text("deleted_at IS NULL"),
        ),
        Index("ix_groups_domain_name_population_id", "domain_name", "population", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_name: Mapped[str] = mapped_column(ForeignKey("domains.name"))
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[GroupKind] = mapped_column(Enum(GroupKind, name="group_kind"), server_default=GroupKind.REGULAR.name)
    description: Mapped[str | None]
    population: Mapped[int] = mapped_column(server_default=text("0"))
    tags: Mapped[list[str]]
    place: Mapped[JsonObject] = mapped_column(server_default=text("'{}'"))

    domain: Mapped[DomainRow] = relationship()
    members: Mapped[list[GroupMemberRow]] = relationship(passive_deletes="all")


class GroupMemberRow(Base):
    """A user in a group; goes with the group."""

    __tablename__ = "group_members"

    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, index=True)
