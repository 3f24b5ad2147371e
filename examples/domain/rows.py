"""The table of domains: tenants, each with a natural key."""

from __future__ import annotations

import enum

from sqlalchemy import CheckConstraint, Enum, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from examples.base import Base, JsonObject, Timestamps


class Continent(enum.StrEnum):
    """Where a domain's country lies."""

    AFRICA = "AF"
    ANTARCTICA = "AN"
    ASIA = "AS"
    EUROPE = "EU"
    NORTH_AMERICA = "NA"
    OCEANIA = "OC"
    SOUTH_AMERICA = "SA"


class DomainRow(Timestamps, Base):
    """One tenant; its name is its key, its title is unique among the domains that are not deleted."""

    __tablename__ = "domains"
    __table_args__ = (
        CheckConstraint("name = upper(name) AND name <> ''", name="name_is_upper_case"),
        Index(
            "uq_domains_title_live",
            "title",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
            sqlite_where=text("deleted_at IS NULL"),
        ),
    )

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    title: Mapped[str] = mapped_column(String(120))
    continent: Mapped[Continent] = mapped_column(Enum(Continent, name="continent"), index=True)
    description: Mapped[str | None]
    languages: Mapped[list[str]]
    settings: Mapped[JsonObject] = mapped_column(server_default=text("'{}'"))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
